import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from job.schemas import TIMING_SCHEMA
from job.stragglers import Cause, HostFactor, Verdict, verdict
from tests.unit.job.stragglers.conftest import waits

Make = Callable[..., Any]


def test_of_two_hosts_the_slow_one_is_named_with_its_peer(host_rows: Make, table: Make) -> None:
    rows = host_rows("node-1", 60, **waits(5.0))
    rows += host_rows("node-2", 60, slowdown=1.5, **waits(55.0))
    found = verdict(table(rows), images=120, seconds=30.0)
    assert found.straggler
    assert found.slow.startswith("node-2 is 1.50x slower than node-1 (95 % interval 1.")
    assert found.text.startswith(
        f"{found.slow}: something else computes on its cores: threads wait 0.58 s for a CPU for"
        " each second they have one (0.053 s otherwise), and its quota does not hold them back;"
        " it cost 3.0 s of 9.0 s of work. Find and stop it"
    )
    assert found.text.endswith(
        "leave it out: `cluster run --avoid node-2`. The 2 hosts finished 120 images in 30 s"
        " (4.0 images/s)."
    )


def test_the_quota_that_holds_a_host_back_is_named(host_rows: Make, table: Make) -> None:
    rows = [row for n in range(4) for row in host_rows(f"node-{n}", 100, noise=0.1, **waits(5.0))]
    rows += host_rows("node-4", 60, slowdown=2.0, noise=0.1, **waits(105.0, held=True))
    record = {"hosts": [{"host": f"node-{n}", "cpus_quota": 1.0} for n in range(5)]}
    found = verdict(table(rows), record=record)
    slow = next(host for host in found.hosts if host.slow)
    assert slow.host == "node-4" and slow.factor == pytest.approx(2.0, rel=0.1)
    assert found.text.startswith(
        f"node-4 is {slow.factor:.2f}x slower than its peers "
        f"(95 % interval {slow.low:.2f} to {slow.high:.2f}): its CPU quota holds it back: the job"
        " gets 0.4"
    )
    assert "CPUs there of 1.0 (0.9" in found.text
    assert "Raise the quota" in found.text


def test_when_it_began_is_said_in_utc(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 200, **waits(5.0)) + host_rows("b", 200, **waits(5.0))
    early = host_rows("c", 100, **waits(5.0))
    late = host_rows("c", 40, slowdown=2.5, **waits(155.0))
    late = [row | {"started_at": row["started_at"] + 10.0} for row in late]
    # From 10 s after 08:53:20 on.
    found = verdict(table(rows + early + late))
    assert [host.host for host in found.hosts if host.slow] == ["c"]
    since = found.hosts[2].since
    assert since is not None and since - rows[0]["started_at"] == pytest.approx(10.0, abs=2.5)
    clock = datetime.fromtimestamp(since, UTC)
    assert f", since {clock:%H:%M:%S} UTC): something else computes on its cores" in found.text


def test_the_three_slowest_hosts_are_named_and_the_rest_counted(
    host_rows: Make, table: Make
) -> None:
    speeds = dict.fromkeys("abcdefg", 1.0) | {"h": 2.5, "i": 5.0, "j": 3.0, "k": 1.8, "l": 2.0}
    rows = []
    for host, times in speeds.items():  # all work as long
        counters = waits(100 * times - 95)
        rows += host_rows(host, round(200 / times), slowdown=times, noise=0.01, **counters)
    text = verdict(table(rows)).text
    assert text.startswith("i is 5.0")
    assert re.search(r"\), j 3\.\d\dx, h 2\.\d\dx, and 2 more\. i: something else computes", text)
    assert text.endswith(".") and " The 12 hosts finished " in text


