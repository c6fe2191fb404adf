"""Facts, probes and fixes over a real sshd on the loopback interface."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.checks import cpu_speed, disk_speed, link_speed, probes
from cluster.checks.base import Check, Finding, Fix, Verdict, problem
from cluster.checks.collect import collect, measure_clock
from cluster.checks.examination import Fixed, examine, fix
from cluster.checks.program import call
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.ssh import Fleet
from tests.unit.cluster.conftest import Server, free_port, reachable


@pytest.fixture
def two(server: Server, tmp_path: Path) -> Inventory:
    return reachable(server, tmp_path, "node1", "node2")


@pytest.fixture
def fleet(two: Inventory) -> Iterator[Fleet]:
    with Fleet(two) as connected:
        yield connected


def silent(_: str) -> None:
    """Where a probe would tell how far it is."""


def test_a_host_is_asked_as_root_and_its_clock_is_this_ones(two: Inventory, fleet: Fleet) -> None:
    facts = collect(fleet, two, two.hosts)
    assert list(facts) == ["node1", "node2"]
    for known in facts.values():
        assert known["root"] == (os.geteuid() == 0)
        assert known["memory"]["total_mb"] > 0
        assert abs(known["clock"]["offset_s"]) <= known["clock"]["error_s"]


def test_the_quickest_round_trip_is_taken(two: Inventory, fleet: Fleet) -> None:
    measured = measure_clock(fleet, two.hosts[0])
    assert 0 < measured["error_s"] < 5


def test_one_silent_host_does_not_hide_the_others(server: Server, tmp_path: Path) -> None:
    up = reachable(server, tmp_path, "up").hosts[0]
    down = reachable(server, tmp_path, "down", ansible_port=free_port()).hosts[0]
    both = Inventory(path=tmp_path, hosts=(up, down), groups=frozenset())
    with Fleet(both) as fleet:
        facts = collect(fleet, both, both.hosts)
    assert set(facts["down"]) == {"error"}
    assert "down" in facts["down"]["error"]
    assert "root" in facts["up"]


def test_a_program_that_takes_too_long_is_ended_where_it_runs(two: Inventory, fleet: Fleet) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError) as raised:
        call(fleet, two.hosts[0], "cpu", 60, seconds=0.5)
    assert time.monotonic() - began < 30
    assert str(raised.value) == "The probe cpu failed on node1: not done in 0.5 s."


def test_a_program_that_fails_says_why(two: Inventory, fleet: Fleet) -> None:
    with pytest.raises(ClusterError, match="cpu failed on node1: ValueError"):
        call(fleet, two.hosts[0], "cpu", "soon", seconds=10)


def test_what_is_measured_is_kept(
    two: Inventory, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_speed, "SECONDS", 0.2)
    monkeypatch.setattr(disk_speed, "FOLDER", str(tmp_path))
    monkeypatch.setattr(disk_speed, "MEGABYTES", 4)
    monkeypatch.setattr(link_speed, "SECONDS", 0.5)
    told: list[str] = []
    checks = (link_speed.CHECK, disk_speed.CHECK, cpu_speed.CHECK)
    seen = examine(fleet, two, checks, told.append)
    assert told[0] == "Asking 2 hosts"
    assert "Measuring link speed: node1 and node2" in told
    kept = probes.load(tmp_path)
    assert kept["node1"]["link-speed"]["to_mbit"]["node2"] > 10
    assert kept["node2"]["link-speed"]["to_mbit"]["node1"] > 10
    for host in ("node1", "node2"):
        assert kept[host]["cpu-speed"]["all"]["units_per_s"] > 0
        assert kept[host]["disk-speed"]["written_mb"] == 4
        assert seen.facts[host]["cpu-speed"]["all"] == kept[host]["cpu-speed"]["all"]
    assert "Mbit/s" in seen.verdicts["link-speed"].summary


def wanting(file: Path, command: str) -> Check:
    """Finds on node2 that a file is missing, which a command makes."""

    def finding() -> Finding:
        return problem("node2", "It is missing.", "Make it.", Fix(what="make it", command=command))

    return Check(
        name="file",
        title="a file",
        why="For the test.",
        judge=lambda *_: Verdict(summary="", findings=() if file.exists() else (finding(),)),
    )


def test_a_fix_is_done_and_seen(two: Inventory, fleet: Fleet, tmp_path: Path) -> None:
    check = wanting(tmp_path / "made", f"touch {tmp_path}/made")
    before = examine(fleet, two, (check,), silent)
    assert before.failed
    done, after = fix(fleet, two, (check,), before, silent)
    assert done == (Fixed(host="node2", what="make it"),)
    assert not after.failed
    assert after.findings == ()


def test_a_fix_that_fails_is_told_and_not_waited_for(
    two: Inventory, fleet: Fleet, tmp_path: Path
) -> None:
    check = wanting(tmp_path / "made", "echo no room >&2; exit 3")
    began = time.monotonic()
    before = examine(fleet, two, (check,), silent)
    (done,), after = fix(fleet, two, (check,), before, silent)
    assert "exited with 3: no room" in done.error
    assert after.failed
    assert time.monotonic() - began < 30


def test_nothing_to_fix_asks_no_host_again(two: Inventory, fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    check = wanting(tmp_path / "made", "false")
    before = examine(fleet, two, (check,), silent)
    assert fix(fleet, two, (check,), before, silent) == ((), before)
