import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from job.schemas import TIMING_SCHEMA
from job.stragglers import HostFactor, Verdict, verdict

Make = Callable[..., Any]


def test_of_two_hosts_the_slow_one_is_named_with_its_peer(host_rows: Make, table: Make) -> None:
    rows = host_rows("node-1", 30) + host_rows("node-2", 30, slowdown=1.5)
    found = verdict(table(rows), images=60, seconds=30.0)
    assert found.straggler
    assert found.text == (
        "node-2 is 1.50x slower than node-1 (95 % interval 1.50 to 1.50, most of it in inference); "
        "2 hosts finished 60 images in 30 s (2.0 images/s)."
    )


def test_of_five_hosts_the_slow_one_is_named(host_rows: Make, table: Make) -> None:
    rows = [row for n in range(4) for row in host_rows(f"node-{n}", 200, noise=0.1)]
    rows += host_rows("node-4", 200, slowdown={"decode": 7.25}, noise=0.1)
    found = verdict(table(rows))
    assert found.straggler
    slow = next(host for host in found.hosts if host.slow)
    assert slow.host == "node-4" and slow.factor == pytest.approx(1.5, rel=0.04)
    assert found.text.startswith(
        f"node-4 is {slow.factor:.2f}x slower than its peers "
        f"(95 % interval {slow.low:.2f} to {slow.high:.2f}, most of it in decoding); "
        "5 hosts finished 1,000 images"
    )


def test_the_factor_shown_lies_in_the_interval_shown(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 30) + host_rows("b", 30, slowdown=1.16)
    text = verdict(table(rows)).text
    assert text.startswith("b is 1.16x slower than a (95 % interval 1.16 to 1.16")


def test_the_three_slowest_hosts_are_named_and_the_rest_counted(
    host_rows: Make, table: Make
) -> None:
    speeds = dict.fromkeys("abcdefg", 1.0) | {"h": 1.5, "i": 3.0, "j": 2.0, "k": 1.4, "l": 1.3}
    rows = [row for host, x in speeds.items() for row in host_rows(host, 10, slowdown=x)]
    text = verdict(table(rows)).text
    assert text.startswith("i is 3.00x slower than its peers (95 % interval 3.00 to 3.00")
    assert "), j 2.00x, h 1.50x, and 2 more; 12 hosts" in text


def test_equal_hosts_are_healthy(host_rows: Make, table: Make) -> None:
    rows = [row for host in "abc" for row in host_rows(host, 200, noise=0.1)]
    found = verdict(table(rows))
    assert not found.straggler
    assert found.text.startswith("No straggler: the slowest host, ")
    assert "3 hosts finished 600 images" in found.text


def test_ten_percent_longer_is_told_and_is_no_straggler(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 30) + host_rows("b", 30, slowdown=1.1)
    found = verdict(table(rows), images=60, seconds=240.0)
    assert not found.straggler
    assert found.text == (
        "No straggler: the slowest host, b, takes 10 % longer per image than its peers "
        "(95 % interval 1.10x to 1.10x); 2 hosts finished 60 images in 4 min 0 s "
        "(0.25 images/s); inference takes 80 % of the work."
    )


def test_what_few_noisy_images_leave_open_is_said(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 10, noise=0.5) + host_rows("b", 10, slowdown=1.5, noise=0.5, seed=1)
    found = verdict(table(rows))
    b = found.hosts[1]
    assert not found.straggler
    assert found.text.startswith(
        f"No straggler for certain: b looks {b.factor:.2f}x slower than its peers, but its "
        f"10 images leave {b.low:.2f}x to {b.high:.2f}x open; 2 hosts finished 20 images"
    )


def test_too_few_images_to_compare_is_said(host_rows: Make, table: Make) -> None:
    found = verdict(table(host_rows("a", 30) + host_rows("b", 5, slowdown=9.0)))
    assert not found.straggler
    assert found.text.startswith("2 hosts finished 35 images")
    assert found.text.endswith(
        "fewer than two of them have the 6 images outside warm-up that a comparison takes."
    )


def test_one_host_has_nothing_to_be_compared_with(host_rows: Make, table: Make) -> None:
    found = verdict(table(host_rows("laptop", 50, noise=0.3)), images=50, seconds=6.1)
    assert not found.straggler
    assert found.text == (
        "laptop finished 50 images in 6.1 s (8.2 images/s); inference takes 80 % of the work; "
        "one host, so no straggler to find."
    )


