"""report.html as text; test_browser.py opens it."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from job.report import build, compare, render_comparison, render_log, write
from job.report.cards import CARDS
from job.report.charts import cost_plot, milliseconds, time_ticks
from job.report.page import render
from job.report.templates import MESSAGE
from tests.unit.job.report.conftest import Trouble
from tests.unit.job.report.test_eventlog import LOGS, told

MakeRun = Callable[..., Path]
MakeTimings = Callable[..., pa.Table]
TIMES = "\N{MULTIPLICATION SIGN}"
HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(2)> & {{ 7*7 }}.jpg"


def page(run_dir: Path) -> str:
    write(run_dir)
    return (run_dir / "report.html").read_text(encoding="utf-8")


def hostile(make_run: MakeRun, make_timings: MakeTimings) -> Path:
    """A run in which every text a stranger can choose is hostile."""
    hosts = [HOSTILE, "node2"]
    table = make_timings(hosts, 60, slow={HOSTILE: 2.0})
    table = table.set_column(0, "image_id", pa.array([f"{n}{HOSTILE}" for n in range(60)]))
    return make_run(
        hosts,
        timings=table,
        errors=[{"image": HOSTILE, "stage": HOSTILE, "message": HOSTILE}],
        input=HOSTILE,
        spark_conf={HOSTILE: HOSTILE},
    )


def test_no_text_of_a_stranger_becomes_markup(make_run: MakeRun, make_timings: MakeTimings) -> None:
    found = page(hostile(make_run, make_timings))
    assert "<script" not in found and "<img" not in found
    assert "&lt;script&gt;alert(&#39;1&#39;)" in found
    assert "{{ 7*7 }}" in found and "49.jpg" not in found
    # An escaped quote cannot end an attribute either.
    assert not re.search(r"\"><img|onerror=alert\(2\)>", found)


def test_the_file_reaches_for_nothing_outside(make_run: MakeRun) -> None:
    found = page(make_run(["node1", "node2"], 60, slow={"node2": 1.9}))
    assert not re.search(r"https?:|//[a-z]|url\(|@import|xmlns", found)
    assert set(re.findall(r"\b(?:src|href)=\"([^\"]*)\"", found)) == {"data:,"}
    assert "default-src 'none'" in found


def test_a_name_that_cannot_be_encoded_is_shown_all_the_same(make_run: MakeRun) -> None:
    name = "caf\udce9.jpg"  # what Python makes of a Latin-1 file name
    found = page(make_run(errors=[{"image": name, "stage": "fetch", "message": "unreadable"}]))
    assert r"caf\udce9.jpg" in found


def test_long_texts_are_cut(make_run: MakeRun) -> None:
    errors = [{"image": "x" * 5000, "stage": "decode", "message": "y" * 5000}] * 100
    found = page(make_run(errors=errors))
    assert "y" * (MESSAGE - 1) + "…" in found
    assert "x" * MESSAGE not in found and "y" * MESSAGE not in found


def test_a_slow_host_is_on_the_page_however_many_there_are(make_run: MakeRun) -> None:
    hosts = [f"node{number:03}" for number in range(300)]
    found = page(make_run(hosts, 9000, slow={"node299": 3.0}, samples=False))
    table = found[found.index('id="host-table"') :]
    rows = re.findall(r'<tr><th scope="row"><span class="name([^"]*)">([^<]+)', table)
    hosts_shown = [row for row in rows if row[1].startswith("node")]
    assert hosts_shown[0] == (" slow", "node299") and len(hosts_shown) == 200


def text_of(part: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part))).replace("\xa0", " ")


def section(found: str, name: str) -> str:
    return found[found.index(f'<section id="{name}"') :].partition("</section>")[0]


def test_the_stragglers_come_first_each_with_what_to_do(make_cluster: MakeRun) -> None:
    troubles = {"node2": Trouble(slow=1.9, slow_from=35), "node3": Trouble(frozen=(30, 52))}
    found = page(make_cluster(5, tasks=90, images=12, **troubles))
    places = [found.index(f'id="{name}"') for name in ("verdict", "findings", "what-if", "summary")]
    assert places == sorted(places)
    slow, still = section(found, "findings").split("<article")[1:]
    told = text_of(slow)
    line = text_of(found[found.index("<h1") :].partition("</h1>")[0])
    (interval,) = re.findall(r"95 % interval ([\d.]+ to [\d.]+)", line)
    assert f"95 % interval {interval}" in told, "the line and the card say the same"
    assert "node2 CPU quota" in told and re.search(
        rf"1\.\d\d{TIMES} 95 % interval 1\.\d\d to", told
    )
    assert re.search(r"when from 3\d s into the run on it cost \d.* s of \d\d s with tasks", told)
    assert "Its CPU quota holds it back: " in told and "→" not in told
    assert "<code>cluster run --avoid node2</code>" in slow
    assert "node3 stood still" in text_of(still) and TIMES not in still
    (frames,) = re.findall(r'<path class="found" d="([^"]*)"', section(found, "pace"))
    assert frames.count("M") == 2, "a frame for each on the map"
    assert 'class="key found"' in section(found, "pace")
    bars = text_of(section(found, "what-if"))
    for label in ("as it was", "node2 at its peers' pace", "without node3", "no host slow"):
        assert re.search(rf"{label} [\d.]+ s", bars), label
    assert "Ideal is the work divided by the sum" in bars


def test_a_healthy_run_has_nothing_but_the_line(make_cluster: MakeRun) -> None:
    found = page(make_cluster(3, tasks=30, images=12))
    assert 'id="status">No straggler<' in found
    for absent in ('id="findings"', 'id="what-if"', 'class="card"', 'class="key found"'):
        assert absent not in found


def test_what_keeps_nobody_waiting_is_short(make_run: MakeRun) -> None:
    hosts = [f"node{number}" for number in range(1, 7)]
    run_dir = make_run(hosts, 400)
    run = json.loads((run_dir / "run.json").read_text())
    for worker in run["workers"][:4]:
        worker["threads"] = 64
    run["hosts"][5]["cpus_quota"] = run["workers"][5]["threads"] = 1
    (run_dir / "run.json").write_text(json.dumps(run))
    besides = section(page(run_dir), "findings")
    assert "stragglers" not in besides and "Worth knowing" in besides
    folded, _, rest = besides.partition("</details>")
    assert "<details><summary>misconfigured: 4 hosts</summary>" in folded
    assert "weak by design" in rest and "<details" not in rest


def test_of_many_stragglers_a_few_have_a_card_and_all_a_line(make_cluster: MakeRun) -> None:
    slow = {f"node{number:02}": Trouble(slow=2.0) for number in range(1, CARDS + 4)}
    findings = section(page(make_cluster(50, tasks=1000, images=8, **slow)), "findings")
    assert f"{CARDS + 3} stragglers" in findings and "3 more stragglers" in findings
    assert findings.count("<article") == CARDS
    assert findings.partition("<details>")[2].count('<th scope="row"') == 3


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "Nothing to compare"),
        ({"status": "incomplete"}, "Run incomplete"),
        ({"status": "running"}, "Run going on"),
        ({"hosts": ["a", "b"], "images": 60}, "No straggler"),
        ({"hosts": ["a", "b"], "images": 60, "slow": {"b": 2.0}}, "Straggler found"),
    ],
)
def test_the_label_above_the_verdict(make_run: MakeRun, change: dict[str, Any], label: str) -> None:
    assert f'id="status">{label}<' in page(make_run(**change))


def test_a_host_that_looks_slow_is_not_called_healthy(make_run: MakeRun) -> None:
    data = json.loads(json.dumps(build(make_run(["a", "b"], 60)).data))
    assert 'id="status">No straggler<' in render(data)
    data["hosts"][1]["factor"] = 1.3
    assert 'id="status">Not certain<' in render(data)


def test_milliseconds_as_people_read_them() -> None:
    shown = [milliseconds(value) for value in (None, 0.4123, 243.4, 1250, 90_000)]
    assert shown == ["\N{EN DASH}", "0.412 ms", "243 ms", "1.2 s", "90 s"]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (300, 1350, ["400 ms", "600 ms", "800 ms", "1,000 ms", "1,200 ms"]),
        (1200, 1290, ["1,200 ms", "1,220 ms", "1,240 ms", "1,260 ms", "1,280 ms"]),
        (0.2, 0.6, ["0.2 ms", "0.3 ms", "0.4 ms", "0.5 ms", "0.6 ms"]),
    ],
)
def test_the_marks_of_the_cost_axis_are_round(low: float, high: float, texts: list[str]) -> None:
    middle = (low + high) / 2
    plot = cost_plot(
        {"images": 1, "edges_ms": [low, high], "counts": [1], "median_ms": middle, "p90_ms": high}
    )
    assert plot is not None and [tick.text for tick in plot.along] == texts
    for tick in plot.along:
        at = low + tick.at / 100 * (high - low)
        assert at == pytest.approx(float(tick.text.removesuffix(" ms").replace(",", "")))
    assert [mark.at for mark in plot.marks] == pytest.approx([50, 100])


@pytest.mark.parametrize("seconds", [0.3, 6.1, 40, 97, 3000, 86_400, 1e6])
def test_times_along_an_axis_are_few_and_inside(seconds: float) -> None:
    ticks = time_ticks(seconds)
    assert 2 <= len(ticks) <= 6
    assert ticks[0].at == 0 and all(0 <= tick.at <= 100 for tick in ticks)
    assert len({tick.text for tick in ticks}) == len(ticks)


def test_two_runs_on_one_page(make_run: MakeRun) -> None:
    hosts = ["node1", "node2", "node3"]
    before = make_run(hosts, 300, name="before")
    after = make_run(hosts, 300, name="after", slow={"node3": 2.0}, engine="orca")
    changes = compare(before, after)
    found = render_comparison(changes)
    assert 'id="status">Slower than before<' in found
    assert "node3 takes " in text_of(found[found.index("<h1") :].partition("</h1>")[0])
    rows = [text_of(row) for row in section(found, "hosts").split("<tr>")[2:]]
    assert [row.split()[0] for row in rows] == ["node3", "node1", "node2"], "changed ones first"
    (host,) = (host for host in changes["hosts"] if host["host"] == "node3")
    assert f"{host['factor']:.2f}{TIMES} {host['low']:.2f} to {host['high']:.2f}" in rows[0]
    assert "changed" in rows[0] and "inference" in rows[0] and "changed" not in rows[1]
    assert "engine native orca" in text_of(section(found, "settings"))
    assert text_of(section(found, "runs")).count("images/s") >= 1
    backwards = render_comparison(compare(after, before))
    assert 'id="status">Faster than before<' in backwards
    alike = render_comparison(compare(before, before))
    assert 'id="status">The hosts are as fast as before<' in alike
    assert "None." in section(alike, "settings")
    assert "before before" in alike and "before after" in alike, "told apart all the same"


def test_the_interval_lies_where_its_numbers_are(make_run: MakeRun) -> None:
    before = make_run(["a", "b"], 300, name="before")
    found = render_comparison(compare(before, make_run(["a", "b"], 300, name="x", slow={"b": 2.0})))
    b, a = section(found, "hosts").split("<tr>")[2:]
    places = re.compile(r'<u style="left:([\d.]+)%.*<b style="left:([\d.]+)%')
    one, middle = map(float, places.search(b).groups())  # type: ignore[union-attr]
    assert middle > one + 30
    one, middle = map(float, places.search(a).groups())  # type: ignore[union-attr]
    assert middle == pytest.approx(one, abs=5)


def test_runs_without_a_host_in_common_have_a_page(make_run: MakeRun) -> None:
    found = render_comparison(compare(make_run(["a"], name="a"), make_run(["b"], name="b")))
    assert 'id="status">Nothing to compare<' in found
    assert found.count("too few of the same images") == 2


def test_an_event_log_on_a_page() -> None:
    found = render_log(told(LOGS / "frozen-host.gz"))
    assert 'id="status">Straggler found<' in found
    card = text_of(section(found, "findings"))
    assert "node2 held tasks up it cost 45 s of 94 s" in card
    assert "See what it did at that time" in card
    assert "as it was 81 s" in text_of(section(found, "what-if"))
    hosts = [text_of(row).split()[0] for row in section(found, "hosts").split("<tr>")[2:]]
    assert hosts == ["node2", "node3", "node1"]
    assert "collect at" in section(found, "stages")


def test_no_text_of_a_stranger_becomes_markup_on_the_other_pages(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    run_dir = hostile(make_run, make_timings)
    log = told(LOGS / "frozen-host.gz")
    log["application"]["name"] = log["hosts"][0]["host"] = log["stages"][0]["name"] = HOSTILE
    log["hosts"][1]["cause"] = {"kind": "gc", "text": HOSTILE, "action": HOSTILE}
    other = make_run([HOSTILE, "node2"], 60, name="other")
    for found in (render_comparison(compare(run_dir, other)), render_log(log)):
        assert "<script" not in found and "<img" not in found
        assert "&lt;script&gt;alert(&#39;1&#39;)" in found
        assert not re.search(r"https?:|//[a-z]|url\(|@import|xmlns", found)
        assert "default-src 'none'" in found
