import math
from collections.abc import Mapping

import numpy as np
import pytest

from job.stragglers.expected import Expected
from job.stragglers.lines import Lines
from job.stragglers.stretches import Stretch
from job.stragglers.why import Account, Accounts, hinted, kinds, lasting, told
from job.stragglers.work import Floats

STEPS = 12
HEALTHY = {
    **{"cpu_ms": 900.0, "run_delay_ms": 20.0, "throttled_ms": 0.0, "fetch_ms": 5.0},
    **{"psi_io": 0.01, "psi_memory": 0.0, "major_faults": 0.0},
}
"""Of an image of a second; samples of any second."""

# One that takes two seconds, for one reason each.
QUOTA = {"run_delay_ms": 1020.0, "throttled_ms": 1000.0}
NEIGHBOUR = {"run_delay_ms": 1020.0}
LINK = {"fetch_ms": 1005.0}
DISK = {"fetch_ms": 1005.0, "psi_io": 0.5}
MEMORY = {"psi_memory": 0.5, "psi_io": 0.5, "major_faults": 200.0, "cpu_ms": 950.0}


def run(
    slow: Mapping[str, float],
    *,
    factor: float = 2.0,
    first: int = 0,
    last: int = STEPS,
    hosts: int = 3,
    usual: Mapping[int, Mapping[str, float]] | None = None,
    paces: Floats | None = None,
) -> tuple[Lines, Stretch]:
    """Host 1 was slower, from one step to another, and was seen so; hosts have ``usual`` values."""
    pace = np.repeat((np.ones(hosts) if paces is None else paces)[:, np.newaxis], STEPS, axis=1)
    values = {name: np.full((hosts, STEPS), value) for name, value in HEALTHY.items()}
    for host, own in (usual or {}).items():
        for name, value in own.items():
            values[name][host] = value
    pace[1, first:last] /= factor
    for name, value in slow.items():
        values[name][1, first:last] = value
    images = np.asarray(10.0 * pace)
    sampled = ("psi_io", "psi_memory", "major_faults")
    seen = Lines(
        hosts=tuple("abcdefgh"[:hosts]),
        edges=10.0 * np.arange(STEPS + 1),
        busy=np.full(pace.shape, 10.0),
        images=images,
        cost=images,
        counted={n: v * images for n, v in values.items() if n not in sampled},
        sampled={name: values[name] for name in sampled},
    )
    size = math.log(factor)
    return seen, Stretch(host=1, first=first, last=last, size=size, error=0.05, z=size / 0.05)


def known(paces: Floats, *, cpus: float = 1.0, limited: bool = True) -> Expected:
    return Expected(
        paces=paces,
        spreads=np.full(len(paces), 0.05),
        cpus={},
        usual_cpus=cpus * paces,
        limited=np.full(len(paces), limited),
        lanes={},
        threads={},
    )


def account(
    seen: Lines, stretch: Stretch, expected: Floats | None = None, *, limited: bool = True
) -> Account:
    hosts = np.ones(len(seen.hosts)) if expected is None else expected
    return Accounts(seen, known(hosts, limited=limited), {stretch.host: stretch}).of(stretch)


@pytest.mark.parametrize(
    ("slow", "cause"),
    [
        (QUOTA, "cpu-quota"),
        (NEIGHBOUR, "cpu-neighbour"),
        (LINK, "link"),
        (DISK, "disk"),
        (MEMORY, "memory"),
    ],
)
@pytest.mark.parametrize(("first", "last", "hosts"), [(0, 12, 3), (4, 12, 2), (0, 5, 2), (3, 9, 8)])
def test_the_cause_is_where_the_time_went(
    slow: Mapping[str, float], cause: str, first: int, last: int, hosts: int
) -> None:
    found = account(*run(slow, first=first, last=last, hosts=hosts))
    assert kinds(found) == (cause,)


@pytest.mark.parametrize("first", [0, 4])
def test_of_two_causes_both_are_told_the_one_that_explains_most_first(first: int) -> None:
    # Of three seconds it waits two for a CPU, and in a part of all for memory.
    short = {"psi_memory": 0.3, "psi_io": 0.3}
    held = {"run_delay_ms": 1620.0, "throttled_ms": 1600.0}
    assert kinds(account(*run(held | short, factor=3.0, first=first))) == ("cpu-quota", "memory")
    beside = {"run_delay_ms": 1620.0}
    found = account(*run(beside | short, factor=3.0, first=first))
    assert kinds(found) == ("cpu-neighbour", "memory")


