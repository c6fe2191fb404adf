import numpy as np
import pyarrow as pa
import pytest

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import CLEAN, HostTruth
from cluster.bench.stragglers.judging import HostJudgement
from cluster.bench.stragglers.scoring import (
    UNTOLD,
    Outcome,
    bootstrap,
    confusion,
    figures,
    macro_f1,
    outcome,
    proportion,
)
from cluster.bench.stragglers.simulator import Run, Trial

EVEN, UNEVEN = Cluster(hosts=4), Cluster(hosts=4, cpus=(0.25, 0.5, 1.0))


def trial(cluster: Cluster = EVEN, **truth: HostTruth) -> Trial:
    return Trial(
        run=Run(timings=pa.table({}), samples=pa.table({}), record={}, probed={}),
        truth=truth,
        even=cluster.even,
        clean=not truth,
    )


def slow(kind: str, factor: float, since: float | None = None) -> HostTruth:
    return HostTruth(kinds=(kind,), factor=factor, since=since)


def said(
    factor: float | None = None, cause: str | None = None, since: float | None = None
) -> HostJudgement:
    return HostJudgement(slow=True, factor=factor, cause=cause, since=since)


def scored(*pairs: Outcome) -> dict[str, float]:
    return {name: figure.value for name, figure in figures(pairs).items()}


def test_precision_counts_the_hosts_blamed_and_recall_those_to_blame() -> None:
    found = scored(
        outcome(trial(a=slow("link", 2.0)), {"a": said(), "b": said()}),
        outcome(trial(a=slow("link", 1.5)), {"b": HostJudgement()}),
        outcome(trial(a=slow("link", 1.2)), {"a": said()}),
        outcome(trial(a=slow("link", 1.02)), {"a": said()}),
        outcome(trial(), {"c": said()}),
    )
    assert found["host_precision"] == 2 / 5
    assert found["host_recall"] == 1 / 2
    assert found["host_recall_115"] == 1.0


def test_hosts_declared_alike_are_scored_by_themselves_too() -> None:
    found = scored(
        outcome(trial(EVEN, a=slow("link", 2.0)), {"a": said()}),
        outcome(trial(UNEVEN, a=slow("link", 2.0)), {"b": said()}),
    )
    assert (found["host_precision"], found["host_precision_alike"]) == (0.5, 1.0)
    assert (found["host_recall"], found["host_recall_alike"]) == (0.5, 1.0)


def test_recall_at_115_is_of_those_near_it() -> None:
    factors = (1.09, 1.1, 1.15, 1.2, 1.21)
    outcomes = [outcome(trial(a=slow("link", factor)), {}) for factor in factors]
    assert figures(outcomes)["host_recall_115"].of == 3
    assert "host_recall" not in figures(outcomes)


def test_false_alarms_are_of_clean_runs_of_unequal_hosts() -> None:
    alarm = {"a": said(), "b": said()}
    found = figures(
        [
            outcome(trial(UNEVEN), alarm),
            *(outcome(trial(UNEVEN), {}) for _ in range(3)),
            outcome(trial(EVEN), alarm),
            outcome(trial(UNEVEN, a=slow("link", 2.0)), alarm),
        ]
    )["false_alarms_per_100"]
    assert (found.value, found.of) == (25.0, 4)


def test_errors_are_relative_and_of_hosts_rightly_blamed() -> None:
    found = figures(
        [
            outcome(trial(a=slow("link", 2.0)), {"a": said(2.2)}),
            outcome(trial(a=slow("link", 2.0)), {"a": said(1.9)}),
            outcome(trial(a=slow("link", 2.0)), {"a": said(2.0)}),
            outcome(trial(a=slow("link", 2.0)), {"a": HostJudgement(factor=9.0)}),
            outcome(trial(a=slow("link", 1.0)), {"a": said(9.0)}),
            outcome(trial(a=slow("link", 2.0)), {"a": said()}),
        ]
    )
    assert found["slowdown_error_median"].value == pytest.approx(0.05)
    assert found["slowdown_error_p90"].value == pytest.approx(0.09)
    assert found["slowdown_error_median"].of == 3


