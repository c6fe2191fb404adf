from typing import Any

import pytest
from numpy.testing import assert_allclose

from job.stragglers.expected import ALIKE, KNOWN, UNLIKE, expected

HOSTS = ["a", "b", "c"]


def record(**quotas: float | None) -> dict[str, Any]:
    return {"hosts": [{"host": h, "cpus_quota": q, "cpus_visible": 8} for h, q in quotas.items()]}


def test_the_better_a_host_is_known_the_less_it_may_be_off() -> None:
    assert KNOWN < ALIKE < UNLIKE


def test_of_hosts_of_which_nothing_is_known_as_much_is_expected() -> None:
    known = expected(HOSTS, {}, {})
    assert known.paces.tolist() == [1, 1, 1]
    assert known.spreads.tolist() == [ALIKE] * 3
    assert known.cpus == known.lanes == known.threads == {}


def test_hosts_declared_alike_are_expected_to_be_and_others_by_their_cpus() -> None:
    alike = expected(HOSTS, record(a=2.0, b=2.0, c=2.0), {})
    assert len({*alike.paces.tolist()}) == 1
    assert alike.spreads.tolist() == [ALIKE] * 3
    # Without a quota a host has the CPUs it sees.
    unlike = expected(HOSTS, record(a=2.0, b=0.5, c=None), {})
    assert_allclose(unlike.paces / unlike.paces[0], [1, 0.25, 4])
    assert unlike.spreads.tolist() == [UNLIKE] * 3
    assert unlike.cpus == {"a": 2.0, "b": 0.5, "c": 8.0}


def test_one_host_undeclared_leaves_all_alike() -> None:
    known = expected(HOSTS, record(a=2.0, b=0.5), {})
    assert known.paces.tolist() == [1, 1, 1]
    assert known.spreads.tolist() == [ALIKE] * 3


def test_a_host_is_expected_to_be_as_it_was() -> None:
    speeds = {"a": 3.0, "b": 1.0, "c": 4.0, "elsewhere": 9.0}
    known = expected(HOSTS, record(a=1.0, b=1.0, c=1.0), speeds)
    assert known.paces.tolist() == [3, 1, 4]
    assert known.spreads.tolist() == [KNOWN] * 3


def test_a_new_host_is_expected_to_be_as_its_cpus_are_elsewhere() -> None:
    known = expected(HOSTS, record(a=1.0, b=1.0, c=0.5), {"a": 3.0, "b": 5.0})
    assert_allclose(known.paces, [3, 5, 0.5 * 4])
    assert known.spreads.tolist() == [KNOWN, KNOWN, UNLIKE]


def test_a_quota_that_was_cut_since_a_speed_was_learned_is_not_the_usual_one() -> None:
    speeds = {"a": 10.0, "b": 10.4, "c": 9.8}
    known = expected(HOSTS, record(a=0.4, b=0.4, c=0.1), speeds)
    assert_allclose(known.usual_cpus, [0.4, 0.4, 0.4], rtol=0.1)
    assert known.cpus["c"] == 0.1
    # Small hosts do less with a CPU, for daemons take some of it.
    uneven = expected(HOSTS, record(a=0.25, b=0.5, c=1.0), {"a": 0.29, "b": 0.7, "c": 1.54})
    assert uneven.usual_cpus.tolist() == [0.25, 0.5, 1.0]


def test_a_quota_limits_a_host_that_sees_more_than_it_gives() -> None:
    known = expected(HOSTS, record(a=0.5, b=8.0, c=None), {})
    assert known.limited.tolist() == [True, False, False]


def test_what_a_worker_has_under_way() -> None:
    workers = [
        {"host": "a", "threads": 4, "streams": 2, "requests": 3},
        {"host": "b", "threads": 3, "streams": None, "requests": None},
        {"host": "c", "threads": None, "streams": None, "requests": None},
    ]
    known = expected(HOSTS, {"workers": workers}, {})
    assert known.lanes == {"a": 3, "b": 2}
    assert known.threads == {"a": pytest.approx(2.0), "b": pytest.approx(3.0)}


def test_no_hosts() -> None:
    known = expected([], {}, {"a": 1.0})
    assert known.paces.shape == known.spreads.shape == (0,)
