from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from job.schemas import TIMING_SCHEMA
from job.stragglers import HostFactor, compare_hosts
from job.stragglers.model import MIN_IMAGES
from job.stragglers.work import Floats

Make = Callable[..., Any]


def by_name(timings: pa.Table, *, seed: int = 0) -> dict[str, Any]:
    return {host.host: host for host in compare_hosts(timings, seed=seed)}


def many_hosts(work: Floats) -> pa.Table:
    """Inference times [hosts, images] as a table; rows as dictionaries would take too long."""
    hosts, images = work.shape
    names = np.repeat([f"host-{number:04}" for number in range(hosts)], images)
    return pa.table({"host": names, "infer_ms": work.ravel()})


@pytest.mark.parametrize("hosts", [2, 5])
def test_a_slow_host_is_found_with_its_factor(hosts: int, host_rows: Make, table: Make) -> None:
    rows = [row for n in range(hosts - 1) for row in host_rows(f"fast-{n}", 400, noise=0.15)]
    found = by_name(table(rows + host_rows("slow", 400, slowdown=1.5, noise=0.15)))

    assert [name for name, host in found.items() if host.slow] == ["slow"]
    assert found["slow"].factor == pytest.approx(1.5, rel=0.04)
    assert found["slow"].low < 1.5 < found["slow"].high
    assert found["slow"].high / found["slow"].low < 1.12
    assert {host.images for host in found.values()} == {400}


def test_two_slow_hosts_of_five_are_found(host_rows: Make, table: Make) -> None:
    speeds = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 1.4, "e": 1.0}
    found = by_name(
        table([r for h, x in speeds.items() for r in host_rows(h, 300, slowdown=x, noise=0.1)])
    )

    assert [name for name, host in found.items() if host.slow] == ["b", "d"]
    # Of the four others one is slow as well; their median is that of the fast ones.
    assert found["b"].factor == pytest.approx(2.0, rel=0.04)
    assert found["d"].factor == pytest.approx(1.4, rel=0.04)


@pytest.mark.parametrize("hosts", [2, 5])
def test_equal_hosts_are_healthy(hosts: int, host_rows: Make, table: Make) -> None:
    rows = [row for n in range(hosts) for row in host_rows(f"host-{n}", 300, noise=0.15)]
    for host in compare_hosts(table(rows)):
        assert not host.slow and not host.suspect
        assert host.factor == pytest.approx(1, abs=0.05)


def test_ten_percent_is_not_slow_however_sure(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 500, noise=0.02) + host_rows("b", 500, slowdown=1.1, noise=0.02)
    found = by_name(table(rows))["b"]
    assert found.factor == pytest.approx(1.1, rel=0.02)
    assert found.low > 1.05
    assert not found.slow and not found.suspect


def test_few_noisy_images_leave_a_host_suspect_but_not_slow(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 10, noise=0.5) + host_rows("b", 10, slowdown=1.5, noise=0.5, seed=1)
    found = by_name(table(rows))["b"]
    assert found.factor > 1.15 and found.suspect
    assert found.low < 1.05 < found.high
    assert not found.slow


def test_factors_are_medians_over_the_median_of_the_others(host_rows: Make, table: Make) -> None:
    speeds = {"a": 1.0, "b": 1.2, "c": 1.2, "d": 1.6, "e": 2.5}
    rows = [row for host, x in speeds.items() for row in host_rows(host, 10, slowdown=x)]
    found = by_name(table(rows))
    # The median of four is taken between two, in logs.
    others = {"a": np.sqrt(1.2 * 1.6), "b": np.sqrt(1.2 * 1.6), "c": np.sqrt(1.2 * 1.6)}
    others |= {"d": 1.2, "e": np.sqrt(1.2 * 1.2)}
    for host, speed in speeds.items():
        assert found[host].factor == pytest.approx(speed / others[host])
        # Images all alike: nothing is left open.
        assert found[host].low == found[host].high == pytest.approx(found[host].factor)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(5)
    sample = np.exp(0.3 * random.standard_normal(15)) * 100
    timings = many_hosts(np.array([np.full(15, 100.0), sample]))
    found = by_name(timings)["host-0001"]

    medians = np.median(random.choice(sample, size=(20_000, 15)), axis=1) / 100
    # Quantiles of a median are values of the sample: the same ones, or the draws are wrong.
    assert_allclose([found.low, found.high], np.percentile(medians, [2.5, 97.5]), rtol=1e-9)


