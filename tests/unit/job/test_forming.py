import json
from pathlib import Path
from typing import Any

import pytest

from job import forming
from job.forming import Forming
from job.rundir import RunDirectory
from job.schemas import TIMING_SCHEMA


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(forming, "EVERY_S", 0.0)
    return RunDirectory.create(tmp_path / "run")


def part(run: RunDirectory, name: str, host: str, infer_ms: float, images: int = 20) -> None:
    rows: list[dict[str, Any]] = [
        {
            **dict.fromkeys(TIMING_SCHEMA.names),
            **{"image_id": f"{name}/{number}", "kind": "image", "host": host},
            **{"infer_ms": infer_ms + number % 3, "warmup": False},
        }
        for number in range(images)
    ]
    text = "".join(json.dumps({"timing": row}) + "\n" for row in rows)
    (run.parts / f"{name}-n{images}.jsonl").write_text(text)


def test_the_verdict_forms_as_parts_come(run: RunDirectory) -> None:
    part(run, "000-before", "c", 900.0)  # of a session before
    so_far = Forming(run)
    assert so_far.look() is None
    part(run, "001-0", "a", 100.0)
    found = so_far.look()
    assert found is not None and found.slow == ""
    part(run, "001-1", "b", 200.0)
    found = so_far.look()
    assert found is not None
    assert [host.host for host in found.hosts if host.slow] == ["b"]
    assert found.slow.startswith("b is 1.99x slower than a")
    assert so_far.look() is None


def test_the_newest_rows_count(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forming, "MOST_ROWS", 40)
    so_far = Forming(run)
    part(run, "001-0", "a", 100.0)
    part(run, "001-1", "b", 200.0)
    assert (found := so_far.look()) and found.straggler
    part(run, "001-2", "a", 100.0)
    part(run, "001-3", "b", 100.0)
    assert (found := so_far.look()) and not found.straggler


def test_looking_too_often_costs_nothing(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    so_far = Forming(run)
    part(run, "001-0", "a", 100.0)
    assert so_far.look() is not None
    monkeypatch.setattr(forming, "EVERY_S", 60.0)
    part(run, "001-1", "b", 200.0)
    assert so_far.look() is None
