from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.schemas import HOST_SCHEMA
from job.stragglers.evidence import MEASURES, Reading, evidence, silences, slowness
from job.stragglers.work import medians

Rows = list[dict[str, Any]]
MakeRows = Callable[..., Rows]
MakeTable = Callable[[Rows], pa.Table]
START = 1_760_000_000.0
FOUR = ["a", "b", "c", "d"]


def samples(hosts: dict[str, dict[str, Any]], seconds: int = 20) -> pa.Table:
    """A sample a second of each host; a value may be a number or one for each second."""
    rows = [
        dict.fromkeys(HOST_SCHEMA.names)
        | {"host": host, "at": START + second, "source": "cgroup"}
        | {name: v if np.isscalar(v) else float(v[second]) for name, v in told.items()}
        for host, told in hosts.items()
        for second in range(seconds)
    ]
    return pa.Table.from_pylist(rows, schema=HOST_SCHEMA)


def by_host(timings: pa.Table, values: Any) -> dict[str, float]:
    hosts = np.array(timings["host"].to_pylist())
    return {host: float(np.median(values[hosts == host])) for host in sorted(set(hosts))}


def test_an_image_is_measured_against_the_median_host(
    host_rows: MakeRows, table: MakeTable
) -> None:
    timings = table(
        host_rows("a", 20) + host_rows("b", 20) + host_rows("c", 20, slowdown=3.0, noise=0.05)
    )
    slower = slowness(timings, {})
    assert by_host(timings, slower) == pytest.approx({"a": 1, "b": 1, "c": 3}, rel=0.05)


def test_two_hosts_measure_one_another(host_rows: MakeRows, table: MakeTable) -> None:
    timings = table(host_rows("a", 20) + host_rows("b", 20, slowdown=2.0))
    assert by_host(timings, slowness(timings, {})) == pytest.approx({"a": 0.5, "b": 2})


def test_one_host_is_its_own_peer(host_rows: MakeRows, table: MakeTable) -> None:
    timings = table(host_rows("a", 20) + host_rows("a", 9, slowdown=2.0))
    slower = slowness(timings, {})
    assert slower[:20] == pytest.approx(1) and slower[20:] == pytest.approx(2)


def test_peers_are_of_the_hosts_class_where_there_are_any(
    host_rows: MakeRows, table: MakeTable
) -> None:
    rows = [row for host in "abcd" for row in host_rows(host, 20)]
    weak = [row for host in "efg" for row in host_rows(host, 20, slowdown=2.0)]
    timings = table(rows + weak)
    classes = dict.fromkeys("abcd", "big") | dict.fromkeys("efg", "small")
    assert slowness(timings, classes) == pytest.approx(1)
    # Two of a kind are not measured against one another: that would hide that they are slow.
    classes["g"] = "smallest"
    slower = list(by_host(timings, slowness(timings, classes)).values())
    assert slower == pytest.approx([1] * 4 + [2] * 3)


def test_an_image_is_measured_against_images_of_its_size(
    host_rows: MakeRows, table: MakeTable
) -> None:
    rows = [
        row
        for host in FOUR
        for row in host_rows(host, 20, bytes_in=100_000)
        + host_rows(host, 20, bytes_in=900_000, slowdown=4.0)
    ]
    assert slowness(table(rows), {}) == pytest.approx(1)
    # Two of a size say nothing of that size: they are costly images, wherever they are.
    rows += host_rows("a", 2, bytes_in=9_000_000, slowdown=20.0)
    assert slowness(table(rows), {})[-2:] == pytest.approx(20 / 2.5, rel=0.6)


def test_warm_up_sets_no_measure_but_has_one(host_rows: MakeRows, table: MakeTable) -> None:
    first = [row for host in FOUR for row in host_rows(host, 30, slowdown=5.0, warmup=True)]
    timings = table(first + [row for host in FOUR for row in host_rows(host, 20)])
    slower = slowness(timings, {})
    assert slower[:120] == pytest.approx(5) and slower[120:] == pytest.approx(1)
    assert slowness(table(first), {}) == pytest.approx(1), "all of it warm-up"


def test_work_that_is_not_known_has_no_pace(host_rows: MakeRows, table: MakeTable) -> None:
    unknown = dict.fromkeys(
        f"{stage}_ms" for stage in ("fetch", "decode", "preprocess", "infer", "postprocess", "emit")
    )
    timings = table(host_rows("a", 8) + host_rows("b", 2, total_ms=None, **unknown))
    slower = slowness(timings, {})
    assert np.isnan(slower[8:]).all() and slower[:8] == pytest.approx(1)
    assert len(slowness(timings.slice(0, 0), {})) == 0


def test_medians_by_key() -> None:
    keys = np.array([2, 0, 0, 2, 2, 2, 0])
    values = np.array([5.0, 1.0, 9.0, 3.0, np.nan, 100.0, 4.0])
    found = medians(values, keys, 4)
    assert found[[0, 2]].tolist() == [4, 5] and np.isnan(found[[1, 3]]).all()
    assert medians(np.array([1.0, 2.0]), np.array([0, 0]), 1).tolist() == [1.5]


def delayed(rows: Rows, number: int, seconds: float, *, task: int | None = None) -> Rows:
    """``rows`` with all from ``number`` on begun later, in another task where one is given."""
    later = [
        row
        | {"started_at": row["started_at"] + seconds}
        | ({"task_id": task} if task is not None else {})
        for row in rows[number:]
    ]
    return rows[:number] + later


def test_a_silence_is_told_with_its_begin_and_end(host_rows: MakeRows, table: MakeTable) -> None:
    frozen = host_rows("a", 40, task_id=1)
    frozen[20]["total_ms"] += 30_000
    for row in frozen[21:]:
        row["started_at"] += 30
    found = silences(table(frozen + host_rows("b", 40, task_id=2)))
    # Images take 100 ms: the one that the freeze caught ended 30 s after the one before, and so on.
    assert (found["a"] - START).tolist() == [pytest.approx([2.0, 32.1])]
    assert len(found["b"]) == 0


