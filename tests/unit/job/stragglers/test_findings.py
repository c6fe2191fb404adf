from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.schemas import HOST_SCHEMA, TIMING_SCHEMA
from job.stragglers.causes import Cause
from job.stragglers.findings import Analysis, HostFactor, analyse
from tests.unit.job.stragglers.conftest import MakeRows, MakeTable, Rows, waits

BEGAN = 1_760_000_000.0  # as ``host_rows`` has it
COLUMNS = [name for name in TIMING_SCHEMA.names if name not in ("image_id", "host")]
NO_SAMPLES = HOST_SCHEMA.empty_table()


def found(
    timings: pa.Table,
    samples: pa.Table = NO_SAMPLES,
    record: Mapping[str, Any] | None = None,
    speeds: Mapping[str, float] | None = None,
) -> Analysis:
    return analyse(timings, samples, record or {}, speeds or {})


def kinds(analysis: Analysis) -> dict[str, list[str]]:
    return {host.host: [each.kind for each in host.findings] for host in analysis.hosts}


def samples(*hosts: str, seconds: int, still: tuple[float, float] | None = None) -> pa.Table:
    """Of each second; the last of HOSTS leaves some out."""
    rows = [
        {"host": host, "at": BEGAN + second + 1.0, "psi_io": 0.0, "psi_memory": 0.0}
        for host in hosts
        for second in range(seconds)
        if not (still and host == hosts[-1] and still[0] < second < still[1])
    ]
    return pa.Table.from_pylist(rows, schema=HOST_SCHEMA)


def started(*, cold: bool) -> list[dict[str, Any]]:
    """Phases of four hosts, of which the last one may have begun COLD."""
    return [
        {"name": name, "host": host, "seconds": 6.0 * (4.0 if host == "d" and cold else 1.0)}
        for host in "abcd"
        for name in ("localise", "executor_start", "model_load")
    ]


def later(rows: Rows, seconds: float) -> Rows:
    return [row | {"started_at": row["started_at"] + seconds} for row in rows]


@pytest.fixture
def healthy(host_rows: MakeRows) -> Rows:
    """Three hosts, 20 s each."""
    return [row for host in "abc" for row in host_rows(host, 200, noise=0.05, **waits(5.0))]


def test_of_healthy_hosts_nothing_is_said(healthy: Rows, table: MakeTable) -> None:
    analysis = found(table(healthy))
    assert kinds(analysis) == {"a": [], "b": [], "c": []}
    assert analysis.stretches == {} and analysis.away == {}
    for host in analysis.hosts:
        assert host.images == 200
        assert host.factor == pytest.approx(1, abs=0.05)
        assert host.low is not None and host.high is not None
        assert host.low < 1 < host.high
        assert host.since is None and host.until is None
        assert not host.straggler


def test_a_host_slow_all_along(healthy: Rows, host_rows: MakeRows, table: MakeTable) -> None:
    rows = healthy + host_rows("d", 100, slowdown=2.0, noise=0.05, **waits(105.0, held=True))
    analysis = found(table(rows))
    assert kinds(analysis) == {"a": [], "b": [], "c": [], "d": ["cpu-quota"]}
    slow = analysis.hosts[3]
    assert slow.slow and slow.straggler and not slow.still
    assert slow.factor == pytest.approx(2, rel=0.05)
    assert slow.low is not None and slow.high is not None
    assert 1.5 < slow.low < 2 < slow.high < 2.6
    assert (slow.since, slow.until) == (None, None)
    assert {*analysis.stretches} == {"d"}


