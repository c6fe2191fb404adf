import pytest

from job.stragglers import speeds
from tests.unit.job.stragglers.conftest import MakeRows, MakeTable


def test_a_wait_for_a_task_is_not_slowness(host_rows: MakeRows, table: MakeTable) -> None:
    rows = host_rows("a", 20, task_id=1)
    rows += [
        row | {"started_at": row["started_at"] + 60.0} for row in host_rows("a", 10, task_id=2)
    ]
    rows += host_rows("b", 20, slowdown=2.0, task_id=3)
    assert speeds(table(rows)) == pytest.approx({"a": 10.0, "b": 5.0})


def test_tasks_side_by_side_are_counted_together(host_rows: MakeRows, table: MakeTable) -> None:
    rows = host_rows("a", 20, task_id=1) + host_rows("a", 20, task_id=2)
    # One within another.
    rows += [row | {"started_at": row["started_at"] + 0.5} for row in host_rows("a", 5, task_id=3)]
    assert speeds(table(rows)) == pytest.approx({"a": 45 / 2})


def test_warm_up_and_calibration_are_left_out(host_rows: MakeRows, table: MakeTable) -> None:
    rows = host_rows("a", 20, task_id=1)
    slow = host_rows("a", 1, slowdown=50.0, task_id=2, warmup=True)
    rows += slow + host_rows("a", 1, slowdown=50.0, task_id=3, kind="calibration")
    rows += host_rows("b", 1, task_id=4, warmup=True)
    assert speeds(table(rows)) == pytest.approx({"a": 10.0})


def test_rows_without_time_tell_nothing(host_rows: MakeRows, table: MakeTable) -> None:
    assert speeds(table(host_rows("a", 3, task_id=1, started_at=None))) == {}
    assert speeds(table([])) == {}
