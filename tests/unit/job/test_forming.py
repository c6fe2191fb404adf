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


def part(run: RunDirectory, name: str, host: str, infer_ms: float, images: int = 60) -> None:
    """A task; it waits for a CPU while it takes longer than 100 ms for an image."""
    rows: list[dict[str, Any]] = [
        {
            **dict.fromkeys(TIMING_SCHEMA.names),
            **{"image_id": f"{name}/{number}", "kind": "image", "host": host},
            **{"task_id": int(name.replace("-", "")), "warmup": False},
            **{"started_at": 1e9 + number * infer_ms / 1e3, "total_ms": infer_ms},
            **{"infer_ms": infer_ms, "cpu_ms": 95.0, "run_delay_ms": infer_ms - 95.0},
        }
        for number in range(images)
    ]
    text = "".join(json.dumps({"timing": row}) + "\n" for row in rows)
    (run.parts / f"{name}-n{images}.jsonl").write_text(text)


def test_the_verdict_forms_as_parts_come(run: RunDirectory) -> None:
    part(run, "000-9", "c", 900.0)  # of a session before
    so_far = Forming(run, {})
    assert so_far.look() is None
    part(run, "001-0", "a", 100.0)
    found = so_far.look()
    assert found is not None and found.slow == ""
    part(run, "001-1", "b", 200.0)
    found = so_far.look()
    assert found is not None
    assert [host.host for host in found.hosts if host.slow] == ["b"]
    assert found.slow.startswith("b is 2.00x slower than a")
    assert so_far.look() is None


def test_what_was_expected_of_hosts_is_known_while_it_forms(run: RunDirectory) -> None:
    so_far = Forming(run, {"options": {"speeds": {"a": 10.0, "b": 5.0}}})
    part(run, "001-0", "a", 100.0)
    part(run, "001-1", "b", 200.0)
    found = so_far.look()
    assert found is not None and not found.straggler


def test_the_newest_rows_count(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forming, "MOST_ROWS", 120)
    so_far = Forming(run, {})
    part(run, "001-0", "a", 100.0)
    part(run, "001-1", "b", 200.0)
    assert (found := so_far.look()) and found.straggler
    part(run, "001-2", "a", 100.0)
    part(run, "001-3", "b", 100.0)
    assert (found := so_far.look()) and not found.straggler


def test_looking_too_often_costs_nothing(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    so_far = Forming(run, {})
    part(run, "001-0", "a", 100.0)
    assert so_far.look() is not None
    monkeypatch.setattr(forming, "EVERY_S", 60.0)
    part(run, "001-1", "b", 200.0)
    assert so_far.look() is None
