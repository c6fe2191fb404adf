"""inventory/lab-yarn from nothing to jobs, faults and nothing again; the README's own commands."""

import json
import re
import time
from collections.abc import Iterator

import pytest

from cluster.lab import cgroups, nspawn
from tests.scenarios.labs import ROOT, Lab, kill_and_wait_for_another, lab_of
from tests.test_readme import README, commands

# What is left of "$ .venv/bin/cluster" in the README's console blocks and is about a lab.
IN_README = {
    command.removeprefix(".venv/bin/cluster ")
    for command in commands(README)
    if re.match(r"\.venv/bin/cluster (lab|deploy|status|doctor)\b", command)
}
seen: set[str] = set()

HOSTS = ("node1", "node2", "node3")
PI = "/opt/spark/examples/src/main/python/pi.py"


def as_in_readme(lab: Lab, command: str) -> str:
    """Run a command that the README has, word by word."""
    assert command in IN_README
    seen.add(command)
    return lab.run("bash", "-c", f".venv/bin/cluster {command}").stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of("lab-yarn", tmp_path_factory.mktemp("yarn")) as made:
        as_in_readme(made, "lab up")
        fresh = made.deploy("--check", "--diff")
        assert fresh["changed"] > 20  # it says what it would do, and has not failed on a fresh host
        as_in_readme(made, "deploy")
        yield made


def test_a_second_deploy_changes_nothing(lab: Lab) -> None:
    assert lab.deploy()["changed"] == 0


def test_plain_ansible_agrees_and_a_check_works_on_what_is_deployed(lab: Lab) -> None:
    playbook = ["playbooks/site.yml", "--check", "--diff"]
    done = lab.run(".venv/bin/ansible-playbook", "-i", str(lab.inventory), *playbook)
    recap = re.findall(r"^(node\d) .*changed=(\d+) .*failed=(\d+)", done.stdout, re.MULTILINE)
    assert sorted(recap) == [(host, "0", "0") for host in HOSTS]


def test_status_says_that_all_is_ready(lab: Lab) -> None:
    assert "9 of 9 services are ready" in as_in_readme(lab, "status")


def test_doctor_finds_no_problem(lab: Lab) -> None:
    as_in_readme(lab, "doctor --quick")


def test_hdfs_keeps_a_file_and_is_healthy(lab: Lab) -> None:
    script = (
        "set -e; echo kept > note; hdfs dfs -put -f note /tmp/note; hdfs dfs -cat /tmp/note;"
        " hdfs fsck /tmp/note; hdfs dfs -rm -skipTrash /tmp/note; ! hdfs dfs -test -e /tmp/note"
    )
    said = lab.ssh("node2", script)
    assert "kept" in said
    assert "is HEALTHY" in said
    assert re.search(r"Average block replication:\s+3", said)


def test_spark_on_yarn_and_the_history_server(lab: Lab) -> None:
    (command,) = (each for each in IN_README if PI in each)
    assert "Pi is roughly 3.1" in as_in_readme(lab, command)
    deadline = time.monotonic() + 30  # it looks for finished applications every 10 s
    ask = "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://node1:18080/api/v1/applications\").read().decode())'"
    while not (found := json.loads(lab.ssh("node1", ask))) and time.monotonic() < deadline:
        time.sleep(1)
    assert [each["attempts"][0]["completed"] for each in found] == [True]
    assert found[0]["name"] == "PythonPi"


def test_a_container_on_yarn_and_its_log(lab: Lab) -> None:
    said = lab.ssh("node3", "mapred sleep -m 2 -r 0 -mt 1000 2>&1")
    assert "completed successfully" in said
    (application,) = set(re.findall(r"application_\d+_\d+", said))
    fetch = f"yarn logs -applicationId {application}"
    log = lab.ssh("node2", f"for i in 1 2 3 4 5 6; do {fetch} && break; sleep 3; done 2>&1")
    assert "syslog" in log


@pytest.mark.parametrize(
    ("host", "unit"),
    [
        ("node2", "hdfs-datanode"),
        ("node2", "yarn-nodemanager"),
        ("node1", "hdfs-namenode"),
        ("node1", "yarn-resourcemanager"),
        ("node1", "spark-history"),
    ],
)
def test_a_killed_daemon_comes_back(lab: Lab, host: str, unit: str) -> None:
    kill_and_wait_for_another(lab, host, unit)


def test_a_rebooted_host_comes_back_and_a_lost_one_is_noticed(lab: Lab) -> None:
    lab.until_ready(90)  # after the daemons that were killed
    own = nspawn.Lab.of(lab.inventory)
    cgroups.kill(own.name, "node3")
    lost_at = time.monotonic()
    lab.cluster("lab", "ssh", "node2", "sudo", "systemctl", "reboot", check=False)
    assert lab.status()[0] == 1
    while True:
        nodes = lab.ssh("node1", "yarn node -list -all 2>/dev/null; hdfs dfsadmin -report -dead")
        if re.search(r"node3\S*\s+LOST", nodes) and re.search(r"Hostname: node3", nodes):
            break
        assert time.monotonic() - lost_at < 150, nodes
        time.sleep(2)
    took = time.monotonic() - lost_at
    print(f"node3 was called lost after {took:.0f} s")
    assert took > 30  # not at once: a reboot is no loss
    assert re.search(r"node2\S*\s+RUNNING", nodes)
    lab.cluster("lab", "up")
    lab.until_ready(120)


def test_down_leaves_nothing(lab: Lab) -> None:
    own = nspawn.Lab.of(lab.inventory)
    as_in_readme(lab, "lab down")
    assert not own.folder.exists()
    assert cgroups.processes(own.name) == set()
    left = {path.name for path in lab.inventory.iterdir()}
    assert left == {path.name for path in (ROOT / "inventory/lab-yarn").iterdir()} - {
        ".lab",
        "lab.yml",
    }


def test_each_command_of_the_readme_was_run() -> None:
    assert seen == IN_README
