"""The environment on Spark's own workers: sent once, fetched by each of them from the edge host."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from cluster.env import store
from tests.scenarios.labs import COMMAND, OperatedLab

INVENTORY = "lab-standalone"
HOSTS = {"node1", "node2", "node3"}
IMPORTS = "import cv2, numpy, openvino, pyarrow, pyspark, httpx, bigdl.orca"


def push(lab: OperatedLab) -> Any:
    done = lab.cluster("env", "push", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pushed(lab: OperatedLab, deployed: Any) -> Any:
    """What the first push told, which another was killed before."""
    command = [COMMAND, "-i", str(lab.inventory), "env", "push"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as killed:
        assert killed.stderr
        for line in killed.stderr:
            print(line, end="", file=sys.stderr)
            if "node2: Fetching" in line:
                break
        time.sleep(0.3)
        killed.kill()
    return push(lab)


def test_after_a_kill_the_push_brings_it_to_all(lab: OperatedLab, pushed: Any) -> None:
    digest = store.current()
    assert pushed["hdfs"] == []
    for host in HOSTS:
        python = f"/opt/cluster/environments/{digest}/bin/python"
        lab.run(host, f"{python} -I -c '{IMPORTS}'")
        jars = lab.run(host, "ls /opt/cluster/jars/bigdl-*").split()
        assert len(jars) == 3 and all(jar.endswith(".jar") for jar in jars)
        listed = lab.run(
            host, "sudo find /opt/cluster -name '.part-*'; stat -c %U:%a /opt/cluster/*"
        )
        assert set(listed.split()) == {"root:755"}
    # The edge host had it from the killed one, or has it now.
    assert set(pushed["hosts"]) | {"node1"} == HOSTS


def test_a_second_push_does_nothing(lab: OperatedLab, pushed: Any) -> None:
    done = lab.cluster("env", "push")
    assert done.stdout.startswith("Nothing to do")
    assert push(lab)["sent_bytes"] == 0


def test_without_yarn_there_is_nothing_to_warm(lab: OperatedLab, pushed: Any) -> None:
    done = lab.cluster("env", "warm")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing to do: without YARN")


def test_verify_names_a_file_with_a_changed_byte(lab: OperatedLab, pushed: Any) -> None:
    done = lab.cluster("env", "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as built") == len(HOSTS)
    folder = f"/opt/cluster/environments/{store.current()}"
    name = "lib/python3.11/site-packages/numpy/version.pyc"
    change = f"sudo dd of={folder}/{name} bs=1 seek=9 conv=notrunc status=none"
    lab.run("node2", f"printf X | {change}")
    done = lab.cluster("env", "verify")
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert f"node2: {folder} is damaged: {name} (another content)" in said
    assert f"`sudo rm -r {folder}` there, then `cluster env push`" in said
    lab.run("node2", f"sudo rm -r {folder}")
    assert set(push(lab)["hosts"]) == {"node2"}
    assert lab.cluster("env", "verify").returncode == 0


def test_gc_drops_what_was_not_used_and_nothing_else(lab: OperatedLab, pushed: Any) -> None:
    folder = "/opt/cluster/environments"
    for name in ("0000000000000001", "0000000000000002"):
        old = f"{folder}/{name}"
        lab.run(
            "node2",
            f"sudo mkdir -p {old}/bin && sudo cp -L /usr/bin/sleep {old}/bin/ && echo none |"
            f" sudo tee {old}/.bigdl && sudo touch -d '3 months ago' {old}/.used",
        )
    lab.run("node2", f"setsid {folder}/0000000000000002/bin/sleep 300 </dev/null >/dev/null 2>&1 &")
    done = lab.cluster("env", "gc", "--format", "json")
    assert done.returncode == 0, done.stderr
    judged = [each for each in json.loads(done.stdout)["judged"] if each["where"] == "node2"]
    said = {each["name"].rpartition("/")[2]: each for each in judged}
    assert said["0000000000000001"]["dropped"]
    assert "runs it" in said["0000000000000002"]["why"]
    assert said[store.current()]["why"] == "the present one"
    assert set(lab.run("node2", f"ls {folder}").split()) == {"0000000000000002", store.current()}
