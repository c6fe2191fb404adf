"""inventory/lab-hetero: each host offers what its hardware class says, and is as slow as that."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenarios.labs import Lab, lab_of


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of("lab-hetero", tmp_path_factory.mktemp("hetero")) as made:
        made.cluster("lab", "up")
        made.cluster("deploy")
        yield made


def offered(lab: Lab) -> dict[str, dict[str, Any]]:
    ask = "import urllib.request as u; print(u.urlopen('http://fast1:8088/ws/v1/cluster/nodes').read().decode())"
    nodes = json.loads(lab.ssh("fast1", f'python3 -c "{ask}"'))["nodes"]["node"]
    return {node["nodeHostName"]: node for node in nodes}


def test_node_managers_offer_what_their_class_says(lab: Lab) -> None:
    nodes = offered(lab)
    assert {name: node["state"] for name, node in nodes.items()} == dict.fromkeys(
        ("fast1", "medium1", "slow1"), "RUNNING"
    )
    vcores = {name: node["totalResource"]["vCores"] for name, node in nodes.items()}
    assert vcores == {"fast1": 5, "medium1": 3, "slow1": 2}  # four a CPU, one for the master
    memory = {name: node["totalResource"]["memory"] for name, node in nodes.items()}
    assert memory["medium1"] == memory["slow1"]
    assert 2048 <= memory["slow1"] < 4096  # of 4096 MB
    assert 1024 <= memory["fast1"] < memory["slow1"]  # it holds the masters, too


def test_a_quarter_of_a_core_is_about_a_quarter_as_fast(lab: Lab) -> None:
    done = lab.cluster("doctor", "--check", "cpu-speed", "--format", "json", check=False)
    print(done.stdout)
    probes = json.loads((lab.inventory / ".probes.json").read_text())
    print(probes)
