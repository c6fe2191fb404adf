from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import KINDS, Fault
from cluster.bench.stragglers.ours import ours
from cluster.bench.stragglers.rows import EPOCH
from cluster.bench.stragglers.simulator import Run, Trial, simulate
from job.stragglers import verdict
from job.stragglers.findings import analyse
from job.stragglers.work import numbers
from tests.unit.cluster.bench.stragglers.conftest import QUIET

SLOW = "host-0003"
SLOWING = ("cpu-quota", "cpu-neighbour", "link", "memory", "disk")


@cache
def trial(kind: str | None, *, since: int = 20, hosts: int = 4) -> Trial:
    """A run with something the matter with one host, or with nothing."""
    if kind is None:
        faults: tuple[Fault, ...] = ()
    elif kind == "freeze":
        faults = (Fault(kind=kind, host=2, since=30, until=50),)
    elif kind in ("cold", "skew"):
        faults = (Fault(kind=kind, host=2, factor=5.0),)
    else:
        faults = (Fault(kind=kind, host=2, factor=2.0, since=since),)
    return simulate(Cluster(hosts=hosts), images=300 * hosts, faults=faults, noise=QUIET, seed=1)


def findings(run: Run) -> dict[str, tuple[str, ...]]:
    """The kinds of what is said of each host of which something is."""
    found = analyse(run.timings, run.samples, run.record, run.probed)
    return {
        host.host: tuple(each.kind for each in host.findings)
        for host in found.hosts
        if host.findings
    }


def moved(table: pa.Table, column: str, host: str, seconds: float) -> pa.Table:
    """With the clock of a host so many SECONDS fast."""
    own = np.array(table["host"].to_pylist()) == host
    times = pa.array(numbers(table, column) + np.where(own, seconds, 0.0))
    return table.set_column(table.column_names.index(column), column, times)


@pytest.mark.parametrize("since", [0, 20])
@pytest.mark.parametrize("kind", SLOWING)
def test_the_slow_host_is_named_with_its_cause_and_factor(kind: str, since: int) -> None:
    made = trial(kind, since=since)
    said = ours(made.run)
    assert {host for host, judged in said.items() if judged.slow} == {SLOW}
    found, truth = said[SLOW], made.truth[SLOW]
    assert found.cause == kind
    assert {host for host, judged in said.items() if judged.cause} == {SLOW}
    assert found.factor is not None and found.low is not None and found.high is not None
    assert found.low <= found.factor <= found.high
    assert found.factor == pytest.approx(truth.factor, rel=0.15)
    if since:
        assert found.since == pytest.approx(EPOCH + since, abs=10.0)
    else:
        assert found.since is None


@pytest.mark.parametrize("kind", ["freeze", "cold", "skew"])
def test_what_is_no_pace_is_named_and_slows_nobody(kind: str) -> None:
    made = trial(kind)
    said = ours(made.run)
    assert {host: judged.cause for host, judged in said.items() if judged.cause} == dict.fromkeys(
        made.truth, kind
    )
    assert not any(judged.slow for judged in said.values())


@pytest.mark.parametrize("hosts", [2, 4, 40])
def test_of_a_clean_run_nothing_is_said(hosts: int) -> None:
    made = trial(None, hosts=hosts)
    assert findings(made.run) == {}
    said = ours(made.run)
    assert {*said} == {*made.run.probed}
    for judged in said.values():
        assert judged.factor == pytest.approx(1.0, abs=0.1)


def test_hosts_that_are_weak_by_design_are_told_and_are_not_slow() -> None:
    run = simulate(Cluster(hosts=3, cpus=(0.25, 1.0, 1.0)), images=900, noise=QUIET, seed=1).run
    assert findings(run) == {"host-0001": ("weak",)}
    assert not any(judged.slow for judged in ours(run).values())