def test_a_host_slow_for_a_while(healthy: Rows, host_rows: MakeRows, table: MakeTable) -> None:
    # From 6 to 14 s of 20.
    rows = healthy + host_rows("d", 60, noise=0.05, **waits(5.0))
    slow = host_rows("d", 32, slowdown=2.5, noise=0.05, **waits(155.0))
    rows += later(slow, 6.0)
    rows += later(host_rows("d", 60, noise=0.05, seed=1, **waits(5.0)), 14.0)
    analysis = found(table(rows))
    assert kinds(analysis)["d"] == ["cpu-neighbour"]
    host = analysis.hosts[3]
    assert host.factor == pytest.approx(2.5, rel=0.15)
    assert host.since == pytest.approx(BEGAN + 6, abs=2.5)
    assert host.until == pytest.approx(BEGAN + 14, abs=2.5)


def test_a_host_that_stood_still_is_a_straggler_and_not_slow(
    healthy: Rows, host_rows: MakeRows, table: MakeTable
) -> None:
    own = host_rows("d", 200, noise=0.05, **waits(5.0))
    own = own[:80] + later(own[80:], 10.0)
    own[80] |= {"started_at": own[79]["started_at"], "total_ms": 10_200.0}
    seen = samples(*"abc", seconds=20)
    seen = pa.concat_tables([seen, samples("d", seconds=30, still=(8.0, 18.0))])
    analysis = found(table(healthy + own), seen)
    assert kinds(analysis) == {"a": [], "b": [], "c": [], "d": ["freeze"]}
    host = analysis.hosts[3]
    assert host.still and host.straggler and not host.slow
    assert host.factor == pytest.approx(1, abs=0.1)
    assert "stood still for " in host.findings[0].text
    assert {*analysis.away} == {"d"} and analysis.stretches == {}


def test_unlike_hosts_are_weak_by_design(host_rows: MakeRows, table: MakeTable) -> None:
    rows = host_rows("a", 200, **waits(5.0)) + host_rows("b", 200, **waits(5.0))
    rows += host_rows("c", 50, slowdown=4.0, **waits(305.0, held=True))
    record = {
        "hosts": [
            {"host": host, "cpus_quota": cpus} for host, cpus in (("a", 1), ("b", 1), ("c", 0.25))
        ]
    }
    analysis = found(table(rows), record=record)
    assert kinds(analysis) == {"a": [], "b": [], "c": ["weak"]}
    assert not any(host.straggler for host in analysis.hosts)
    assert "0.25x what the median host does, with 0.25 CPUs" in analysis.hosts[2].findings[0].text
    # As it was in earlier runs.
    speeds = {"a": 10.0, "b": 10.0, "c": 2.5}
    assert kinds(found(table(rows), speeds=speeds))["c"] == ["weak"]
    # Declared alike it is slow.
    assert kinds(found(table(rows)))["c"] == ["cpu-quota"]


def test_a_weak_host_that_is_slower_than_that_is_both(
    host_rows: MakeRows, table: MakeTable
) -> None:
    rows = host_rows("a", 400, **waits(5.0)) + host_rows("b", 400, **waits(5.0))
    rows += host_rows("c", 40, slowdown=10.0, **waits(905.0, held=True))
    speeds = {"a": 10.0, "b": 10.0, "c": 5.0}
    analysis = found(table(rows), speeds=speeds)
    assert kinds(analysis)["c"] == ["cpu-quota", "weak"]
    assert analysis.hosts[2].factor == pytest.approx(5.0, rel=0.1)


def test_more_threads_than_cpus_are_told(healthy: Rows, table: MakeTable) -> None:
    def record(threads: Sequence[int], cpus: float) -> dict[str, Any]:
        workers = [{"host": "a", "threads": each, "streams": 1} for each in threads]
        return {"hosts": [{"host": host, "cpus_quota": cpus} for host in "abc"], "workers": workers}

    told = found(table(healthy), record=record([8], 1.0))
    assert kinds(told) == {"a": ["misconfigured"], "b": [], "c": []}
    assert not told.hosts[0].straggler
    assert "8 threads on 1.0 CPUs" in told.hosts[0].findings[0].text
    several = found(table(healthy), record=record([4, 4], 1.0)).hosts[0].findings[0]
    assert "8 threads in 2 workers on 1.0 CPUs" in several.text
    assert kinds(found(table(healthy), record=record([2], 1.0)))["a"] == []
    # Part of a CPU is one thread.
    assert kinds(found(table(healthy), record=record([1], 0.25)))["a"] == []


