import math
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.testing import assert_allclose

from job.stragglers.lines import Lines
from job.stragglers.stretches import (
    Paces,
    Stretch,
    factor_of,
    level,
    measured,
    search,
    slow_stretches,
)
from job.stragglers.work import Floats
from tests.unit.job.stragglers.conftest import drawn_lines

ALIKE, UNLIKE, KNOWN = 0.06, 0.25, 0.035


def found_in(
    seen: Lines, expected: Floats | None = None, spread: float = ALIKE
) -> tuple[dict[int, Stretch], Paces]:
    hosts = len(seen.hosts)
    return slow_stretches(
        seen, np.ones(hosts) if expected is None else expected, np.full(hosts, spread)
    )


def alarms(hosts: int, seeds: int, *, cpus: Floats | None = None, spread: float = ALIKE) -> int:
    """In how many runs of healthy hosts one was found slow; they differ by what may be expected."""
    count = 0
    for seed in range(seeds):
        random = np.random.default_rng([seed, 1])
        expected = np.ones(hosts) if cpus is None else np.resize(cpus, hosts)
        paces = expected * np.exp(0.5 * spread * random.standard_normal(hosts))
        count += bool(found_in(drawn_lines(paces, noise=0.3, seed=seed), expected, spread)[0])
    return count


@pytest.mark.parametrize("hosts", [2, 3, 5, 40])
def test_a_host_slow_all_along_is_found_with_its_factor(hosts: int) -> None:
    seen = drawn_lines(np.ones(hosts), slow={1: (0, 24, 1.6)})
    found, paces = found_in(seen)
    assert {*found} == {1}
    assert (found[1].first, found[1].last) == (0, 24)
    assert found[1].size == pytest.approx(math.log(1.6), abs=0.08)
    assert abs(found[1].size - math.log(1.6)) < 3 * found[1].error
    assert factor_of(found[1], seen, np.ones(hosts), paces) == pytest.approx(
        math.log(1.6), abs=0.08
    )


@pytest.mark.parametrize("hosts", [2, 3, 40])
@pytest.mark.parametrize(("first", "last"), [(8, 24), (0, 10), (8, 16)])
def test_a_host_slow_for_a_while_is_found_with_its_steps(hosts: int, first: int, last: int) -> None:
    found, _ = found_in(drawn_lines(np.ones(hosts), slow={1: (first, last, 1.7)}, seed=2))
    assert {*found} == {1}
    assert abs(found[1].first - first) <= 1 and abs(found[1].last - last) <= 1
    assert found[1].size == pytest.approx(math.log(1.7), abs=0.08)


def test_a_stretch_is_measured_as_it_is_found() -> None:
    found, paces = found_in(drawn_lines(np.ones(3), slow={1: (8, 24, 1.7)}, seed=2))
    again = measured(paces, 1, found[1].first, found[1].last)
    assert again is not None
    assert (again.size, again.error) == pytest.approx((found[1].size, found[1].error))
    assert again.z == pytest.approx(again.size / again.error)
    whole = measured(paces, 0, 0, 24)
    assert whole is not None and abs(whole.z) < 3
    # Two steps of 24 are less than a tenth.
    assert measured(paces, 1, 8, 10) is None
    assert measured(Paces(**{**vars(paces), "images": 0 * paces.images}), 1, 8, 24) is None


@pytest.mark.parametrize("hosts", [5, 40])
@pytest.mark.parametrize(
    "slow", [{1: (0, 24, 1.6), 3: (0, 24, 2.5)}, {1: (10, 24, 1.8), 3: (0, 24, 1.6)}]
)
def test_of_two_slow_hosts_both_are_found(
    hosts: int, slow: Mapping[int, tuple[int, int, float]]
) -> None:
    found, _ = found_in(drawn_lines(np.ones(hosts), slow=slow))
    assert {*found} == {*slow}
    for host, (first, _, factor) in slow.items():
        assert abs(found[host].first - first) <= 1
        assert found[host].size == pytest.approx(math.log(factor), abs=0.1)


def test_two_slow_hosts_of_three_do_not_make_the_third_one_slow() -> None:
    slow = {1: (8, 24, 2.0), 2: (8, 24, 2.0)}
    found, _ = found_in(drawn_lines(np.ones(3), slow=slow))
    assert 0 not in found


@pytest.mark.parametrize(("hosts", "seeds"), [(2, 200), (3, 200), (40, 50)])
def test_healthy_hosts_are_not_found(hosts: int, seeds: int) -> None:
    # One run in 250; a threshold for each stretch apart would give many times as many.
    assert alarms(hosts, seeds) <= 0.03 * seeds


def test_hosts_declared_unlike_are_not_slow_for_it() -> None:
    cpus = np.array([0.25, 0.5, 1.0])
    assert alarms(3, 100, cpus=cpus, spread=UNLIKE) <= 3
    # What little is expected is still expected.
    even, _ = found_in(drawn_lines(np.resize(cpus, 3)))
    assert even