def test_of_two_slow_hosts_each_is_named_with_its_own_cause() -> None:
    faults = (
        Fault(kind="cpu-quota", host=1, factor=2.0, since=20),
        Fault(kind="link", host=4, factor=2.0),
    )
    made = simulate(Cluster(hosts=6), images=2400, faults=faults, noise=QUIET, seed=1)
    assert findings(made.run) == {"host-0002": ("cpu-quota",), "host-0005": ("link",)}


@pytest.mark.parametrize(("hosts", "images", "seed"), [(3, 400, 1), (3, 900, 2), (5, 600, 3)])
def test_slow_hosts_that_a_run_waits_for_at_its_end_are_no_example_to_each_other(
    hosts: int, images: int, seed: int
) -> None:
    faults = tuple(Fault(kind="cpu-quota", host=n, factor=4.0 - n) for n in (1, 2))
    made = simulate(Cluster(hosts=hosts), images=images, faults=faults, noise=QUIET, seed=seed)
    assert findings(made.run) == {"host-0002": ("cpu-quota",), "host-0003": ("cpu-quota",)}
    for host, judged in ours(made.run).items():
        if judged.slow:
            assert judged.factor == pytest.approx(made.truth[host].factor, rel=0.1)


@pytest.mark.parametrize("seconds", [-30.0, 30.0])
@pytest.mark.parametrize("host", ["host-0001", SLOW])
@pytest.mark.parametrize("kind", [*KINDS, None])
def test_a_clock_that_is_wrong_changes_no_finding(
    kind: str | None, host: str, seconds: float
) -> None:
    run = trial(kind).run
    skewed = Run(
        timings=moved(run.timings, "started_at", host, seconds),
        samples=moved(run.samples, "at", host, seconds),
        record=run.record,
        probed=run.probed,
    )
    assert findings(skewed) == findings(run)
    assert bool(findings(run)) == (kind is not None)


@pytest.mark.parametrize("kind", SLOWING)
def test_the_order_of_the_rows_does_not_matter(kind: str) -> None:
    run = trial(kind).run
    random = np.random.default_rng(4)
    mixed = Run(
        timings=run.timings.take(random.permutation(run.timings.num_rows)),
        samples=run.samples.take(random.permutation(run.samples.num_rows)),
        record=run.record,
        probed=run.probed,
    )
    assert findings(mixed) == findings(run)
    for host, judged in ours(run).items():
        again = ours(mixed)[host]
        assert (again.factor, again.low) == pytest.approx((judged.factor, judged.low))
        assert again.since == pytest.approx(judged.since)


@pytest.mark.parametrize("kind", SLOWING)
@pytest.mark.parametrize("without", ["samples", "record", "counters", "all"])
def test_with_less_to_go_by_there_is_a_verdict_and_no_other_cause(kind: str, without: str) -> None:
    made = trial(kind)
    timings, samples, record = made.run.timings, made.run.samples, {**made.run.record}
    if without in ("samples", "all"):
        samples = samples.slice(0, 0)
    if without in ("counters", "all"):
        timings = timings.drop_columns(["cpu_ms", "run_delay_ms", "throttled_ms"])
    if without in ("record", "all"):
        record = {}
    found = verdict(timings, samples=samples, record=record)
    assert found.text
    blamed = {host.host for host in found.hosts if host.straggler}
    assert blamed <= {SLOW}
    named = {each.kind for host in found.hosts for each in host.findings}
    # A disk without its samples is bytes that come late.
    assert named <= {kind, "unknown", "link"}


def test_the_run_that_was_is_what_the_replay_has() -> None:
    made = trial("cpu-quota").run
    found = verdict(made.timings, samples=made.samples, record=made.record)
    assert found.what_if is not None
    assert found.what_if.replayed == pytest.approx(found.what_if.actual, rel=0.05)
    assert found.what_if.healed[SLOW] < found.what_if.actual
    clean = trial(None).run
    ended = (numbers(clean.timings, "started_at") + numbers(clean.timings, "total_ms") / 1e3).max()
    seconds = ended - numbers(clean.timings, "started_at").min()
    assert found.what_if.healed[SLOW] == pytest.approx(seconds, rel=0.1)