def test_the_interval_holds_the_true_factor_about_19_times_in_20() -> None:
    random = np.random.default_rng(3)
    held = 0
    for seed in range(200):
        work = np.exp(0.3 * random.standard_normal((2, 41))) * np.array([[100.0], [130.0]])
        found = by_name(many_hosts(work), seed=seed)["host-0001"]
        held += found.low <= 1.3 <= found.high
    assert 0.9 <= held / 200 <= 0.995


def test_the_interval_narrows_with_images(host_rows: Make, table: Make) -> None:
    width = []
    for images in (20, 320):
        rows = host_rows("a", images, noise=0.3) + host_rows("b", images, noise=0.3)
        found = by_name(table(rows))["b"]
        width.append(np.log(found.high / found.low))
    assert width[1] < width[0] / 2


def test_a_heavy_tail_neither_hides_nor_makes_a_slow_host(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 400, noise=0.1)
    # By means b would be 2.9 times as slow as a, and c quicker than b.
    rows += host_rows("b", 400, noise=0.1, tail=0.1)
    rows += host_rows("c", 400, noise=0.1, slowdown=1.5) + host_rows("d", 400, noise=0.1)
    found = by_name(table(rows))
    assert [name for name, host in found.items() if host.slow] == ["c"]
    assert found["c"].factor == pytest.approx(1.5, rel=0.04)
    assert found["b"].factor == pytest.approx(1, abs=0.05)


def test_the_stage_is_where_the_extra_time_is(host_rows: Make, table: Make) -> None:
    # Inference is most of the work, but decoding most of what c takes longer: 24 ms against 8.
    rows = host_rows("a", 50, noise=0.1) + host_rows("b", 50, noise=0.1)
    rows += host_rows("c", 50, noise=0.1, slowdown={"decode": 4.0, "infer": 1.1})
    found = by_name(table(rows))["c"]
    assert found.slow and found.stage == "decode"


def test_waiting_for_a_request_is_no_work(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 30) + host_rows("b", 30, wait_ms=500.0, total_ms=600.0)
    assert by_name(table(rows))["b"].factor == pytest.approx(1)


def test_fields_that_could_not_be_measured_are_left_out(host_rows: Make, table: Make) -> None:
    # The Orca engine has no wait_ms; here one host knows no fetch_ms either.
    nulls = {"wait_ms": None, "cpu_ms": None, "total_ms": None, "started_at": None, "warmup": None}
    rows = host_rows("a", 30, **nulls)
    rows += host_rows("b", 30, slowdown={"fetch": 60.0, "infer": 1.5}, **nulls, fetch_ms=None)
    found = by_name(table(rows))["b"]
    assert found.factor == pytest.approx((99 + 40) / 100)
    assert found.slow and found.stage == "infer"


def test_a_stage_one_peer_did_not_measure_can_still_be_the_slow_one(
    host_rows: Make, table: Make
) -> None:
    rows = [row for host in "abc" for row in host_rows(host, 20)]
    rows += host_rows("d", 20, slowdown={"fetch": 61.0, "infer": 1.3})
    rows += host_rows("e", 20, fetch_ms=None)
    found = by_name(table(rows))
    assert found["d"].slow and found["d"].stage == "fetch"


