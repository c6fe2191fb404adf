import pytest

from job.stragglers import compare_runs
from tests.unit.job.stragglers.conftest import MakeRows, MakeTable


def test_only_the_host_that_changed_has_changed(host_rows: MakeRows, table: MakeTable) -> None:
    rows = host_rows("a", 100, noise=0.2, task_id=1) + host_rows("b", 100, noise=0.2, task_id=1)
    later = host_rows("a", 100, noise=0.2, task_id=1, seed=1)
    later += host_rows("b", 100, noise=0.2, task_id=1, seed=1, slowdown={"infer": 2.0})
    same, slower = compare_runs(table(rows), table(later))
    assert not same.changed and same.stage is None
    assert slower.factor == pytest.approx(1.8, rel=0.1)
    assert slower.low is not None and slower.high is not None
    assert slower.low < 1.8 < slower.high
    assert (slower.changed, slower.stage) == (True, "infer")
    faster = compare_runs(table(later), table(rows))[1]
    assert faster.factor == pytest.approx(1 / 1.8, rel=0.1)
    assert (faster.changed, faster.stage) == (True, "infer")


def test_only_images_of_both_runs_are_compared(host_rows: MakeRows, table: MakeTable) -> None:
    rows = host_rows("a", 20, task_id=1)
    costly = host_rows("a", 20, slowdown=9.0, task_id=2)
    costly = [row | {"image_id": f"other/{row['image_id']}"} for row in costly]
    (change,) = compare_runs(table(rows), table(rows + costly))
    assert (change.images, change.factor) == ((20, 20), pytest.approx(1.0))
    # With none in common all are: the note of the report says so.
    (change,) = compare_runs(table(rows), table(costly))
    assert change.factor == pytest.approx(9.0)


def test_a_host_of_one_run_has_nothing_to_be_compared_with(
    host_rows: MakeRows, table: MakeTable
) -> None:
    both = table(host_rows("a", 20, task_id=1) + host_rows("b", 3, task_id=2))
    a, b = compare_runs(both, table(host_rows("a", 20, task_id=1)))
    assert a.factor == pytest.approx(1.0)
    assert (b.factor, b.images, b.changed) == (None, (0, 0), False)
    assert b.images_per_second == (pytest.approx(10.0), None)
    assert compare_runs(table([]), table([])) == ()
