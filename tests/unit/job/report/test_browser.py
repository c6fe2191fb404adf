"""report.html in a real browser without a network: what is there, how large, and what it asks for.

The page runs no script, so a page around it measures: the report is put into a frame of the width
that is to be tested.
"""

import html
import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from job.report import compare, render_comparison, render_log, write
from tests.unit.job.report.conftest import MakeRun, MakeTimings, Trouble, palettes
from tests.unit.job.report.test_eventlog import LOGS, told

TROUBLES = {
    "node2": Trouble(slow=1.9, slow_from=35),
    "node3": Trouble(frozen=(30, 52)),
    "node4": Trouble(localise=22),
    "node5": Trouble(slow=1.4),
}
HOSTILE = "</title><script>parent.broken = 1</script><img src=x onerror='parent.broken = 1'>.jpg"
# What lies beside a host's name on the heat map at every hundredth of the time.
PROBE = """
function rows(name, page) {
  const map = page.querySelector(".heat").getBoundingClientRect();
  const own = name.getBoundingClientRect(), middle = (own.top + own.bottom) / 2;
  const parts = [...Array(100).keys()].map((at) =>
    page.elementFromPoint(map.left + (at + 0.5) / 100 * map.width, middle));
  return [name.textContent, parts.map((part) => part.localName === "rect" ? part.textContent : "")];
}
function place(piece, lane) {
  const own = piece.getBoundingClientRect(), all = lane.getBoundingClientRect();
  return [(own.left - all.left) / all.width, (own.right - all.left) / all.width];
}
function probe() {
  const frame = document.querySelector("iframe"), page = frame.contentDocument;
  const view = page.defaultView, root = page.documentElement;
  const box = (part) => { const b = part.getBoundingClientRect(); return [b.width, b.height]; };
  const all = (selector) => [...page.querySelectorAll(selector)];
  const own = (part) => [...part.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  const sizes = all("body *").filter(own)
    .map((part) => [parseFloat(view.getComputedStyle(part).fontSize), part.textContent.trim()]);
  document.getElementById("found").textContent = JSON.stringify({
    verdict: page.getElementById("verdict").textContent,
    heading: all("h1, h2, h3, h4, h5, h6")[0].id,
    largest: sizes.sort((a, b) => b[0] - a[0])[0],
    sections: Object.fromEntries(all("main > *").map((part) => [part.id, box(part)])),
    ticks: all(".down span").map((part, at) => [part, all(".box > u")[at]]).map(([text, line]) =>
      (text.getBoundingClientRect().top + text.getBoundingClientRect().bottom) / 2 -
      line.getBoundingClientRect().top),
    marks: all(".chart s span").map((part) => part.getBoundingClientRect().bottom -
      part.closest(".box").getBoundingClientRect().top),
    charts: Object.fromEntries(all(".chart").map((part) => [part.id, box(part)])),
    curves: all(".plot svg").map((svg) => [svg.closest(".chart").id, box(svg),
      [...svg.querySelectorAll("path")].map((path) => [path.getAttribute("class"), box(path)])]),
    bars: all(".lane i, .stack i").map(box),
    heat: all(".heat .cell").map((cell) => [cell.classList[1], view.getComputedStyle(cell).fill]),
    pace: all("#chart-pace .who .name").map((name) => rows(name, page)),
    lanes: all("#chart-phases > .name").map((name) => [name.textContent, [...name.nextElementSibling
      .children].map((piece) => [piece.className, place(piece, name.nextElementSibling)])]),
    marked: all("td.far").map((cell) => [cell.parentElement.cells[0].textContent, cell.innerText]),
    rows: Object.fromEntries(all("table").map((table) => [table.id, table.tBodies[0].rows.length])),
    stages: all("#stage-table tbody tr").map((row) => row.textContent.trim().replace(/\\s+/g, " ")),
    wide: all("section").filter((part) => part.getBoundingClientRect().right > root.clientWidth + 1)
      .map((part) => part.id),
    overflow: root.scrollWidth - root.clientWidth,
    scripts: all("script, img, object, embed, iframe").length,
    requests: view.performance.getEntriesByType("resource").map((entry) => entry.name),
    broken: window.broken || 0,
  });
}
"""