def test_of_unlike_hosts_one_that_becomes_slow_is_found_by_its_own_steps() -> None:
    cpus = np.array([0.5, 1.0, 2.0])
    for slow in range(3):
        seen = drawn_lines(cpus, slow={slow: (10, 24, 1.6)})
        found, _ = found_in(seen, cpus, UNLIKE)
        assert {*found} == {slow}
        assert abs(found[slow].first - 10) <= 1


def test_the_better_a_host_is_known_the_less_is_too_slow() -> None:
    seen = drawn_lines(np.ones(3), slow={1: (0, 24, 1.3)})
    assert {*found_in(seen, spread=KNOWN)[0]} == {1}
    assert not found_in(seen, spread=UNLIKE)[0]


def test_a_fast_host_is_not_slow() -> None:
    found, _ = found_in(drawn_lines(np.array([1.0, 1.0, 1.0, 1.0, 2.0])))
    assert not found


def test_what_all_hosts_share_is_no_hosts_fault() -> None:
    slow = dict.fromkeys(range(5), (8, 24, 2.0))
    assert not found_in(drawn_lines(np.ones(5), slow=slow))[0]


def test_hosts_that_rest_are_compared_while_they_work() -> None:
    seen = drawn_lines(np.ones(3), slow={1: (0, 24, 1.8)})
    for host, (first, last) in enumerate([(0, 24), (4, 16), (12, 24)]):
        rests = np.ones(24, dtype=bool)
        rests[first:last] = False
        for values in (seen.busy, seen.images):
            values[host, rests] = 0.0
    found, paces = found_in(seen)
    assert {*found} == {1}
    assert np.isnan(paces.deviation[1, :4]).all() and np.isnan(paces.deviation[1, 16:]).all()


@pytest.mark.parametrize("last", [15, 20, 23])
@pytest.mark.parametrize("left", [0.0, 0.1])
def test_slow_hosts_that_a_run_waits_for_are_slow_to_its_end(last: int, left: float) -> None:
    seen = drawn_lines(np.ones(5), slow={1: (0, 24, 2.0), 3: (0, 24, 1.7)})
    for values in (seen.busy, seen.images, seen.cost):
        values[[0, 2, 4], last:] = 0.0
        values[0, last] = left * values[0, last - 1]
    found, _ = found_in(seen)
    assert {host: (each.first, each.last) for host, each in found.items()} == {
        1: (0, 24),
        3: (0, 24),
    }
    assert found[1].size == pytest.approx(math.log(2.0), abs=0.1)


def test_the_noise_of_the_images_decides_what_is_sure() -> None:
    slow = {1: (0, 24, 1.5)}
    assert {*found_in(drawn_lines(np.ones(3), slow=slow, noise=0.1))[0]} == {1}
    assert not found_in(drawn_lines(np.ones(3), slow=slow, noise=3.0))[0]


@pytest.mark.parametrize("hosts", [0, 1])
def test_without_peers_nobody_is_slow(hosts: int) -> None:
    assert found_in(drawn_lines(np.ones(hosts)))[0] == {}


def test_the_order_of_the_hosts_does_not_matter() -> None:
    seen = drawn_lines(np.ones(5), slow={1: (8, 24, 1.7)})
    turned = drawn_lines(np.ones(5), slow={1: (8, 24, 1.7)})
    for name in ("busy", "images", "cost"):
        getattr(turned, name)[:] = getattr(seen, name)[::-1].copy()
    one, other = found_in(seen)[0][1], found_in(turned)[0][3]
    assert (one.first, one.last) == (other.first, other.last)
    assert_allclose([one.size, one.z], [other.size, other.z])


def test_only_relative_times_count() -> None:
    seen = drawn_lines(np.ones(3), slow={1: (8, 24, 1.7)})
    slower = drawn_lines(np.ones(3), slow={1: (8, 24, 1.7)})
    slower.busy[:] *= 7
    one, other = found_in(seen)[0], found_in(slower)[0]
    assert {*one} == {*other}
    assert_allclose(one[1].size, other[1].size)


def test_the_level_is_over_all_steps() -> None:
    seen = drawn_lines(np.array([1.0, 1.0, 1 / 1.1]), noise=0.1, wander=0.0)
    _, paces = found_in(seen, spread=UNLIKE)
    mean, error = level(paces, 2)
    assert mean == pytest.approx(math.log(1.1), abs=0.03)
    assert 0 < error < 0.1
    nothing = Paces(
        deviation=np.full((1, 3), np.nan),
        variance=np.full((1, 3), np.inf),
        images=np.zeros((1, 3)),
        spreads=np.ones(1),
    )
    assert np.isnan(level(nothing, 0)).all()
    assert search(nothing, 1.0) == []
