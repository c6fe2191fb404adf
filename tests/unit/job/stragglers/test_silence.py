from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pytest

from job.stragglers.silence import frozen

BEGAN = 1_760_000_000.0


def timings(*hosts: str, seconds: int = 60) -> pa.Table:
    """Images of one second, one after another."""
    return pa.table(
        {
            "host": np.repeat(hosts, seconds),
            "started_at": BEGAN + np.tile(np.arange(float(seconds)), len(hosts)),
            "total_ms": np.full(seconds * len(hosts), 1000.0),
        }
    )


def samples(
    *, every: float = 1.0, seconds: int = 60, **without: Iterable[tuple[float, float]]
) -> pa.Table:
    """Samples of hosts, but for some stretches."""
    rows = [
        {"host": host, "at": BEGAN + at + 0.01}
        for host, still in without.items()
        for at in np.arange(0.0, seconds, every)
        if not any(first < at < last for first, last in still)
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([("host", pa.string()), ("at", pa.float64())])
    )


def test_a_host_that_stood_still_left_no_sample() -> None:
    found = frozen(timings("a", "b", "c"), samples(a=[], b=[(20, 35)], c=[]))
    assert {*found} == {"b"}
    ((since, until),) = found["b"]
    assert since - BEGAN == pytest.approx(20, abs=1.1)
    assert until - BEGAN == pytest.approx(35, abs=1.1)


def test_each_time_is_told() -> None:
    found = frozen(timings("a", "b", "c"), samples(a=[], b=[(10, 20), (40, 55)], c=[]))
    assert found["b"].shape == (2, 2)
    assert (np.diff(found["b"].ravel()) > 0).all()


def test_a_late_sample_is_none() -> None:
    assert frozen(timings("a", "b"), samples(a=[], b=[(20, 22.5)])) == {}
    # Where they come every 10 s, 20 s are one that is late.
    slowly = samples(every=10.0, seconds=120, a=[], b=[(40, 60)])
    assert frozen(timings("a", "b", seconds=120), slowly) == {}


def test_a_host_without_work_may_be_still() -> None:
    rows = timings("a", "b")
    idle = rows.filter(pa.array([host == "a" for host in rows["host"].to_pylist()]))
    early = timings("b", seconds=10)
    assert frozen(pa.concat_tables([idle, early]), samples(a=[], b=[(20, 35)])) == {}
    assert frozen(idle, samples(a=[], b=[(20, 35)])) == {}


def test_what_all_hosts_stood_still_in_was_something_else() -> None:
    together = {host: [(20, 35)] for host in "abc"}
    assert frozen(timings(*"abc", "d"), samples(**together, d=[])) == {}
    # At different times each stood by itself.
    apart = {"a": [(5, 15)], "b": [(20, 30)], "c": [(35, 45)]}
    assert {*frozen(timings(*"abc", "d"), samples(**apart, d=[]))} == {*"abc"}


def test_a_lone_host_may_freeze() -> None:
    assert {*frozen(timings("a"), samples(a=[(20, 35)]))} == {"a"}


def test_without_samples_nothing_is_told() -> None:
    assert frozen(timings("a", "b"), samples()) == {}
    assert frozen(timings(), samples(a=[(20, 35)])) == {}
    assert frozen(timings("a", "b"), samples(a=[(0.5, 58.5)], b=[])) == {}  # too few to tell


def test_a_sample_without_a_time_is_none() -> None:
    seen = samples(a=[(20, 35)], b=[])
    unknown = pa.table({"host": ["a", "b"], "at": pa.array([None, None], pa.float64())})
    assert {*frozen(timings("a", "b"), pa.concat_tables([seen, unknown]))} == {"a"}


def test_the_clock_of_the_host_may_be_wrong() -> None:
    rows, seen = timings("b").to_pylist(), samples(b=[(20, 35)]).to_pylist()
    for row in rows:
        row["started_at"] += 30
    for row in seen:
        row["at"] += 30
    peers = timings("a", "c")
    found = frozen(
        pa.concat_tables([peers, pa.Table.from_pylist(rows, schema=peers.schema)]),
        pa.Table.from_pylist(seen + samples(a=[], c=[]).to_pylist()),
    )
    assert {*found} == {"b"}
    assert np.diff(found["b"]).sum() == pytest.approx(15, abs=2)