def test_what_cost_most_is_named_first(host_rows: Make, table: Make) -> None:
    rows = [row for host in "cdef" for row in host_rows(host, 200, noise=0.01, **waits(5.0))]
    rows += host_rows("b", 100, slowdown=2.0, noise=0.01, **waits(105.0))
    early = host_rows("a", 150, noise=0.01, **waits(5.0))
    late = host_rows("a", 15, slowdown=4.0, noise=0.01, **waits(305.0))
    after = early[-1]["started_at"] + early[-1]["total_ms"] / 1000 - late[0]["started_at"]
    late = [row | {"started_at": row["started_at"] + after} for row in late]
    found = verdict(table(rows + early + late))
    lost = {host.host: host.lost_s for host in found.hosts if host.slow}
    factors = {host.host: host.factor or 0 for host in found.hosts}
    assert 0 < lost["a"] < lost["b"] and factors["a"] > factors["b"]
    assert re.match(r"b is 2\..*, a 3\.\d\dx\. b: something else", found.text)


def test_a_host_that_stood_still_is_named_without_a_factor() -> None:
    still = Cause(kind="freeze", text="it stood still for 20 s", action="see what it did then")
    slow = Cause(kind="link", text="its network link is slow", action="measure the link")
    hosts = tuple(
        HostFactor(host=host, images=50, factor=1.0, low=0.9, high=1.1, findings=(still,))
        for host in "abcde"
    )
    some = Verdict(text="", straggler=True, hosts=hosts[:2])
    assert some.slow == "a, b stood still"
    many = Verdict(text="", straggler=True, hosts=hosts)
    assert many.slow == "a, b, c, and 2 more, stood still"
    # One that is slow comes first.
    worse = replace(hosts[4], factor=2.0, low=1.9, high=2.1, findings=(slow,))
    both = Verdict(text="", straggler=True, hosts=(*hosts[:4], worse))
    assert both.slow == "e is 2.00x slower than its peers (95 % interval 1.90 to 2.10)"


def test_what_no_counter_explains_is_not_blamed_on_the_host(host_rows: Make, table: Make) -> None:
    rows = host_rows("a", 60) + host_rows("b", 60, slowdown=1.5)
    found = verdict(table(rows))
    assert not found.straggler and found.slow == ""
    assert found.text == (
        "Cannot tell: b looks 1.50x slower than its peers, and no counter tells why; 2 hosts"
        " finished 120 images in 9.0 s (13 images/s); inference takes 80 % of the work. Run it"
        " again, longer, and see whether it is so again."
    )


def test_what_is_far_too_slow_is_named_without_a_counter(host_rows: Make, table: Make) -> None:
    rows = [row for host in "abc" for row in host_rows(host, 100, noise=0.05)]
    found = verdict(table(rows + host_rows("d", 40, slowdown=4.0, noise=0.05)))
    assert [host.host for host in found.hosts if host.straggler] == ["d"]
    assert "): its counters do not tell why: neither CPU, memory" in found.text


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
    b = found.hosts[1]
    assert found.text == (
        "No straggler: the slowest host, b, takes 10 % longer per image than its peers "
        f"(95 % interval {b.low:.2f}x to {b.high:.2f}x); 2 hosts finished 60 images in 4 min 0 s "
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
    found = verdict(table(host_rows("a", 30) + host_rows("b", 3, slowdown=9.0)))
    assert not found.straggler
    assert found.text.startswith("2 hosts finished 33 images")
    assert found.text.endswith(
        "fewer than two of them have the 4 images outside warm-up that a comparison takes."
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


def test_without_times_nobody_is_compared(host_rows: Make, table: Make) -> None:
    nulls = {"started_at": None, "total_ms": None}
    rows = host_rows("a", 60, **nulls) + host_rows("b", 60, slowdown=2.0, **nulls)
    # They do not tell how long the run took, nor what a host did meanwhile: nothing is made up.
    assert verdict(table(rows)).text == (
        "2 hosts finished 120 images; inference takes 80 % of the work; fewer than two of them"
        " have the 4 images outside warm-up that a comparison takes."
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
    assert (found.text, found.straggler) == ("No image was finished.", False)


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
    cause = Cause(kind="freeze", text="it stood still", action="look")
    slow = HostFactor(host="a", images=9, findings=(cause,))
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
