"""report.html in a real browser without a network: what is there, how large, and what it asks for.

The page runs no script, so a page around it measures: the report is put into a frame of the width
that is to be tested.
"""

import html
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from job.report import write

MakeRun = Callable[..., Path]
MakeTimings = Callable[..., pa.Table]
HOSTILE = "</title><script>parent.broken = 1</script><img src=x onerror='parent.broken = 1'>.jpg"
PROBE = """
function probe() {
  const frame = document.querySelector("iframe"), page = frame.contentDocument;
  const view = page.defaultView, root = page.documentElement;
  const box = (part) => { const b = part.getBoundingClientRect(); return [b.width, b.height]; };
  const all = (selector) => [...page.querySelectorAll(selector)];
  const sizes = all("body *").filter((part) => part.textContent.trim() && !part.children.length)
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
    curves: all(".chart svg").map((svg) => [svg.closest(".chart").id, box(svg),
      [...svg.querySelectorAll("path")].map((path) => [path.getAttribute("class"), box(path)])]),
    bars: all(".lane i, .stack i").map(box),
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


def chromium(browser: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--virtual-time-budget=5000", "--enable-logging=stderr", "--v=0"),
            f"--user-data-dir={folder / 'profile'}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def opened(browser: str, run_dir: Path, folder: Path, *, width: int) -> dict[str, Any]:
    """What a frame ``width`` pixels wide shows of the report of ``run_dir``."""
    write(run_dir)
    report = html.escape((run_dir / "report.html").read_text(encoding="utf-8"))
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{report}"'
    around = f'<!DOCTYPE html><pre id="found"></pre><script>{PROBE}</script>'
    wrapper = folder / "around.html"
    wrapper.write_text(f'{around}{frame} onload="probe()"></iframe>', encoding="utf-8")
    done = chromium(browser, folder, "--dump-dom", wrapper.as_uri())
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
    order = ["summary", "phases", "stages", "hosts", "timeline", "costs", "slowest", "errors"]
    assert list(found["sections"]) == [*order, "configuration"]
    assert all(200 < across <= width and down > 60 for across, down in found["sections"].values())
    assert list(found["charts"]) == [
        *("chart-phases", "chart-stages", "chart-time-1", "chart-time-2", "chart-time-3"),
        "chart-costs",
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
        "stage-table": 8,
        "host-table": 3,
        "sample-table": 3,
        "slowest-table": 10,
        "error-table": 1,
        "worker-table": 3,
    }
    names = ("reading", "decoding", "preprocessing", "inference", "post-processing", "writing")
    for name, row in zip(names, found["stages"], strict=False):
        assert row.startswith(name) and " ms" in row.replace("\xa0", " ") and "%" in row
    assert (found["wide"], found["overflow"]) == ([], 0), "the page scrolls sideways"


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


def test_a_picture_of_it_is_no_blank_sheet(browser: str, make_run: MakeRun, tmp_path: Path) -> None:
    run_dir = make_run(["node1", "node2"], 120, slow={"node2": 1.9})
    write(run_dir)
    picture = tmp_path / "report.png"
    size = "--window-size=1200,1600"
    uri = (run_dir / "report.html").as_uri()
    chromium(browser, tmp_path, "--hide-scrollbars", size, f"--screenshot={picture}", uri)
    image = cv2.imread(str(picture))
    assert image.shape == (1600, 1200, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20, "nothing was drawn"
    # Inference, the bar across the page: the colour --infer, in light or in dark.
    blue = [
        np.abs(image.astype(int) - bgr).max(axis=2) < 6 for bgr in ([208, 102, 47], [236, 143, 95])
    ]
    assert max(int(mask.sum(axis=1).max()) for mask in blue) > 600
