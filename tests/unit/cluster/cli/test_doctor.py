"""The command as a user gives it, against a real sshd on the loopback interface."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.unit.cluster.conftest import Server, free_port, reachable

Cluster = Callable[..., "subprocess.CompletedProcess[str]"]


def written(folder: Path, server: Server, **variables: object) -> Path:
    made = reachable(server, folder, "node1", **variables)
    hosts = {host.name: dict(host.variables) for host in made.hosts}
    file = folder / "hosts.yml"
    file.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    return file


def test_the_checks_are_listed_without_a_host(cluster: Cluster, tmp_path: Path) -> None:
    listed = cluster("-i", tmp_path / "none", "doctor", "--list", "--quick", "--format", "json")
    assert listed.returncode == 0
    names = [check["name"] for check in json.loads(listed.stdout)["checks"]]
    assert "clock" in names
    assert "cpu-speed" not in names
    assert "cpu-speed" in cluster("doctor", "--list").stdout


def test_an_unknown_check_is_wrong_usage(cluster: Cluster) -> None:
    done = cluster("doctor", "--check", "clocks")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: There is no check clocks: `cluster doctor --list` names those there are.\n"
    )


def test_warnings_do_not_fail_and_problems_do(
    cluster: Cluster, server: Server, tmp_path: Path
) -> None:
    # sshd runs on this machine, of which the inventory says that it has 1 MiB.
    good = cluster("-i", written(tmp_path, server), "doctor", "--check", "memory")
    assert good.returncode == 0, good.stdout + good.stderr
    small = written(tmp_path, server, lab_memory_mb=1, hadoop_yarn_memory_mb=2)
    text = small.read_text(encoding="utf-8")
    small.write_text(
        text + "  children: {yarn_nodemanager: {hosts: {node1: }}}\n", encoding="utf-8"
    )
    done = cluster("-i", small, "doctor", "--check", "memory")
    assert done.returncode == 1
    assert "NodeManager offers 2 = 2 MiB of its 1 MiB" in done.stdout
    assert "Lower hadoop_yarn_memory_mb" in done.stdout


def test_a_host_that_is_off_is_a_problem_in_json(
    cluster: Cluster, server: Server, tmp_path: Path
) -> None:
    off = written(tmp_path, server, ansible_port=free_port())
    done = cluster("-i", off, "doctor", "--format", "json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["failed"]
    assert said["fixed"] == []
    states = {check["name"]: check["state"] for check in said["checks"]}
    assert states.pop("ssh") == "problem"
    assert set(states.values()) == {"unknown"}
    (finding,) = said["checks"][0]["findings"]
    assert finding["host"] == "node1"
    assert said["facts"]["node1"]["error"] == finding["what"]
    assert not (tmp_path / ".probes.json").exists()


def test_where_no_host_can_be_asked_one_sentence_says_so(
    cluster: Cluster, server: Server, tmp_path: Path
) -> None:
    off = written(tmp_path, server, ansible_port=free_port())
    done = cluster("-i", off, "doctor", "--check", "memory")
    assert (done.returncode, done.stdout) == (1, "")
    asking, error = done.stderr.splitlines()
    assert asking == "Asking 1 host"
    assert error.startswith("Error: node1 (127.0.0.1 port ")
    inventory = yaml.safe_load(off.read_text(encoding="utf-8"))
    inventory["all"]["hosts"]["node2"] = inventory["all"]["hosts"]["node1"]
    off.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    done = cluster("-i", off, "doctor", "--fix")
    assert (done.returncode, done.stdout) == (1, "")
    _, error = done.stderr.splitlines()
    assert error.startswith(f"Error: None of the 2 hosts of {off} can be asked: node1 (127.0.0.1 ")
    assert error.endswith("see that it is up, and that ansible_host and ansible_port are right.")


def test_the_hosts_of_a_lab_that_is_not_up_are_not_asked(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("all: {hosts: {node1: {lab_memory_mb: 1024}}}\n", encoding="utf-8")
    done = cluster("-i", path, "doctor")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: The lab of {path} is not up: `cluster -i {path} lab up`.\n"