@pytest.mark.parametrize("slow", [QUOTA, NEIGHBOUR])
def test_of_a_cpu_and_a_link_that_each_took_as_much_one_at_least_is_told(
    slow: Mapping[str, float],
) -> None:
    found = kinds(account(*run(slow | LINK, factor=3.0, first=4)))
    (cpu,) = kinds(account(*run(slow)))
    assert found and {*found} <= {cpu, "link"}


def test_the_cause_that_explains_most_comes_first() -> None:
    most = {"run_delay_ms": 1620.0, "throttled_ms": 1600.0, "fetch_ms": 405.0}
    assert kinds(account(*run(most, factor=3.0)))[0] == "cpu-quota"
    other = {"run_delay_ms": 420.0, "throttled_ms": 400.0, "fetch_ms": 1605.0}
    assert kinds(account(*run(other, factor=3.0)))[0] == "link"


def test_late_bytes_of_a_host_that_waits_for_a_cpu_are_no_link() -> None:
    assert kinds(account(*run(NEIGHBOUR | {"fetch_ms": 600.0}))) == ("cpu-neighbour",)


@pytest.mark.parametrize("first", [0, 4])
def test_a_host_that_uses_all_of_its_quota_is_not_short_of_cpu(first: int) -> None:
    for slow, cause in ((QUOTA, "cpu-quota"), (NEIGHBOUR, "cpu-neighbour")):
        seen, stretch = run(slow, first=first)
        # It is held back as ever: its class is small by design.
        seen.sampled["cpu_busy"] = busy = np.full(seen.busy.shape, 0.97)  # type: ignore[index]
        found = account(seen, stretch)
        assert found.of("short") == pytest.approx(0.0, abs=0.01)
        assert kinds(found) == ()
        busy[1, first:] = 0.5
        found = account(seen, stretch)
        assert found.of("short") == pytest.approx(math.log(0.97 / 0.5) / math.log(2))
        assert kinds(found) == (cause,)


def test_on_a_machine_without_a_quota_a_neighbours_time_counts_as_used() -> None:
    seen, stretch = run(NEIGHBOUR)
    seen.sampled["cpu_busy"] = np.full(seen.busy.shape, 0.97)  # type: ignore[index]
    assert kinds(account(seen, stretch, limited=False)) == ("cpu-neighbour",)


def test_who_lacks_much_of_its_cpu_need_not_be_seen_waiting_all_the_time() -> None:
    seen, stretch = run({"run_delay_ms": 420.0})
    assert kinds(account(seen, stretch)) == ()
    seen.sampled["cpu_busy"] = np.full(seen.busy.shape, 0.97)  # type: ignore[index]
    seen.sampled["cpu_busy"][1] = 0.5
    assert kinds(account(seen, stretch)) == ("cpu-neighbour",)


def test_a_moment_of_memory_pressure_explains_nothing() -> None:
    seen, stretch = run({})
    seen.sampled["psi_memory"][1, 5] = 12 * 0.4
    assert kinds(account(seen, stretch)) == ()
    seen.sampled["psi_memory"][1] = 0.4
    assert kinds(account(seen, stretch)) == ("memory",)


def test_bytes_that_are_late_all_along_are_late_beside_those_of_peers() -> None:
    # It was slow in some of its steps, and fetched as late in all.
    always = {1: {"fetch_ms": 600.0}}
    assert kinds(account(*run(LINK, first=4, usual=always))) == ("link",)


def test_a_disk_waited_for_without_late_bytes_slows_nothing() -> None:
    assert kinds(account(*run({"psi_io": 0.5}))) == ()


def test_without_a_counter_that_tells_there_is_no_cause() -> None:
    seen, stretch = run({})
    found = account(seen, stretch)
    assert kinds(found) == ()
    said = told(found, "", host="b", cpus=1.0)
    assert said.kind == "unknown" and "do not tell why" in said.text and said.straggler
    # The same with twice the CPU time.
    costly = account(*run({"cpu_ms": 1800.0}))
    assert kinds(costly) == ()
    assert told(costly, "", host="b", cpus=1.0).kind == "cpu-slow"