def test_a_cold_host_is_told_unless_it_is_slow(
    healthy: Rows, host_rows: MakeRows, table: MakeTable
) -> None:
    phases = started(cold=True)
    well = healthy + host_rows("d", 200, noise=0.05, **waits(5.0))
    analysis = found(table(well), record={"phases": phases})
    assert kinds(analysis) == {"a": [], "b": [], "c": [], "d": ["cold"]}
    assert not analysis.hosts[3].straggler
    assert "took 24 s, 6.0 s on its peers" in analysis.hosts[3].findings[0].text
    slow = healthy + host_rows("d", 70, slowdown=3.0, noise=0.05, **waits(205.0))
    assert kinds(found(table(slow), record={"phases": phases}))["d"] == ["cpu-neighbour"]


@pytest.mark.parametrize(
    ("cold", "until", "kind"), [(True, 8, "cold"), (False, 8, "disk"), (True, 20, "disk")]
)
def test_a_host_that_reads_at_first_is_cold_if_it_began_so(
    healthy: Rows, host_rows: MakeRows, table: MakeTable, cold: bool, until: int, kind: str
) -> None:
    reads = {**waits(5.0), "fetch_ms": 100.0}
    rows = healthy + host_rows("d", 4 * until, slowdown=2.5, noise=0.05, **reads)
    rows += later(host_rows("d", 10 * (20 - until), noise=0.05, seed=1, **waits(5.0)), until)
    sampled = samples(*"abcd", seconds=20).to_pylist()
    for each in sampled:
        if each["host"] == "d" and each["at"] - BEGAN <= until:
            each["psi_io"] = 0.6
    analysis = found(
        table(rows),
        pa.Table.from_pylist(sampled, schema=HOST_SCHEMA),
        record={"phases": started(cold=cold)},
    )
    assert kinds(analysis)["d"] == [kind]
    assert analysis.hosts[3].slow == (kind == "disk")


def test_without_a_cause_only_a_pace_beyond_doubt_is_slow(
    healthy: Rows, host_rows: MakeRows, table: MakeTable
) -> None:
    far = found(table(healthy + host_rows("d", 40, slowdown=5.0, noise=0.05, **waits(5.0))))
    assert kinds(far)["d"] in (["unknown"], ["cpu-slow"])
    near = found(table(healthy + host_rows("d", 150, slowdown=1.3, noise=0.05, **waits(5.0))))
    assert kinds(near)["d"] == []
    assert near.hosts[3].factor == pytest.approx(1.3, rel=0.05)


def test_a_host_with_few_images_has_no_factor(
    healthy: Rows, host_rows: MakeRows, table: MakeTable
) -> None:
    few = found(table(healthy + host_rows("d", 3, slowdown=9.0))).hosts[3]
    assert (few.factor, few.low, few.high, few.findings) == (None, None, None, ())


def test_one_host_has_no_factor_but_what_can_be_said_is(
    host_rows: MakeRows, table: MakeTable
) -> None:
    rows = host_rows("a", 200, slowdown=2.0, **waits(100.0))
    (alone,) = found(table(rows)).hosts
    assert (alone.host, alone.images, alone.factor) == ("a", 200, None)
    assert not alone.straggler
    frozen = found(table(rows), samples("a", seconds=40, still=(10.0, 25.0)))
    assert kinds(frozen) == {"a": ["freeze"]}


def test_no_rows() -> None:
    analysis = found(TIMING_SCHEMA.empty_table())
    assert analysis.hosts == () and analysis.stretches == {}