def test_the_stage_with_most_work_is_named(host_rows: Make, table: Make) -> None:
    # 160 of 252 ms are decoding.
    rows = host_rows("laptop", 20, slowdown={"decode": 20.0})
    assert "; decoding takes 63 % of the work; " in verdict(table(rows)).text


def test_warm_up_does_not_count_as_work(host_rows: Make, table: Make) -> None:
    rows = host_rows("laptop", 20)
    rows += host_rows("laptop", 5, slowdown={"fetch": 10_000.0}, warmup=True)
    assert "; inference takes 80 % of the work; " in verdict(table(rows)).text


def test_a_run_of_warm_up_alone_still_names_its_stage(host_rows: Make, table: Make) -> None:
    text = verdict(table(host_rows("laptop", 1, warmup=True))).text
    assert text.startswith("laptop finished 1 image in ")
    assert "; inference takes 80 % of the work; " in text


def test_without_stages_none_is_named(host_rows: Make, table: Make) -> None:
    stages = dict.fromkeys(n for n in TIMING_SCHEMA.names if n.endswith("_ms") and n != "total_ms")
    text = verdict(table(host_rows("laptop", 10, **stages)), images=10, seconds=1.0).text
    expected = (
        "laptop finished 10 images in 1.0 s (10 images/s); one host, so no straggler to find."
    )
    assert text == expected


def test_nulls_of_the_orca_engine(host_rows: Make, table: Make) -> None:
    nulls = {"wait_ms": None, "cpu_ms": None, "run_delay_ms": None, "started_at": None}
    rows = host_rows("a", 30, **nulls) + host_rows("b", 30, slowdown=2.0, **nulls)
    # Without starts the rows do not tell how long the run took, and nothing is made up.
    assert verdict(table(rows)).text == (
        "b is 2.00x slower than a (95 % interval 2.00 to 2.00, most of it in inference); "
        "2 hosts finished 60 images."
    )


def test_images_and_seconds_come_from_the_rows_where_not_given(
    host_rows: Make, table: Make
) -> None:
    # 20 images of 100 ms one after another; an image tried twice is one image.
    rows = host_rows("a", 20)
    rows += [rows[3]]
    rows += host_rows("a", 5, kind="calibration", started_at=1_770_000_000.0)
    assert verdict(table(rows)).text.startswith("a finished 20 images in 2.0 s (10 images/s); ")


def test_calibration_rows_are_no_results(host_rows: Make, table: Make) -> None:
    found = verdict(table(host_rows("a", 20, kind="calibration")))
    assert found == Verdict(text="No image was finished.", straggler=False, hosts=())


@pytest.mark.parametrize(
    ("failed", "text"),
    [
        (0, "No image was finished."),
        (1200, "No image was finished; 1,200 could not be processed."),
    ],
)
def test_no_rows(failed: int, text: str) -> None:
    found = verdict(TIMING_SCHEMA.empty_table(), failed=failed)
    assert found == Verdict(text=text, straggler=False, hosts=())


def test_images_without_timings() -> None:
    found = verdict(TIMING_SCHEMA.empty_table(), images=12, seconds=3.0)
    assert found.text == (
        "The run finished 12 images in 3.0 s (4.0 images/s); no timings were kept, so there is "
        "nothing to compare."
    )


def test_the_same_rows_give_the_same_verdict(host_rows: Make, table: Make) -> None:
    rows = [row for host in "abc" for row in host_rows(host, 30, noise=0.3)]
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    found = verdict(table(rows))
    assert verdict(table(rows)) == found
    assert verdict(table(shuffled)) == found


def test_a_verdict_at_odds_with_its_hosts_is_refused() -> None:
    slow = HostFactor(host="a", images=9, factor=2.0, low=1.9, high=2.1)
    with pytest.raises(ValueError, match="straggler"):
        Verdict(text="", straggler=False, hosts=(slow,))


def test_it_needs_neither_spark_nor_charts() -> None:
    code = (
        "import sys, job.stragglers;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pyarrow" in loaded
    assert not loaded & {"pyspark", "matplotlib", "openvino", "cluster"}
