import pytest

from cluster.bench import makespan
from cluster.bench.makespan import ideal_s, ideal_with_fault_s, spark_partitions

OWN = {"a": 4.0, "b": 2.0, "c": 1.0}


def test_hosts_that_never_wait_take_the_work_over_their_speeds() -> None:
    assert ideal_s(700, OWN) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("after_s", "seconds"),
    [
        (0.0, 700 / 6.0),
        (40.0, 40 + 420 / 6.0),
        # It came when all was done.
        (100.0, 100.0),
        (150.0, 100.0),
    ],
)
def test_a_host_that_slows_down_counts_as_slow_from_then_on(after_s: float, seconds: float) -> None:
    ideal = ideal_with_fault_s(700, OWN, host="b", speed=1.0, after_s=after_s)
    assert ideal == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("sizes", "partitions"),
    [
        # Each counts 4 MiB more than it has, and one is taken while 128 MiB are not exceeded.
        ([0] * 330, 10),
        ([0] * 331, 11),
        # As many as there are cores, where that is less than 128 MiB for each.
        ([0] * 9, 3),
        ([120_000] * 1200, 38),
        ([200 << 20], 1),
    ],
)
def test_files_are_parted_as_spark_parts_them(sizes: list[int], partitions: int) -> None:
    assert spark_partitions(sizes, cores=3) == partitions


def test_figures_are_the_medians_of_the_rounds() -> None:
    rows = [
        {"way": way, "ratio": ratio + at}
        for at, way in enumerate(makespan.NAMES)
        for ratio in (1.0, 1.3, 1.1)
    ]
    rows.append({"way": "a alone", "images_per_s": 4.0})
    assert makespan.figures(rows) == {
        "equal_parts_ratio": 1.1,
        "spark_default_ratio": 2.1,
        "planner_ratio": 3.1,
        "planner_fault_ratio": 4.1,
    }