def test_onset_is_scored_where_there_is_one_and_it_is_said() -> None:
    found = scored(
        outcome(trial(a=slow("link", 2.0, since=100.0)), {"a": said(since=103.0)}),
        outcome(trial(a=slow("link", 2.0, since=100.0)), {"a": said(since=95.0)}),
        outcome(trial(a=slow("link", 2.0, since=100.0)), {"a": said()}),
        outcome(trial(a=slow("link", 2.0)), {"a": said(since=500.0)}),
    )
    assert found["onset_error_s"] == 4.0


def test_causes_are_those_of_hosts_with_something_or_said_to_have() -> None:
    named = outcome(
        trial(
            a=slow("link", 2.0),
            b=slow("disk", 2.0),
            c=slow("cold", 1.0),
            d=slow("memory", 1.01),
            e=HostTruth(kinds=("cpu-quota", "link"), factor=2.0),
        ),
        {
            "a": said(cause="link"),
            "b": said(),
            "c": HostJudgement(cause="cold"),
            "e": said(cause="link"),
            "f": said(cause="memory"),
            "g": said(),
            "h": HostJudgement(),
        },
    )
    assert sorted(named.causes) == [
        (CLEAN, UNTOLD),
        (CLEAN, "memory"),
        ("cold", "cold"),
        ("disk", UNTOLD),
        ("link", "link"),
        ("link", "link"),
    ]
    assert outcome(trial(), {}).causes == [(CLEAN, CLEAN)]
    # A link too little slowed to be seen, on a host that is cold besides.
    both = trial(a=HostTruth(kinds=("link", "cold"), factor=1.01))
    assert outcome(both, {"a": said(cause="link")}).causes == [("cold", "link")]
    assert outcome(trial(), {"a": said(cause="skew")}).causes == [(CLEAN, "skew")]
    assert outcome(trial(a=slow("link", 2.0)), {}).causes == [("link", CLEAN)]


def f1(pairs: list[tuple[str, str]]) -> float:
    return macro_f1(np.array([confusion(pairs[:2]), confusion(pairs[2:])]))


def test_macro_f1_is_the_mean_over_the_causes_there_are() -> None:
    pairs = [("link", "link"), ("link", "disk"), ("disk", "disk"), (CLEAN, CLEAN)]
    # Link: precision 1, recall 1/2. Disk: 1/2 and 1.
    assert f1(pairs) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # A cause said of a clean host costs that cause's precision, and the clean ones' recall.
    assert f1([*pairs, (CLEAN, "disk")]) == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 3)
    assert f1([*pairs, (CLEAN, UNTOLD)]) == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)


def test_a_freeze_is_apart() -> None:
    frozen = trial(a=slow("freeze", 20.0))
    found = scored(
        outcome(frozen, {"a": said(cause="freeze")}),
        outcome(frozen, {"a": said(3.0)}),
    )
    assert found == {"freeze_recall": 0.5}


def test_wilsons_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    share = proportion(81, 263)
    assert share is not None
    assert (share.low, share.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = proportion(0, 20)
    assert none is not None
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert proportion(0, 0) is None


def test_the_bootstrap_covers_the_median_of_what_it_was_drawn_from() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(40):
        found = bootstrap(random.standard_normal(40).tolist(), np.median, random)
        assert found is not None
        held += found.low <= 0 <= found.high
    assert 34 <= held <= 40
    assert bootstrap([], np.median, random) is None


def test_the_same_outcomes_give_the_same_figures() -> None:
    outcomes = [
        outcome(trial(a=slow("link", 2.0)), {"a": said(2.0 + error)}) for error in (0.1, 0.3, 0.7)
    ]
    assert figures(outcomes) == figures(outcomes)