VIRTUAL_TIME = "--virtual-time-budget=5000"  # all that is to happen has happened


def chromium(browser: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--enable-logging=stderr", "--v=0"),
            f"--user-data-dir={folder / 'profile'}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def opened(browser: str, run_dir: Path, folder: Path, *, width: int) -> dict[str, Any]:
    """What a frame ``width`` pixels wide shows of the report of ``run_dir``, written if need be."""
    if not (run_dir / "report.html").exists():
        write(run_dir)
    report = html.escape((run_dir / "report.html").read_text(encoding="utf-8"))
    frame = f'<iframe style="width:{width}px;height:9000px;border:0" srcdoc="{report}"'
    around = f'<!DOCTYPE html><pre id="found"></pre><script>{PROBE}</script>'
    wrapper = folder / "around.html"
    wrapper.write_text(f'{around}{frame} onload="probe()"></iframe>', encoding="utf-8")
    done = chromium(browser, folder, VIRTUAL_TIME, "--dump-dom", wrapper.as_uri())
    assert "CONSOLE" not in done.stderr, done.stderr
    text = done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    found: dict[str, Any] = json.loads(html.unescape(text))
    return found


@pytest.mark.parametrize("width", [1100, 400])
def test_every_part_is_there_and_has_a_size(
    browser: str, make_run: MakeRun, tmp_path: Path, width: int
) -> None:
    hosts = ["node1", "node2", "node3"]
    errors = [{"image": "bad.jpg", "stage": "decode", "message": "not an image"}]
    run_dir = make_run(hosts, 180, slow={"node3": 1.9}, errors=errors)
    found = opened(browser, run_dir, tmp_path, width=width)

    assert (
        found["verdict"].startswith("node3 is 1.") and "slower than its peers" in found["verdict"]
    )
    assert found["largest"][1] == found["verdict"], "the verdict is the largest text"
    assert found["heading"] == "verdict", "the verdict is the first heading"
    assert list(found["sections"]) == [
        *("findings", "what-if", "summary", "pace", "phases", "evidence", "stages", "hosts"),
        *("timeline", "costs", "slowest", "errors", "configuration"),
    ]
    assert all(200 < across <= width and down > 60 for across, down in found["sections"].values())
    assert list(found["charts"]) == [
        *("chart-what-if", "chart-pace", "chart-phases", "chart-stages"),
        *("chart-time-1", "chart-time-2", "chart-time-3", "chart-costs"),
    ]
    for across, down in found["charts"].values():
        assert 0.7 * width - 60 < across <= width and down > 30
    assert len(found["ticks"]) == 12 and max(map(abs, found["ticks"])) < 2, "beside their lines"
    assert len(found["marks"]) == 2
    assert all(below <= 0 for below in found["marks"]), "the name of a mark hides columns"
    assert len(found["curves"]) == 4
    for chart, (across, down), paths in found["curves"]:
        assert across > 200 and down > 100, chart
        # A curve fills its chart from side to side, and does not lie flat on the ground.
        assert any(box[0] > 0.8 * across and box[1] > 0.2 * down for _, box in paths), chart
    kinds = [[kind for kind, _ in paths] for _, _, paths in found["curves"]]
    assert kinds[1] == kinds[2] == ["host h0", "host h1", "host h2"]
    assert len(found["bars"]) > 80 and all(across > 0 for across, _ in found["bars"])
    assert found["rows"] == {
        "lane-table": 3,
        "evidence-table": 3,
        "stage-table": 8,
        "host-table": 3,
        "slowest-table": 10,
        "error-table": 1,
        "worker-table": 3,
    }
    names = ("reading", "decoding", "preprocessing", "inference", "post-processing", "writing")
    for name, row in zip(names, found["stages"], strict=False):
        assert row.startswith(name) and " ms" in row.replace("\xa0", " ") and "%" in row
    assert (found["wide"], found["overflow"]) == ([], 0), "the page scrolls sideways"


@pytest.mark.parametrize("width", [1440, 400])
def test_who_was_slow_when_and_in_what(
    browser: str, make_cluster: MakeRun, tmp_path: Path, width: int
) -> None:
    run_dir = make_cluster(5, tasks=90, images=12, **TROUBLES)
    found = opened(browser, run_dir, tmp_path, width=width)
    assert (found["wide"], found["overflow"]) == ([], 0), "the page scrolls sideways"

    whole = json.loads((run_dir / "report.json").read_text())["timeline"]["seconds"]
    rows = dict(found["pace"])
    assert list(rows) == ["node2", "node3", "node5", "node4", "node1"]
    for host, said in rows.items():
        assert {text.split(",")[0] for text in said} == {host, ""}, "beside its name"

    def pace(host: str, second: float) -> str:
        return rows[host][int(100 * second / whole)].partition("s: ")[2]

    assert [float(pace("node2", at).partition("x")[0]) > 1.6 for at in (25, 60)] == [False, True]
    assert "had a task and finished nothing" in rows["node3"][int(100 * 40 / whole)]
    assert (pace("node4", 20), rows["node4"][int(100 * 20 / whole)]) == ("", "")

    fills = dict(found["heat"])
    assert {"usual", "slow1", "slow2"} <= fills.keys() and len(set(fills.values())) == len(fills)
    lanes = dict(found["lanes"])
    assert list(lanes) == ["the run", *rows]
    for host, at, until in (("node4", 4, 23.8), ("node1", 4, 5.8)):
        (archive, _) = (place for kind, place in lanes[host] if kind == "localise")
        assert archive == pytest.approx([at / whole, until / whole], abs=0.01)
    (silent,) = (place for kind, place in lanes["node3"] if kind == "silent")
    assert silent == pytest.approx([30 / whole, 52.2 / whole], abs=0.01)
    assert [host for host in rows if "idle" in dict(lanes[host])] == [*rows][1:], "all but node2"
    marked = [(host, text.split()[0]) for host, text in found["marked"]]
    assert marked == [("node2", "▲")] * 3 + [("node3", "▲")] + [("node5", "▲")] * 3


def loaded_ms(browser: str, run_dir: Path, folder: Path) -> float:
    """From navigation to laid out, by the frame's own clock, in real time."""
    report = (run_dir / "report.html").as_uri()
    around = """<!DOCTYPE html><pre id="found"></pre><script>
function loaded(view) {
  view.document.documentElement.getBoundingClientRect();
  document.getElementById("found").textContent = view.performance.now();
}</script>"""
    wrapper = folder / "loaded.html"
    wrapper.write_text(
        f'{around}<iframe style="width:1440px;height:900px" src="{report}"'
        ' onload="loaded(this.contentWindow)"></iframe>'
    )
    beside = "--allow-file-access-from-files"  # the page around may look into the frame
    done = chromium(browser, folder, beside, "--dump-dom", wrapper.as_uri())
    return float(done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0])


