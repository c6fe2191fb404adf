"""A host that is lost, and the end of a lab, after all that the README does with it."""

import time
from typing import Any

from cluster.lab import cgroups, nspawn
from tests.scenarios.labs import OperatedLab, until
from tests.scenarios.readme import IN_README, as_in_readme, seen

INVENTORY = "lab-yarn"
# Hosts are lost after 60 s; HDFS and YARN look every few seconds.
LOST_AFTER_S = (45, 110)


def test_a_rebooted_host_comes_back_and_a_lost_one_is_noticed(
    lab: OperatedLab, deployed: Any
) -> None:
    cgroups.kill(nspawn.Lab.of(lab.inventory).name, "node3")
    at = time.monotonic()
    lab.reboot("node2")
    took: dict[str, float] = {}

    def waits_for() -> str:
        nodes = lab.fetch("http://node1:8088/ws/v1/cluster/nodes")["nodes"]["node"]
        states = {node["nodeHostName"]: node["state"] for node in nodes}
        query = "Hadoop:service=NameNode,name=FSNamesystemState"
        (names,) = lab.fetch(f"http://node1:9870/jmx?qry={query}")["beans"]
        if states["node3"] == "LOST":
            took.setdefault("YARN", time.monotonic() - at)
        if names["NumDeadDataNodes"] == 1:
            took.setdefault("HDFS", time.monotonic() - at)
        return "" if len(took) == 2 and states["node2"] == "RUNNING" else f"{states}, {took}"

    until(waits_for)
    print(f"a lost host was noticed after {took} s")
    for seconds in took.values():
        assert LOST_AFTER_S[0] < seconds < LOST_AFTER_S[1], took
    assert lab.cluster("status").returncode == 1
    assert lab.cluster("lab", "up").returncode == 0
    lab.until_ready()


def test_down_leaves_nothing(lab: OperatedLab, deployed: Any) -> None:
    own = nspawn.Lab.of(lab.inventory)
    as_in_readme(lab, "lab down")
    assert not own.folder.exists()
    assert cgroups.processes(own.name) == set()
    assert not list(lab.inventory.glob("lab.yml")) + list(lab.inventory.glob(".lab"))


def test_each_command_of_the_readme_was_run() -> None:
    assert seen == IN_README
