from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from job.stragglers.starts import PHASES, cold

USUAL = {"localise": 4.0, "executor_start": 6.0, "model_load": 3.0, "first_image": 2.0}


def record(hosts: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    """The phases of HOSTS; a phase they do not name takes the usual time, None: it was not."""
    phases: list[dict[str, Any]] = [{"name": "submit", "seconds": 8.0}]
    for host, own in hosts.items():
        for name, seconds in (USUAL | own).items():
            if seconds is not None:
                phases.append({"name": name, "host": host, "seconds": seconds})
        phases.append({"name": "steady", "host": host, "seconds": 100.0})
    return {"phases": phases}


def times(factor: float) -> dict[str, float | None]:
    return {name: factor * seconds for name, seconds in USUAL.items()}


EVEN = dict.fromkeys("abc", 1.0)


def test_a_host_that_took_longer_in_all_phases_is_cold() -> None:
    found = cold(record({"a": {}, "b": times(3.0), "c": {}}), EVEN, {})
    assert {*found} == {"b"}
    assert found["b"].factor == pytest.approx(3.0)
    # It lost most in what takes longest.
    assert (found["b"].phase, found["b"].seconds) == ("executor_start", pytest.approx(18.0))
    assert found["b"].usual == pytest.approx(6.0)


def test_the_phase_that_it_lost_most_in_is_named() -> None:
    slow = times(2.0) | {"model_load": 60.0}
    found = cold(record({"a": {}, "b": slow, "c": {}}), EVEN, {})["b"]
    assert (found.phase, found.seconds) == ("model_load", 60.0)
    assert found.usual == pytest.approx(3.0)


def test_one_odd_first_image_is_no_cold_start() -> None:
    assert cold(record({"a": {}, "b": {"first_image": 20.0}, "c": {}}), EVEN, {}) == {}


def test_a_little_longer_is_not_cold_and_neither_are_peers() -> None:
    assert cold(record({"a": {}, "b": times(1.2), "c": {}}), EVEN, {}) == {}
    assert cold(record({host: {} for host in "abc"}), EVEN, {}) == {}
    assert cold(record({"a": {}, "b": times(0.6), "c": {}}), EVEN, {}) == {}


def test_what_is_over_at_once_is_no_loss() -> None:
    tiny = dict.fromkeys(USUAL, 0.05)
    assert cold(record({"a": tiny, "b": dict.fromkeys(USUAL, 0.3), "c": tiny}), EVEN, {}) == {}


def test_who_alone_had_to_localise_is_cold() -> None:
    there: dict[str, float | None] = {"localise": None}
    found = cold(record({"a": there, "b": {"localise": 60.0}, "c": there}), EVEN, {})
    assert {*found} == {"b"}
    assert found["b"].phase == "localise"
    # Where most had to, who did not is only lucky.
    assert cold(record({"a": there, "b": {}, "c": {}}), EVEN, {}) == {}


def test_the_first_image_of_a_slow_host_may_take_longer() -> None:
    slow = {"first_image": 12.0}
    hosts = {"a": {}, "b": slow | {"localise": None}, "c": {}}
    phases = record(hosts)
    phases["phases"] = [p for p in phases["phases"] if p["name"] in ("first_image", "steady")]
    assert {*cold(phases, EVEN, {})} == {"b"}
    assert cold(phases, EVEN | {"b": 1 / 6}, {}) == {}


def test_with_part_of_a_cpu_a_host_may_take_longer_to_compute() -> None:
    slow = {"executor_start": 24.0, "model_load": 12.0, "first_image": 8.0}
    made = record({"a": {}, "b": slow, "c": {}})
    assert {*cold(made, EVEN, {})} == {"b"}
    assert cold(made, EVEN | {"b": 0.25}, {"a": 1.0, "b": 0.25, "c": 1.0}) == {}
    # Two CPUs do not make it start sooner.
    assert {*cold(made, EVEN, dict.fromkeys("abc", 2.0))} == {"b"}


def test_of_many_hosts_who_is_odd_depends_on_how_they_differ() -> None:
    random = np.random.default_rng(1)

    def hosts(spread: float) -> dict[str, dict[str, float | None]]:
        return {
            f"host-{n:02}": times(float(np.exp(spread * random.standard_normal())))
            for n in range(40)
        }

    assert cold(record(hosts(0.5)), {f"host-{n:02}": 1.0 for n in range(40)}, {}) == {}
    alike = hosts(0.05) | {"host-07": times(2.5)}
    assert {*cold(record(alike), dict.fromkeys(alike, 1.0), {})} == {"host-07"}


def test_hundreds_of_hosts() -> None:
    hosts = {f"host-{n:03}": times(1.0 + n % 3 / 20) for n in range(300)}
    hosts["host-123"] = times(4.0)
    assert {*cold(record(hosts), dict.fromkeys(hosts, 1.0), {})} == {"host-123"}


def test_the_longest_of_a_hosts_phases_counts() -> None:
    made = record({"a": {}, "b": {}, "c": {}})
    again = [{"name": name, "host": "b", "seconds": 5 * USUAL[name]} for name in PHASES]
    for phases in (made["phases"] + again, again + made["phases"]):
        assert {*cold({"phases": phases}, EVEN, {})} == {"b"}


def test_without_phases_or_peers_nothing_is_told() -> None:
    assert cold({}, {}, {}) == {}
    assert cold(record({"a": times(9.0)}), {"a": 1.0}, {}) == {}
    odd = [
        {"name": "model_load", "host": host, "seconds": seconds}
        for host, seconds in (("a", None), ("b", 0.0), (None, 3.0), ("c", 9.0))
    ]
    assert cold({"phases": odd}, EVEN, {}) == {}
    missing = {"a": {}, "b": times(3.0) | {"model_load": None, "localise": None}, "c": {}}
    assert {*cold(record(missing), {}, {})} <= {"b"}