def test_ten_thousand_tasks_on_five_hundred_hosts(
    browser: str, make_cluster: MakeRun, tmp_path: Path
) -> None:
    slow = {"node042": Trouble(slow=1.9), "node300": Trouble(frozen=(12, 19))}
    run_dir = make_cluster(500, tasks=10_000, images=6, **slow)
    for width in (1440, 400):
        found = opened(browser, run_dir, tmp_path, width=width)
        assert (found["wide"], found["overflow"]) == ([], 0), "the page scrolls sideways"
        assert len(found["pace"]) == 30 and {found["pace"][at][0] for at in (0, 1)} == set(slow)
        assert len(found["lanes"]) == 32 and found["lanes"][-1][0] == "470 others, median"
        assert found["rows"]["lane-table"] == 31 and found["rows"]["evidence-table"] == 30
    assert (run_dir / "report.html").stat().st_size <= 2_000_000
    # The machine may be busy with something else: once is enough.
    took = []
    while not took or (min(took) >= 2000 and len(took) < 5):
        took.append(loaded_ms(browser, run_dir, tmp_path))
    assert min(took) < 2000


def test_it_runs_nothing_and_asks_for_nothing(
    browser: str, make_run: MakeRun, make_timings: MakeTimings, tmp_path: Path
) -> None:
    table = make_timings([HOSTILE, "node2"], 60, slow={HOSTILE: 2.0})
    table = table.set_column(0, "image_id", pa.array([f"{n}{HOSTILE}" for n in range(60)]))
    errors = [{"image": HOSTILE, "stage": HOSTILE, "message": HOSTILE}]
    run_dir = make_run([HOSTILE, "node2"], timings=table, errors=errors, input=HOSTILE)
    found = opened(browser, run_dir, tmp_path, width=900)
    assert found["verdict"].startswith(HOSTILE)
    assert (found["scripts"], found["broken"], found["requests"]) == (0, 0, [])
    assert found["overflow"] == 0


