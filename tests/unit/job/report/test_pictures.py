"""The pictures of docs/: each that is shown is made, and of the part that it is about."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from cluster.bench.stragglers.traces import KEPT, Trace
from job.report.page import render
from tests.unit.job.report.conftest import MakeRun, Trouble, palettes
from tests.unit.job.report.pictures import PICTURES, TALL, only, picture, report_of

ROOT = Path(__file__).parents[4]
LARGEST = 150_000  # bytes


def test_each_picture_is_shown_and_small() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    texts.append((ROOT / "README.md").read_text(encoding="utf-8"))
    for each in PICTURES:
        shown = rf"!\[[^\]]+\]\((docs/)?{re.escape(each.name)}\)"
        assert any(re.search(shown, text) for text in texts), each.name
        assert (ROOT / "docs" / each.name).stat().st_size < LARGEST, each.name


def test_a_picture_of_a_recorded_run(browser: str, make_cluster: MakeRun, tmp_path: Path) -> None:
    run_dir = make_cluster(3, tasks=60, images=12, node2=Trouble(slow=2.0))
    record = json.loads((run_dir / "run.json").read_text())
    trace = Trace(
        **{"lab": "alike-1", "name": "01-cpu-quota", "even": True, "learns": False, "at": None},
        ordered=(),
        timings=pq.read_table(run_dir / "timings.parquet"),
        samples=pq.read_table(run_dir / "hosts.parquet"),
        record={name: record[name] for name in KEPT},
    )
    report = report_of(trace, speeds={"node1": 3.6, "node2": 3.6, "node3": 3.6})
    assert report.data["verdict"]["hosts"] == ["node2"]
    path = tmp_path / "picture.png"
    picture(browser, only(render(report.data), ("#pace",)), path)
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert 150 < len(image) < TALL / 4, "the pace alone, cut off below"
    drawn = {
        name: int((np.abs(image - colour).max(axis=2) < 6).sum())
        for name, colour in palettes()["light"].items()
    }
    assert drawn["slow2"] > 2000 and drawn["usual"] > 2000
    assert drawn["bad"] == 0, "no chip, no card"
