"""HDFS, YARN and Spark on three machines, from nothing, by the README's commands."""

import os
import re
import subprocess
import time
from typing import Any

from cluster.inventory import Inventory
from cluster.places import repository
from cluster.run.localisation import localised
from cluster.ssh import Fleet
from tests.scenarios.labs import OperatedLab, until
from tests.scenarios.readme import IN_README, as_in_readme

INVENTORY = "lab-yarn"
HDFS, YARN, HISTORY = ["hdfs-datanode"], ["yarn-nodemanager"], "spark-history"
DAEMONS = {
    "node1": ("hdfs-namenode", "yarn-resourcemanager", HISTORY, *HDFS, *YARN),
    "node2": (*HDFS, *YARN),
    "node3": (*HDFS, *YARN),
}


def test_check_of_fresh_hosts_changes_nothing(lab: OperatedLab) -> None:
    assert "Nothing to do" in as_in_readme(lab, "lab up")  # the fixture has done it
    told = lab.deploy("--check", "--diff")
    assert told["failed"] == []
    roles = {"hadoop", "hdfs_namenode", "hdfs_datanode", "yarn_resourcemanager", "yarn_nodemanager"}
    assert roles <= {change["role"] for change in told["changed"]}
    assert lab.run("node2", "ls -d /etc/hadoop /data/hdfs 2>/dev/null || :") == ""


def test_deploy(lab: OperatedLab, deployed: Any) -> None:
    assert deployed["failed"] == []
    assert "9 of 9 services are ready" in as_in_readme(lab, "status")


def test_second_deploy_changes_nothing(lab: OperatedLab, deployed: Any) -> None:
    assert "changed: 0 tasks, failed: 0 hosts" in as_in_readme(lab, "deploy")


def test_plain_ansible_agrees_by_a_check_of_what_is_deployed(
    lab: OperatedLab, deployed: Any
) -> None:
    play = [".venv/bin/ansible-playbook", "-i", lab.inventory, "playbooks/site.yml"]
    done = subprocess.run(
        [*play, "--check", "--diff"],
        cwd=repository(),
        env={**os.environ, **lab.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    recap = re.findall(r"^(node\d) .*changed=(\d+) .*failed=(\d+)", done.stdout, re.MULTILINE)
    assert sorted(recap) == [(host, "0", "0") for host in DAEMONS], done.stdout


def test_doctor_finds_no_problem(lab: OperatedLab, deployed: Any) -> None:
    as_in_readme(lab, "doctor --quick")


def test_hdfs_keeps_a_file_and_is_healthy(lab: OperatedLab, deployed: Any) -> None:
    script = (
        "set -e; echo kept > note; hdfs dfs -put -f note /tmp/note; hdfs dfs -cat /tmp/note;"
        " hdfs fsck /tmp/note; hdfs dfs -rm -skipTrash /tmp/note; ! hdfs dfs -test -e /tmp/note"
    )
    said = lab.run("node2", script)
    assert "kept" in said
    assert "is HEALTHY" in said
    assert re.search(r"Average block replication:\s+3", said)


def test_spark_on_yarn_and_the_history_server(lab: OperatedLab, deployed: Any) -> None:
    (command,) = (each for each in IN_README if "pi.py" in each)
    assert "Pi is roughly 3.1" in as_in_readme(lab, command)

    def waits_for() -> str:
        listed = lab.fetch("http://node1:18080/api/v1/applications?status=completed")
        return "" if [each["name"] for each in listed] == ["PythonPi"] else "the application"

    until(waits_for)


def test_a_host_holds_one_executor_that_asks_for_a_slot(lab: OperatedLab, deployed: Any) -> None:
    # Small enough for two on a host, and for the application master beside one on each; the job
    # begins when three of the four asked for are there.
    settings = {
        "spark.yarn.executor.resource.executor-slot.amount": 1,
        "spark.executor.memory": "512m",
        "spark.executor.instances": 4,
        "spark.yarn.am.memory": "256m",
        "spark.yarn.am.memoryOverhead": "256m",
        "spark.scheduler.minRegisteredResourcesRatio": 0.75,
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "180s",
    }
    given = " ".join(f"--conf {name}={value}" for name, value in settings.items())
    pi = "/opt/spark/examples/src/main/python/pi.py"
    began = time.time()
    said = lab.run("node1", f"spark-submit --master yarn {given} {pi} 3 2>&1")
    (application,) = set(re.findall(r"Submitted application (application_\d+_\d+)", said))
    history = "http://node1:18080/api/v1/applications"

    def waits_for() -> str:
        listed = lab.fetch(f"{history}?status=completed")
        return "" if application in [each["id"] for each in listed] else application

    until(waits_for)
    executors = lab.fetch(f"{history}/{application}/allexecutors")
    hosts = [each["hostPort"].partition(":")[0] for each in executors if each["id"] != "driver"]
    assert sorted(hosts) == ["node1", "node2", "node3"]

    # Each host had its files localised once, and its NodeManager tells when.
    inventory = Inventory.load(lab.inventory)
    with Fleet(inventory) as fleet:
        found = localised(fleet, inventory.group("yarn_nodemanager"), ["pyspark.zip"], began)
    assert [each.host for each in found] == ["node1", "node2", "node3"]
    for each in found:
        assert began < each.started_at < each.started_at + each.seconds < time.time()
        assert each.bytes > 1_000_000


def test_mapreduce_on_yarn_and_its_log(lab: OperatedLab, deployed: Any) -> None:
    sleep = "yarn org.apache.hadoop.mapreduce.SleepJob -m 2 -r 0 -mt 500"
    lab.run("node3", f"HADOOP_CLASSPATH='/opt/hadoop/examples/*' {sleep}")
    found = lab.fetch("http://node1:8088/ws/v1/cluster/apps?applicationTypes=MAPREDUCE")
    ((application, ended),) = ((each["id"], each["finalStatus"]) for each in found["apps"]["app"])
    assert ended == "SUCCEEDED"
    # Logs are gathered after the end.
    fetch = f"yarn logs -applicationId {application}"
    assert "syslog" in lab.run(
        "node2", f"for i in 1 2 3 4 5; do {fetch} 2>/dev/null && break; sleep 3; done"
    )


def test_killed_daemons_come_back(lab: OperatedLab, deployed: Any) -> None:
    before = {host: lab.processes(host, units) for host, units in DAEMONS.items()}
    for host, units in DAEMONS.items():
        lab.kill(host, units)
    lab.until_ready()
    for host, units in DAEMONS.items():
        after = lab.processes(host, units)
        assert all(after[unit] not in (0, before[host][unit]) for unit in units), (host, after)
