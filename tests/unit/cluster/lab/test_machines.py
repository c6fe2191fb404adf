import ipaddress
from pathlib import Path
from typing import Any

import pytest

from cluster.inventory import Inventory
from cluster.lab import requirements
from cluster.lab.machines import machines_of, operator_address
from job.errors import UsageError

GOOD: dict[str, Any] = {"ansible_host": "10.0.0.11", "lab_cpus": 1, "lab_memory_mb": 512}


def inventory(**hosts: dict[str, Any]) -> Inventory:
    listing = {"_meta": {"hostvars": hosts}, "all": {"hosts": list(hosts)}}
    return Inventory.parse(Path("inventory/x"), listing)


def test_a_machine_is_what_its_variables_say() -> None:
    slow = GOOD | {"ansible_host": "10.0.0.12", "lab_cpus": 0.25, "lab_bandwidth_mbit": 26}
    one, two = machines_of(inventory(one=GOOD, two=slow))
    assert (one.cpus, one.memory_mb, one.bandwidth_mbit) == (1, 512, None)
    assert (two.name, str(two.address), two.cpus) == ("two", "10.0.0.12", 0.25)
    assert two.bandwidth_mbit == 26


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lab_cpus": None}, ["two", "lab_cpus"]),
        ({"lab_cpus": 0}, ["two", "lab_cpus", "above 0"]),
        ({"lab_cpus": "{{ 1 }}"}, ["two", "lab_cpus", "{{ 1 }}"]),
        ({"lab_memory_mb": True}, ["two", "lab_memory_mb"]),
        ({"lab_bandwidth_mbit": -1}, ["two", "lab_bandwidth_mbit"]),
        ({"ansible_host": "example.org"}, ["two", "ansible_host"]),
        ({"ansible_host": "10.0.1.12"}, ["two", "10.0.1.12", "10.0.0.0/24"]),
        ({"ansible_host": "10.0.0.11"}, ["two", "10.0.0.11", "one"]),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        machines_of(inventory(one=GOOD, two=GOOD | {"ansible_host": "10.0.0.12"} | change))
    assert all(word in str(caught.value) for word in words)


def test_more_cpus_than_the_computer_has_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = machines_of(inventory(one=GOOD, two=GOOD | {"ansible_host": "10.0.0.12"}))
    monkeypatch.setattr(requirements.os, "cpu_count", lambda: 2)
    assert requirements.crowded(machines) == ""
    monkeypatch.setattr(requirements.os, "cpu_count", lambda: 1)
    assert "2 CPUs and this computer has 1" in requirements.crowded(machines)


def test_no_host() -> None:
    with pytest.raises(UsageError, match="no host"):
        machines_of(inventory())


def test_the_operator_takes_the_first_free_address() -> None:
    machines = machines_of(
        inventory(one=GOOD | {"ansible_host": "10.0.0.1"}, two=GOOD | {"ansible_host": "10.0.0.3"})
    )
    assert operator_address(machines) == ipaddress.IPv4Address("10.0.0.2")
