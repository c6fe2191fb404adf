"""The way to a virtual machine, over a real sshd, with a fault that is lines in a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.inventory import Inventory
from cluster.lab.faults import virtual
from cluster.lab.faults.kinds import Order
from cluster.lab.faults.virtual import VirtualMachine
from job.errors import JobError
from tests.unit.cluster.conftest import Server, reachable

STAND_IN = """
def write(word):
    with open({log!r}, "a") as file:
        file.write(word)
def make(order):
    if order["factor"] == 13:
        raise FaultError("it is unlucky")
    write("made at " + order["address"])
    return {{"cpus": 1}}
FAULTS["cpu-quota"] = (make, lambda details: write(f", gone with {{details.get('cpus')}}"))
"""


@pytest.fixture
def log(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    log, program = tmp_path / "log", tmp_path / "machine.py"
    main = 'if __name__ == "__main__":'
    before, _, after = virtual.PROGRAM.read_text().partition(main)
    program.write_text(f"{before}{STAND_IN.format(log=str(log))}{main}{after}")
    monkeypatch.setattr(virtual, "PROGRAM", program)
    inventory = reachable(server, tmp_path)
    monkeypatch.setattr(Inventory, "load", lambda _: inventory)
    return lambda: log.read_text() if log.exists() else ""


def machine() -> VirtualMachine:
    return VirtualMachine(inventory="inventory/x", name="node1", bandwidth_mbit=None)


def test_a_fault_lasts_until_it_is_removed(log: Callable[[], str]) -> None:
    order, one = Order(kind="cpu-quota", host="node1"), machine()
    assert one.apply(order) == {"cpus": 1}
    assert log() == "made at 127.0.0.1"
    one.remove(order, {"cpus": 1})
    assert log() == "made at 127.0.0.1, gone with 1"


def test_what_a_killed_guardian_left_is_removed(log: Callable[[], str]) -> None:
    machine().remove(Order(kind="cpu-quota", host="node1"), {"cpus": 3})
    assert log() == ", gone with 3"


def test_the_machines_sentence_names_the_host(log: Callable[[], str]) -> None:
    with pytest.raises(JobError, match=r"^node1: it is unlucky\.$"):
        machine().apply(Order(kind="cpu-quota", host="node1", factor=13))