def test_the_order_of_the_rows_and_of_the_hosts_does_not_matter(
    healthy: Rows, host_rows: MakeRows, table: MakeTable
) -> None:
    rows = healthy + host_rows("d", 100, slowdown=2.0, noise=0.05, **waits(105.0))
    mixed = [rows[number] for number in np.random.default_rng(2).permutation(len(rows))]
    one, other = found(table(rows)), found(table(mixed))
    assert kinds(one) == kinds(other)
    assert one.hosts[3].factor == pytest.approx(other.hosts[3].factor)
    # Under another name it is the first.
    renamed = [row | {"host": "0" if row["host"] == "d" else row["host"]} for row in rows]
    assert kinds(found(table(renamed)))["0"] == ["cpu-neighbour"]


@pytest.mark.parametrize("times", [0.1, 10.0])
def test_a_slower_cluster_has_no_straggler(
    healthy: Rows, host_rows: MakeRows, table: MakeTable, times: float
) -> None:
    def scaled(rows: Rows) -> pa.Table:
        scaled_rows = []
        for row in rows:
            ms = {name: times * row[name] for name in row if name.endswith("_ms")}
            since = BEGAN + times * (row["started_at"] - BEGAN)
            scaled_rows.append(row | ms | {"started_at": since})
        return table(scaled_rows)

    assert kinds(found(scaled(healthy))) == {"a": [], "b": [], "c": []}
    slow = healthy + host_rows("d", 100, slowdown=2.0, noise=0.05, **waits(105.0))
    assert kinds(found(scaled(slow)))["d"] == ["cpu-neighbour"]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_column_without_values_blames_nobody_else(
    healthy: Rows, host_rows: MakeRows, table: MakeTable, column: str, share: float
) -> None:
    rows = healthy + host_rows("d", 100, slowdown=2.0, noise=0.05, **waits(105.0))
    every = round(1 / share)
    rows = [row | ({column: None} if n % every == 0 else {}) for n, row in enumerate(rows)]
    analysis = found(table(rows))
    blamed = {host.host for host in analysis.hosts if host.straggler}
    assert blamed <= {"d"}
    if share < 1 and column not in ("started_at", "total_ms", "task_id"):
        assert blamed == {"d"}


def test_rows_without_a_host_are_of_one_that_is_not_known(healthy: Rows, table: MakeTable) -> None:
    rows = [row | ({"host": None} if row["host"] == "b" else {}) for row in healthy]
    assert kinds(found(table(rows))) == {"?": [], "a": [], "c": []}
    assert kinds(found(table([row | {"host": None} for row in healthy]))) == {"?": []}


def test_images_tried_twice_count_as_the_work_they_were(
    healthy: Rows, host_rows: MakeRows, table: MakeTable
) -> None:
    # A task that was lost and done again elsewhere, and rows that came twice.
    again = host_rows("a", 60, noise=0.05, **waits(5.0))
    again = [row | {"host": "b", "task_id": 7, "attempt": 1} for row in later(again, 20.0)]
    rows = healthy + again + healthy[:40]
    assert kinds(found(table(rows))) == {"a": [], "b": [], "c": []}
    slow = rows + host_rows("d", 100, slowdown=2.0, noise=0.05, **waits(105.0))
    assert kinds(found(table(slow)))["d"] == ["cpu-neighbour"]


@pytest.mark.parametrize(
    ("findings", "slow", "still"),
    [
        ((), False, False),
        (("link",), True, False),
        (("freeze",), False, True),
        (("freeze", "disk"), True, True),
        (("weak", "cold"), False, False),
    ],
)
def test_a_host_is_what_its_findings_say(
    findings: tuple[str, ...], slow: bool, still: bool
) -> None:
    host = HostFactor(
        host="a",
        images=50,
        factor=3.0,
        low=2.0,
        high=4.0,
        findings=tuple(
            Cause(kind=kind, text="", action="", straggler=kind not in ("weak", "cold"))
            for kind in findings
        ),
    )
    assert (host.slow, host.still, host.straggler) == (slow, still, slow or still)