def test_what_was_not_measured_is_left_out() -> None:
    seen, stretch = run(QUOTA)
    for name in seen.counted:
        seen.counted[name][:] = 0.0
    bare = Lines(
        hosts=seen.hosts,
        edges=seen.edges,
        busy=seen.busy,
        images=seen.images,
        cost=seen.cost,
        counted=seen.counted,
        sampled={},
    )
    found = account(bare, stretch)
    assert kinds(found) == ()
    assert all(np.isfinite(part) for part in found.explained.values())
    assert found.of("io") == found.of("memory") == 0.0
    assert told(found, "", host="b", cpus=None).kind == "unknown"


def test_parts_are_of_the_time_that_was_lost() -> None:
    found = account(*run(QUOTA, first=4))
    # A second of two was lost, and waited for a CPU in.
    assert found.of("waiting") == pytest.approx(1.0, abs=0.05)
    assert found.of("held") == pytest.approx(1.0, abs=0.05)
    assert found.of("fetch") == pytest.approx(0.0, abs=0.05)
    assert found.of("cpu") == pytest.approx(0.0, abs=0.05)
    assert account(*run(LINK, first=4)).of("fetch") == pytest.approx(1.0, abs=0.05)
    assert account(*run(MEMORY)).of("memory") == pytest.approx(1.0, abs=0.05)
    # Waiting for memory is waiting for the disk, too: it is told once.
    assert account(*run(MEMORY)).of("io") == pytest.approx(0.0, abs=0.05)


def test_a_host_is_compared_with_its_own_other_steps() -> None:
    # It always waited that long: that is not why it is slow now, whatever its peers do.
    always = {1: {"run_delay_ms": 1020.0, "throttled_ms": 1000.0}}
    found = account(*run(LINK, first=4, usual=always))
    assert found.alike
    assert kinds(found) == ("link",)
    assert found.then["delay"] == pytest.approx(1020 / 900)


def test_a_host_slow_all_along_is_compared_with_its_peers() -> None:
    found = account(*run(QUOTA))
    assert found.alike
    assert found.now["delay"] == pytest.approx(1020 / 900)
    assert found.then["delay"] == pytest.approx(20 / 900)
    assert found.now["cpus"] == pytest.approx(0.45)
    assert found.then["cpus"] == pytest.approx(0.9)


def test_peers_times_are_those_that_the_host_would_have() -> None:
    # Half a CPU: it is held for a second in two, as it should be, and is twice as slow as that.
    weak = np.array([1.0, 0.5, 1.0])
    peers = {0: {"run_delay_ms": 500.0}, 2: {"run_delay_ms": 500.0}}
    seen, stretch = run(LINK | {"run_delay_ms": 1000.0}, paces=weak, usual=peers)
    found = account(seen, stretch, weak)
    assert not found.alike
    # What peers wait in a second of theirs it may wait in two of its own.
    assert found.of("waiting") == pytest.approx(0.0, abs=0.05)


def test_hosts_of_which_as_much_is_expected_are_compared_first() -> None:
    weak = np.array([1.0, 0.5, 0.5, 1.0])
    usual = {2: {"run_delay_ms": 1020.0, "throttled_ms": 1000.0}}
    seen, stretch = run(LINK | {"run_delay_ms": 1020.0}, paces=weak, usual=usual, hosts=4)
    found = account(seen, stretch, weak)
    assert found.alike
    assert found.then["delay"] == pytest.approx(1020 / 900)
    assert "cpu-quota" not in kinds(found) and "cpu-neighbour" not in kinds(found)


def test_other_slow_hosts_are_no_example() -> None:
    seen, stretch = run(QUOTA, hosts=3)
    seen.counted["run_delay_ms"][2] = 1020.0 * seen.images[2]
    other = Stretch(host=2, first=0, last=STEPS, size=0.7, error=0.05, z=14.0)
    found = Accounts(seen, known(np.ones(3)), {1: stretch, 2: other}).of(stretch)
    assert found.then["delay"] == pytest.approx(20 / 900)


def test_a_pressure_that_was_there_before_is_usual_but_not_healthy() -> None:
    # Memory was short in all of its steps, and slowed it in some: its peers show what is healthy.
    always = {1: {"psi_memory": 0.45, "psi_io": 0.45}}
    assert kinds(account(*run(MEMORY, first=4, usual=always))) == ("memory",)