def test_no_silence_without_a_task_and_none_that_is_short(
    host_rows: MakeRows, table: MakeTable
) -> None:
    waited = delayed(host_rows("a", 40, task_id=1), 20, 30, task=2)
    short = delayed(host_rows("b", 40, task_id=3), 20, 2.5)
    assert [len(found) for found in silences(table(waited + short)).values()] == [0, 0]
    # Within one task, the same wait is one; nine images' time of a host with long ones is none.
    inside = delayed(host_rows("c", 40, task_id=4), 20, 30)
    long = delayed(host_rows("d", 40, task_id=5, slowdown=40.0), 20, 4.0 * 8)
    assert [len(found) for found in silences(table(inside + long)).values()] == [1, 0]


def test_a_reading_that_deviates_is_told_with_its_side(
    host_rows: MakeRows, table: MakeTable
) -> None:
    timings = table([row for host in FOUR for row in host_rows(host, 150)])
    told = {host: {"throttled": 0.01, "net_rx_mbs": 3.0, "net_tx_mbs": 1.0} for host in FOUR}
    told["b"] = {"throttled": 0.31, "net_rx_mbs": 0.5, "net_tx_mbs": 0.1}
    for host in FOUR:
        told[host]["psi_io"] = 0.0 if host == "b" else 0.8  # less of it is no trouble
    found = evidence(timings, samples(told))
    assert found["b"]["throttled"] == Reading(
        value=pytest.approx(0.31), peers=pytest.approx(0.01), side="above"
    )
    assert found["b"]["network_mbs"] == Reading(
        value=pytest.approx(0.6), peers=pytest.approx(4), side="below"
    )
    assert found["b"]["psi_io"].side is None
    assert {reading.side for host in "acd" for reading in found[host].values()} == {None}
    assert "cpu_steal" not in found["b"], "what was not measured is left out"


def test_what_is_small_or_within_the_peers_noise_does_not_deviate() -> None:
    nothing = pa.table({"host": pa.array([], pa.string())})
    low = {host: {"throttled": 0.001} for host in FOUR} | {"b": {"throttled": 0.04}}
    assert evidence(nothing, samples(low))["b"]["throttled"].side is None
    mhz = {host: {"mhz": 3000.0} for host in FOUR} | {"b": {"mhz": 2800.0}, "c": {"mhz": 2200.0}}
    found = evidence(nothing, samples(mhz))
    assert (found["b"]["mhz"].side, found["c"]["mhz"].side) == (None, "below")
    values = np.random.default_rng(1).uniform(0, 20, 40)
    noisy = {f"n{at}": {"disk_await_ms": value} for at, value in enumerate(values)}
    assert {host["disk_await_ms"].side for host in evidence(nothing, samples(noisy)).values()} == {
        None
    }


def test_only_the_time_counts_in_which_a_host_worked(host_rows: MakeRows, table: MakeTable) -> None:
    rows = [row for host in FOUR for row in host_rows(host, 50)]
    for row in rows:
        row["started_at"] += 10
    # Localising before, the host that has no image as long as the others have some.
    told = {host: {"psi_io": np.arange(20) < 9} for host in (*FOUR, "e")}
    told["e"] = {"psi_io": np.arange(20) >= 10}
    found = evidence(table(rows), samples(told))
    assert {found[host]["psi_io"].value for host in FOUR} == {0}
    assert found["e"]["psi_io"].value == 1 and found["e"]["psi_io"].side == "above"


def test_counters_of_images_count_too(host_rows: MakeRows, table: MakeTable) -> None:
    rows = [
        row for host in FOUR for row in host_rows(host, 20, cpu_ms=90.0, run_delay_ms=0.9)
    ] + host_rows("e", 20, cpu_ms=90.0, run_delay_ms=45.0, slowdown={"fetch": 40.0})
    found = evidence(table(rows), HOST_SCHEMA.empty_table())
    assert found["e"]["run_delay"] == Reading(value=0.5, peers=pytest.approx(0.01), side="above")
    assert found["e"]["fetch_ms"] == Reading(value=40, peers=1, side="above")
    assert set(found["a"]) == {"run_delay", "fetch_ms"}


def test_a_gap_in_the_samples_is_seconds() -> None:
    whole = samples({host: {} for host in FOUR})
    at = whole["at"].to_numpy() - START
    kept = whole.filter(pa.array((np.array(whole["host"]) != "c") | (at < 5) | (at > 15)))
    found = evidence(pa.table({"host": pa.array([], pa.string())}), kept)
    assert found["c"]["gap_s"] == Reading(value=11, peers=0, side="above")
    assert found["a"]["gap_s"].side is None


def test_one_host_has_readings_and_no_peers(host_rows: MakeRows, table: MakeTable) -> None:
    found = evidence(table(host_rows("a", 9)), samples({"a": {"throttled": 0.5}}))
    assert found["a"]["throttled"] == Reading(value=0.5, peers=None, side=None)
    assert evidence(table([]), HOST_SCHEMA.empty_table()) == {}


def test_every_sampled_measure_is_read(host_rows: MakeRows, table: MakeTable) -> None:
    rows = host_rows("a", 20, cpu_ms=90.0, run_delay_ms=1.0)
    told = {name: 2.0 for name in HOST_SCHEMA.names if name not in ("host", "at", "source")}
    found = evidence(table(rows), samples({"a": told}))
    assert list(found["a"]) == [measure.name for measure in MEASURES]
    assert found["a"]["network_mbs"].value == 4