def test_rows_of_unknown_kind_are_images_and_of_an_unknown_host_one_host(
    host_rows: Make, table: Make
) -> None:
    rows = host_rows("a", 20, kind=None)
    rows += [row | {"host": None} for row in host_rows("b", 20)]
    assert {name: host.images for name, host in by_name(table(rows)).items()} == {"?": 20, "a": 20}


def test_without_stages_the_total_is_compared(host_rows: Make, table: Make) -> None:
    stages = dict.fromkeys(
        ("fetch_ms", "decode_ms", "preprocess_ms", "infer_ms", "postprocess_ms", "emit_ms")
    )
    rows = host_rows("a", 30, **stages, total_ms=100.0)
    rows += host_rows("b", 30, **stages, total_ms=150.0)
    found = by_name(table(rows))["b"]
    assert found.factor == pytest.approx(1.5) and found.slow
    assert found.stage is None


def test_rows_without_any_time_are_not_compared(host_rows: Make, table: Make) -> None:
    stages = dict.fromkeys(name for name in TIMING_SCHEMA.names if name.endswith("_ms"))
    rows = host_rows("a", 30) + host_rows("b", 30) + host_rows("b", 100, **stages)
    assert by_name(table(rows))["b"].images == 30


def test_warm_up_rows_are_not_compared(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 20) + host_rows("b", 20)
    rows += host_rows("b", 60, slowdown=9.0, warmup=True)
    found = by_name(table(rows))["b"]
    assert found.images == 20
    assert found.factor == pytest.approx(1)


def test_calibration_rows_are_not_compared(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 20) + host_rows("b", 20)
    rows += host_rows("b", 60, slowdown=9.0, kind="calibration")
    rows += host_rows("only-calibrated", 60, kind="calibration")
    found = by_name(table(rows))
    assert list(found) == ["a", "b"]
    assert found["b"].images == 20
    assert found["b"].factor == pytest.approx(1)


def test_too_few_images_are_not_compared(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 20) + host_rows("b", 20) + host_rows("c", MIN_IMAGES, slowdown=2.0)
    found = by_name(table(rows + host_rows("d", MIN_IMAGES - 1, slowdown=9.0)))
    assert found["c"].slow and found["c"].factor == pytest.approx(2)
    assert found["d"].images == MIN_IMAGES - 1
    assert found["d"].factor is None and not found["d"].slow and not found["d"].suspect


def test_one_host_has_no_factor(host_rows: Make, table: Make) -> None:
    assert compare_hosts(table(host_rows("a", 20))) == (HostFactor(host="a", images=20),)


def test_no_rows_no_hosts() -> None:
    assert compare_hosts(TIMING_SCHEMA.empty_table()) == ()


def test_the_order_of_the_rows_does_not_matter(host_rows: Make, table: Make) -> None:
    rows = [row for host in "bca" for row in host_rows(host, 40, noise=0.2)]
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    found = compare_hosts(table(rows))
    assert [host.host for host in found] == ["a", "b", "c"]
    assert compare_hosts(table(shuffled)) == found


def test_the_seed_fixes_the_interval(host_rows: Make, table: Make) -> None:
    timings = table(host_rows("a", 60, noise=0.3) + host_rows("b", 60, noise=0.3))
    assert compare_hosts(timings, seed=7) == compare_hosts(timings, seed=7)
    assert len({compare_hosts(timings, seed=seed) for seed in range(5)}) > 1


def test_thousands_of_hosts() -> None:
    random = np.random.default_rng(0)
    work = 100 * np.exp(0.1 * random.standard_normal((5000, 20)))
    work[[17, 4321]] *= 1.5
    found = by_name(many_hosts(work))
    assert len(found) == 5000
    assert [name for name, host in found.items() if host.slow] == ["host-0017", "host-4321"]
    assert found["host-4321"].factor == pytest.approx(1.5, rel=0.1)


def test_a_factor_without_its_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="interval"):
        HostFactor(host="a", images=9, factor=1.2, low=1.1)