@pytest.mark.parametrize("slow", [LINK, DISK, MEMORY])
def test_a_counter_says_when_a_host_is_short_of_something(slow: Mapping[str, float]) -> None:
    seen, _ = run(slow, first=3, last=10)
    assert hinted(seen, known(np.ones(3))) == [(1, 3, 10)]
    seen, _ = run({})
    assert hinted(seen, known(np.ones(3))) == []


def test_a_host_that_uses_less_of_its_quota_is_short_of_cpu_then() -> None:
    seen, _ = run({})
    seen.sampled["cpu_busy"] = busy = np.full(seen.busy.shape, 0.97)  # type: ignore[index]
    busy[1, 5:9] = 0.85
    assert hinted(seen, known(np.ones(3))) == [(1, 5, 9)]
    # Without a quota nothing says how much it should use.
    assert hinted(seen, known(np.ones(3), limited=False)) == []


@pytest.mark.parametrize("cause", ["link", "disk", "memory"])
def test_a_cause_that_lasts_longer_than_it_is_seen_is_told_so(cause: str) -> None:
    slow = {"link": LINK, "disk": DISK, "memory": MEMORY}[cause]
    seen, whole = run(slow, first=3, last=10)
    part = Stretch(host=1, first=5, last=7, size=whole.size, error=0.05, z=9.0)
    assert lasting(seen, part, cause) == (3, 10)
    # A step without its counter is no end.
    for values in (seen.sampled["psi_io"], seen.sampled["psi_memory"], seen.counted["fetch_ms"]):
        values[1, 8] = values[0, 8]
    assert lasting(seen, part, cause) == (3, 10)


@pytest.mark.parametrize("cause", ["cpu-quota", "cpu-neighbour", ""])
def test_what_holds_a_cpu_back_shows_in_the_pace(cause: str) -> None:
    seen, _ = run(QUOTA, first=3, last=10)
    part = Stretch(host=1, first=5, last=7, size=0.7, error=0.05, z=9.0)
    assert lasting(seen, part, cause) == (5, 7)


def test_a_cause_that_no_sample_shows_lasts_as_long_as_it_slows() -> None:
    seen, _ = run(DISK, first=3, last=10)
    part = Stretch(host=1, first=5, last=7, size=0.7, error=0.05, z=9.0)
    seen.sampled["psi_io"][1] = np.nan
    assert lasting(seen, part, "disk") == (5, 7)
    del seen.sampled["psi_io"]  # type: ignore[attr-defined]
    assert lasting(seen, part, "disk") == (5, 7)


@pytest.mark.parametrize(
    ("slow", "words"),
    [
        (
            QUOTA,
            (
                "its CPU quota holds it back",
                "0.45 CPUs there of 2.0 (0.90 otherwise)",
                "threads stand ready without a CPU for 1.1 s per second of CPU time they get",
            ),
        ),
        (NEIGHBOUR, ("something else computes", "wait 1.1 s", "(0.022 s otherwise)")),
        (LINK, ("network link is slow", "1,005 ms to fetch (5.0 ms otherwise)")),
        (DISK, ("disk is slow", "50 % of the time (1.0 % otherwise)")),
        (MEMORY, ("memory is short", "50 % of the time (0 % otherwise)", "200 major faults")),
    ],
)
def test_a_cause_is_told_with_its_numbers(
    slow: Mapping[str, float], words: tuple[str, ...]
) -> None:
    found = account(*run(slow))
    (kind,) = kinds(found)
    said = told(found, kind, host="b", cpus=2.0)
    assert said.kind == kind and said.straggler
    for part in words:
        assert part in said.text
    assert said.action and not said.action.endswith(".")
    assert "of 2.0" not in told(found, kind, host="b", cpus=None).text


def test_pages_from_the_disk_by_the_hundred_say_that_memory_is_short() -> None:
    explained = {"memory": 0.1, "fetch": 2.0, "waiting": 0.4}
    now = {"fetch_ms": 200.0, "major_faults": 1500.0}
    then = {"fetch_ms": 70.0, "major_faults": 1.0}
    short = Account(now=now, then=then, explained=explained, alike=True, limited=True)
    assert kinds(short) == ("memory",)
    few = Account(
        now=now | {"major_faults": 5.0}, then=then, explained=explained, alike=True, limited=True
    )
    assert kinds(few) == ("link",)