def test_a_run_with_nothing_to_show_still_opens(
    browser: str, make_run: MakeRun, tmp_path: Path
) -> None:
    run_dir = make_run(images=0, samples=False, status="failed", phases=[], workers=[])
    found = opened(browser, run_dir, tmp_path, width=900)
    assert found["verdict"].startswith("This run failed")
    assert list(found["sections"]) == ["summary", "phases", "stages", "hosts", "configuration"]
    assert found["charts"] == {}


@pytest.mark.parametrize("width", [1100, 400])
def test_the_pages_of_two_runs_and_of_a_log_fit(
    browser: str, make_run: MakeRun, tmp_path: Path, width: int
) -> None:
    hosts = ["node1", HOSTILE, "node3"]
    before = make_run(hosts, 180, name="before")
    after = make_run(hosts, 180, name="after", slow={HOSTILE: 1.9}, input=HOSTILE)
    log = told(LOGS / "frozen-host.gz")
    pages = {"two": render_comparison(compare(before, after)), "log": render_log(log)}
    sections = {
        "two": ["runs", "hosts", "stages", "settings"],
        "log": ["findings", "what-if", "hosts", "stages"],
    }
    for name, page in pages.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").write_text(page, encoding="utf-8")
        found = opened(browser, tmp_path / name, tmp_path, width=width)
        assert list(found["sections"]) == sections[name]
        assert all(
            200 < across <= width and down > 60 for across, down in found["sections"].values()
        )
        assert found["largest"][1] == found["verdict"], "the verdict is the largest text"
        assert (found["wide"], found["overflow"]) == ([], 0), "the page scrolls sideways"
        assert (found["scripts"], found["broken"], found["requests"]) == (0, 0, [])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_picture_of_it_is_no_blank_sheet(
    browser: str, make_cluster: MakeRun, tmp_path: Path, theme: str
) -> None:
    troubles = {name: TROUBLES[name] for name in ("node2", "node4", "node5")}
    run_dir = make_cluster(5, tasks=90, images=12, **troubles)
    write(run_dir)
    picture = tmp_path / "report.png"
    scheme = f"--blink-settings=preferredColorScheme={['dark', 'light'].index(theme)}"
    shot = ("--hide-scrollbars", "--window-size=1100,1740", f"--screenshot={picture}", scheme)
    chromium(browser, tmp_path, VIRTUAL_TIME, *shot, (run_dir / "report.html").as_uri())
    image = cv2.imread(str(picture))
    assert image.shape == (1740, 1100, 3)
    colours = palettes()[theme]
    for name, least in (("usual", 10_000), ("slow1", 2000), ("slow2", 4000), ("accent", 20_000)):
        drawn = np.abs(image[..., ::-1].astype(int) - colours[name]).max(axis=2) < 3
        assert drawn.sum() > least, f"{name} in the {theme}"
