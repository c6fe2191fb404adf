"""Spark's own master and workers on three machines, from nothing. Tests in order."""

import re
from typing import Any

from tests.scenarios.labs import OperatedLab, until

INVENTORY = "lab-standalone"
MASTER, WORKER, HISTORY = "spark-master", "spark-worker", "spark-history"
DAEMONS = {"node1": (MASTER, WORKER, HISTORY), "node2": (WORKER,), "node3": (WORKER,)}
ADDRESSES = {"node1": "192.168.56.11", "node2": "192.168.56.12", "node3": "192.168.56.13"}
PI = "spark-submit /opt/spark/examples/src/main/python/pi.py"
APPLICATIONS = "http://node1:18080/api/v1/applications"
WORKER_CONF = "/etc/spark/conf/spark-worker.conf"


def test_check_of_fresh_hosts_changes_nothing(lab: OperatedLab) -> None:
    told = lab.deploy("--check", "--diff", "--limit", "node1")
    assert told["failed"] == []
    assert {"spark", "spark_master", "spark_worker", "spark_history"} <= {
        change["role"] for change in told["changed"]
    }
    assert lab.run("node1", "find /etc/spark /etc/systemd/system/spark* 2>/dev/null || :") == ""


def test_deploy(lab: OperatedLab, deployed: Any) -> None:
    assert deployed["failed"] == []
    told = lab.status()
    assert told["ready"]
    services = {h["host"]: {s["service"]: s for s in h["services"]} for h in told["hosts"]}
    offered = {
        host: {name: of_host["spark_worker"]["amounts"][name] for name in ("vcores", "memory_mb")}
        for host, of_host in services.items()
    }
    # The memory of the inventory less the reserve; the first host has three roles more.
    assert offered == {
        "node1": {"vcores": 2, "memory_mb": 4096 - 1024 - 3 * 512},
        "node2": {"vcores": 2, "memory_mb": 3072 - 1024},
        "node3": {"vcores": 2, "memory_mb": 3072 - 1024},
    }


def test_second_deploy_changes_nothing(lab: OperatedLab, deployed: Any) -> None:
    told = lab.deploy()
    assert (told["changed"], told["failed"]) == ([], [])
    assert all(told["hosts"][host]["ok"] > 10 for host in DAEMONS)
    assert {counts["changed"] for counts in told["hosts"].values()} == {0}


def test_pi_on_the_standalone_master(lab: OperatedLab, deployed: Any) -> None:
    said = lab.run("node1", f"{PI} 6")
    found = re.search(r"Pi is roughly ([\d.]+)", said)
    assert found
    assert 3 < float(found[1]) < 3.3


def finished_pi(lab: OperatedLab) -> str:
    """The id of the application, once the History Server has it as finished."""
    found: list[str] = []

    def waits_for() -> str:
        listed = lab.fetch(f"{APPLICATIONS}?status=completed")
        found.extend(application["id"] for application in listed)
        return "" if found else "the finished application"

    until(waits_for)
    return found[0]


def test_history_server_shows_it(lab: OperatedLab, deployed: Any) -> None:
    one = f"{APPLICATIONS}/{finished_pi(lab)}"
    assert lab.fetch(one)["name"] == "PythonPi"
    assert ["spark.master", "spark://node1:7077"] in lab.fetch(f"{one}/environment")[
        "sparkProperties"
    ]
    executors = {e["hostPort"].partition(":")[0] for e in lab.fetch(f"{one}/allexecutors")}
    assert executors == set(DAEMONS)


def test_daemons_listen_on_the_clusters_network_alone(lab: OperatedLab, deployed: Any) -> None:
    for host, address in ADDRESSES.items():
        lines = lab.run(host, "ss --no-header --listening --tcp --numeric").splitlines()
        listening = {line.split()[3].rpartition(":")[::2] for line in lines}
        others = {
            where.strip("[]").removeprefix("::ffff:") for where, port in listening if port != "22"
        }
        assert others == {address}, host


def all_processes(lab: OperatedLab) -> dict[tuple[str, str], int]:
    return {
        (host, unit): process
        for host, units in DAEMONS.items()
        for unit, process in lab.processes(host, units).items()
    }


def test_what_differs_is_shown_and_only_that_restarts(lab: OperatedLab, deployed: Any) -> None:
    before = all_processes(lab)
    lab.run("node1", f"echo spark.worker.cleanup.interval 7 | sudo tee -a {WORKER_CONF}")
    only = ("--limit", "node1", "--tags", "spark_worker")

    shown = lab.cluster("deploy", "--check", "--diff", *only)
    assert shown.returncode == 0, shown.stderr
    assert "-spark.worker.cleanup.interval 7\n" in shown.stderr
    assert "cleanup.interval 7" in lab.run("node1", f"cat {WORKER_CONF}")
    assert all_processes(lab) == before

    told = lab.deploy(*only)
    assert {change["role"] for change in told["changed"]} == {"spark_worker"}
    assert "cleanup.interval 7" not in lab.run("node1", f"cat {WORKER_CONF}")
    after = all_processes(lab)
    assert {which for which in after if after[which] != before[which]} == {("node1", WORKER)}


def test_killed_daemons_come_back(lab: OperatedLab, deployed: Any) -> None:
    before = all_processes(lab)
    for host, units in DAEMONS.items():
        lab.kill(host, units)
    lab.until_ready()
    after = all_processes(lab)
    assert [which for which in after if after[which] in (0, before[which])] == []


def test_a_rebooted_host_comes_back_by_itself(lab: OperatedLab, deployed: Any) -> None:
    known = finished_pi(lab)
    lab.reboot("node1")
    lab.until_ready()
    assert finished_pi(lab) == known
