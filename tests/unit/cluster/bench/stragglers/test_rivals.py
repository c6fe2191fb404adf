from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from cluster.bench.stragglers import rivals
from cluster.bench.stragglers.simulator import Run
from job.schemas import TIMING_SCHEMA

Rule = Callable[[pa.Table], set[str]]
RULES = [
    rivals.spark,
    rivals.sparklens,
    rivals.dataflint,
    rivals.elephant,
    rivals.late,
]


def table(*tasks: tuple[str, float, float], images: int = 10) -> pa.Table:
    """Tasks as (host, start, seconds), of equal images unless a fourth field says how many."""
    rows = []
    for number, (host, start, seconds, *other) in enumerate(tasks):
        count = int(other[0]) if other else images
        for at in np.linspace(start, start + seconds, count, endpoint=False):
            row = dict.fromkeys(TIMING_SCHEMA.names)
            rows.append(
                row
                | {"image_id": f"{number}-{at}", "kind": "image", "host": host, "task_id": number}
                | {"started_at": float(at), "total_ms": seconds / count * 1e3}
            )
    return pa.Table.from_pylist(rows, schema=TIMING_SCHEMA)


def even(**last: float) -> pa.Table:
    """Four tasks of 10 s on each of four hosts; the last one of some hosts takes longer."""
    return table(
        *((host, 10.0 * turn, 10.0) for host in "abcd" for turn in range(4)),
        *((host, 40.0, seconds) for host, seconds in last.items()),
    )


@pytest.mark.parametrize("rule", RULES)
def test_equal_tasks_on_equal_hosts_blame_nobody(rule: Rule) -> None:
    assert rule(even()) == set()
    assert rule(TIMING_SCHEMA.empty_table()) == set()


def test_spark_blames_the_host_of_a_task_that_runs_on() -> None:
    assert rivals.spark(even(d=14.9)) == set()
    assert rivals.spark(even(d=15.1)) == {"d"}
    # One that had ended before three quarters of the others did is not looked at.
    early = table(("e", 0.0, 16.0), *((host, 20.0 * n, 10.0) for host in "abcd" for n in range(3)))
    assert rivals.spark(early) == set()


def test_sparklens_is_longest_over_median() -> None:
    assert rivals.sparklens(even(c=19.9)) == set()
    assert rivals.sparklens(even(c=20.1, d=30.0)) == {"c", "d"}


def test_dataflint_wants_ten_times_and_five_seconds() -> None:
    assert rivals.dataflint(even(d=99.0)) == set()
    assert rivals.dataflint(even(d=101.0)) == {"d"}
    short = table(*((host, 0.1 * n, 0.1) for host in "abcd" for n in range(4)), ("d", 0.4, 4.9))
    assert rivals.dataflint(short) == set()


def test_dr_elephant_compares_totals_by_executor() -> None:
    # 40 s each; 13 s more is less than a third.
    assert rivals.elephant(even(d=13.0)) == set()
    assert rivals.elephant(even(d=13.3)) == {"d"}
    # A host that is slow and therefore got fewer tasks has the same total.
    pulled = table(*((host, 10.0 * n, 10.0) for host in "abc" for n in range(4)), ("d", 0.0, 40.0))
    assert rivals.elephant(pulled) == set()


def test_late_compares_means_by_host_in_standard_deviations() -> None:
    # All: mean 11.25, deviation 2.17; d: 15.
    slow = table(
        *((host, 10.0 * n, 15.0 if host == "d" else 10.0) for host in "abcd" for n in range(4))
    )
    assert rivals.late(slow) == {"d"}
    # One long task of d's five is not enough: mean 12, all 10.6 with a deviation of 2.4.
    assert rivals.late(even(d=20.0)) == set()


@pytest.mark.parametrize("rule", [rivals.spark, rivals.sparklens, rivals.dataflint, rivals.late])
def test_tasks_of_unequal_size_are_compared_by_the_image(rule: Rule) -> None:
    # Of 20 s for 20 images and 10 s for 10 neither is slow, and a single image's 30 s not seen.
    tasks = [
        (host, 20.0 * n, *size) for host in "abcd" for n, size in ((0, (20.0, 20)), (1, (10.0, 10)))
    ]
    assert rule(table(*tasks, ("a", 60.0, 30.0, 1))) == set()  # type: ignore[arg-type]
    assert "a" in rule(table(*tasks, ("a", 60.0, 300.0, 10))) or rule is rivals.late  # type: ignore[arg-type]


def test_calibration_is_no_task_of_theirs() -> None:
    rows = even().to_pylist()
    rows += [row | {"kind": "calibration", "total_ms": 900e3} for row in rows[:10]]
    calibrated = pa.Table.from_pylist(rows, schema=TIMING_SCHEMA)
    assert [rule(calibrated) for rule in RULES] == [set()] * len(RULES)


def test_each_is_a_judge_that_names_no_cause() -> None:
    timings = table(
        *((host, n * (s := 500.0 if host == "d" else 10.0), s) for host in "abcd" for n in range(4))
    )
    run = Run(timings=timings, samples=pa.table({}), record={}, probed={})
    for name, judge in rivals.RIVALS.items():
        found = judge(run)
        assert {host for host, said in found.items() if said.slow} == {"d"}, name
        assert found["d"].cause is None
