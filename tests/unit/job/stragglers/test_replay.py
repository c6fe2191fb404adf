import numpy as np
import pyarrow as pa
import pytest

from job.stragglers.attempts import EXECUTORS, Attempts, at_once
from job.stragglers.replay import makespan, what_if
from job.stragglers.tasks import Comparison
from tests.unit.job.stragglers.simulated import simulate


def test_tasks_go_to_the_next_free_slot() -> None:
    tasks, free = np.array([4.0, 2, 2, 3]), np.zeros(2)
    # 4 | 2 2 3: the last begins when both are free.
    assert makespan(tasks, free, np.ones(2)) == 7
    assert makespan(tasks, np.array([0.0, 10]), np.ones(2)) == 11
    # 4 2 | 2 3, twice as slow.
    assert makespan(tasks, free, np.array([1.0, 2])) == 10
    assert makespan(np.zeros(0), free, np.ones(2)) == 0


def test_what_overlaps() -> None:
    starts, ends = np.array([0.0, 1, 2, 0, 1]), np.array([2.0, 3, 4, 1, 2])
    assert at_once(np.array([0, 0, 0, 1, 1]), starts, ends, 3).tolist() == [2, 1, 0]


def test_a_stage_with_its_slow_host_healed_and_left_out() -> None:
    tasks = simulate(4, 100, stages=1, slow={1: 3.0}, tail=0, spread=0.1)
    compared = Comparison(Attempts(tasks), EXECUTORS.empty_table())
    found = what_if(compared, 0, ["host-0001"])
    attempts = compared.attempts
    assert found.actual == pytest.approx(attempts.finished.max() - attempts.launched.min())
    assert found.replayed == pytest.approx(found.actual, rel=0.1)
    # Work is done at 3 1/3 slots' pace of 4, then at 4 of 4, then at 3 of 4.
    assert found.healed["host-0001"] == pytest.approx(found.actual * 3.33 / 4, rel=0.1)
    assert found.all_healed == found.healed["host-0001"]
    assert found.without["host-0001"] == pytest.approx(found.actual * 3.33 / 3, rel=0.1)


def test_a_host_alone_cannot_be_left_out() -> None:
    tasks = simulate(2, 60, stages=2, slow={1: 2.0})
    attempts = Attempts(tasks)
    tasks = tasks.filter(pa.array((attempts.stage == 0) | (attempts.host == 1)))
    compared = Comparison(Attempts(tasks), EXECUTORS.empty_table())
    found = what_if(compared, 1, ["host-0001"])
    assert found.without == {"host-0001": None}
    assert found.healed["host-0001"] < found.replayed


def test_of_two_hosts_the_slow_one_is_as_quick_as_the_other_once_healed() -> None:
    tasks = simulate(2, 200, stages=1, slow={1: 3.0}, tail=0, spread=0.1)
    found = what_if(Comparison(Attempts(tasks), EXECUTORS.empty_table()), 0, ["host-0001"])
    # A third and one, then one and one.
    assert found.healed["host-0001"] == pytest.approx(found.replayed * 1.33 / 2, rel=0.1)
