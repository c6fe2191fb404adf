"""report.html as text; test_browser.py opens it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from job.report import write
from job.report.charts import cost_plot, milliseconds, time_ticks
from job.report.page import MESSAGE

MakeRun = Callable[..., Path]
MakeTimings = Callable[..., pa.Table]
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
    html = page(hostile(make_run, make_timings))
    assert "<script" not in html and "<img" not in html
    assert "&lt;script&gt;alert(&#39;1&#39;)" in html
    assert "{{ 7*7 }}" in html and "49.jpg" not in html
    # An escaped quote cannot end an attribute either.
    assert not re.search(r"\"><img|onerror=alert\(2\)>", html)


def test_the_file_reaches_for_nothing_outside(make_run: MakeRun) -> None:
    html = page(make_run(["node1", "node2"], 60, slow={"node2": 1.9}))
    assert not re.search(r"https?:|//[a-z]|url\(|@import|xmlns", html)
    assert set(re.findall(r"\b(?:src|href)=\"([^\"]*)\"", html)) == {"data:,"}
    assert "default-src 'none'" in html


def test_a_name_that_cannot_be_encoded_is_shown_all_the_same(make_run: MakeRun) -> None:
    name = "caf\udce9.jpg"  # what Python makes of a Latin-1 file name
    html = page(make_run(errors=[{"image": name, "stage": "fetch", "message": "unreadable"}]))
    assert r"caf\udce9.jpg" in html


def test_long_texts_are_cut(make_run: MakeRun) -> None:
    errors = [{"image": "x" * 5000, "stage": "decode", "message": "y" * 5000}] * 100
    html = page(make_run(errors=errors))
    assert "y" * (MESSAGE - 1) + "…" in html
    assert "x" * MESSAGE not in html and "y" * MESSAGE not in html


def test_a_slow_host_is_on_the_page_however_many_there_are(make_run: MakeRun) -> None:
    hosts = [f"node{number:03}" for number in range(300)]
    html = page(make_run(hosts, 3000, slow={"node299": 3.0}, samples=False))
    table = html[html.index('id="host-table"') :]
    rows = re.findall(r'<tr><th scope="row"><span class="name([^"]*)">([^<]+)', table)
    hosts_shown = [row for row in rows if row[1].startswith("node")]
    assert hosts_shown[0] == (" slow", "node299") and len(hosts_shown) == 200


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
