"""The environment on HDFS: sent once, readable by all, whole or not there."""

import json
import subprocess
import time
from typing import Any

import pytest

from cluster.env import store
from tests.scenarios.labs import COMMAND, OperatedLab, until

INVENTORY = "lab-yarn"
OLD = "environment-0000000000000001.tar.gz"
KILL_ALL = (
    "yarn application -list 2>/dev/null | grep -o '^application_[0-9_]*' |"
    " xargs yarn application -kill"
)


def push(lab: OperatedLab, *options: str) -> Any:
    done = lab.cluster("env", "push", "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def on_hdfs(lab: OperatedLab, path: str) -> list[Any]:
    url = f"http://node1:9870/webhdfs/v1{path}?op=LISTSTATUS"
    listed: list[Any] = lab.fetch(url)["FileStatuses"]["FileStatus"]
    return listed


@pytest.fixture(scope="module")
def pushed(lab: OperatedLab, deployed: Any) -> Any:
    """What the first push told, which another was killed before."""
    command = [COMMAND, "-i", str(lab.inventory), "env", "push", "--archive", "tar.gz"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as killed:
        assert killed.stderr
        next(line for line in killed.stderr if "Writing environment" in line)
        time.sleep(0.3)
        killed.kill()
    return push(lab)


def test_after_a_kill_the_push_makes_it_public(lab: OperatedLab, pushed: Any) -> None:
    names = {each["pathSuffix"]: each for each in on_hdfs(lab, store.FOLDER)}
    assert {name.partition("-")[0] for name in names} == {"environment", "spark", "bigdl"}
    assert any(store.current() in name for name in names)
    (jars,) = (name for name in names if name.startswith("bigdl"))
    files = on_hdfs(lab, f"{store.FOLDER}/{jars}") + list(names.values())
    for each in files:
        is_file = each["type"] == "FILE"
        assert each["permission"] == ("644" if is_file else "755")
        # A copy for each host's NodeManager, and of jars, which are seldom read, two.
        copies = 3 if each["pathSuffix"].startswith("environment") else 2
        assert each["replication"] == (copies if is_file else 0)
    above = on_hdfs(lab, "/") + on_hdfs(lab, "/apps")
    modes = {each["pathSuffix"]: each["permission"] for each in above}
    assert (modes["apps"], modes["envs"]) == ("755", "755")
    lab.run("node1", f"/opt/cluster/environments/{store.current()}/bin/python -c 'import httpx'")


def test_the_archives_are_what_yarn_unpacks(lab: OperatedLab, pushed: Any) -> None:
    names = [each["pathSuffix"] for each in on_hdfs(lab, store.FOLDER)]
    (archive,) = (name for name in names if name.startswith("environment"))
    (spark,) = (name for name in names if name.startswith("spark"))
    listed = lab.run(
        "node1",
        f"cd /tmp && hdfs dfs -get {store.FOLDER}/{archive} a && tar -tf a ./bin/python"
        f" || tar -tf a bin/python && hdfs dfs -get {store.FOLDER}/{spark} s &&"
        " python3 -m zipfile -l s | tail -n +2 | wc -l && ls /opt/spark/jars/*.jar | wc -l; rm a s",
    )
    python, inside, jars = listed.split()
    assert python.endswith("bin/python")
    assert inside == jars


def test_a_second_push_does_nothing(lab: OperatedLab, pushed: Any) -> None:
    done = lab.cluster("env", "push")
    assert done.stdout.startswith("Nothing to do")


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        ("-safemode enter", "-safemode leave", "HDFS is in safe mode"),
        ("-setSpaceQuota 100m", "-clrSpaceQuota", "The quota of HDFS is used up"),
    ],
)
def test_an_hdfs_that_takes_nothing_is_one_sentence(
    lab: OperatedLab, pushed: Any, wrong: str, right: str, sentence: str
) -> None:
    quota = f" {store.FOLDER}" if "Quota" in wrong else ""
    names = [each["pathSuffix"] for each in on_hdfs(lab, store.FOLDER)]
    (spark,) = (name for name in names if name.startswith("spark"))
    lab.run("node1", f"hdfs dfs -rm -skipTrash {store.FOLDER}/{spark}")
    lab.run("node1", f"sudo -u hdfs hdfs dfsadmin {wrong}{quota}")
    try:
        done = lab.cluster("env", "push")
    finally:
        lab.run("node1", f"sudo -u hdfs hdfs dfsadmin {right}{quota}")
    assert done.returncode == 1
    assert sentence in done.stderr.strip().splitlines()[-1]
    assert {each["pathSuffix"] for each in on_hdfs(lab, store.FOLDER)} == set(names) - {spark}
    # Only what is missing is made again.
    assert push(lab)["hdfs"] == [spark]


def warm(lab: OperatedLab) -> Any:
    done = lab.cluster("env", "warm", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_killed_warm_up_goes_on_and_the_next_follows_it(lab: OperatedLab, pushed: Any) -> None:
    for host in ("node1", "node2", "node3"):
        lab.run(host, "sudo sh -c 'rm -rf /data/yarn/local/filecache/*'")
    command = [COMMAND, "-i", str(lab.inventory), "env", "warm"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as killed:
        assert killed.stderr
        next(line for line in killed.stderr if "Starting Spark" in line)
        killed.kill()
    told = warm(lab)
    assert not told["was_warm"]
    assert [each["host"] for each in told["hosts"]] == ["node1", "node2", "node3"]
    for each in told["hosts"]:
        assert any(store.current() in name for name in each["localised"])
        assert not each["check"]["failure"]


def test_a_second_warm_up_finds_all_there(lab: OperatedLab, pushed: Any) -> None:
    assert warm(lab)["was_warm"]


def test_verify_names_a_file_with_a_changed_byte(lab: OperatedLab, pushed: Any) -> None:
    name = "lib/python3.11/site-packages/numpy/version.pyc"
    entry = lab.run("node2", f"ls -d /data/yarn/local/filecache/*/{store.TAG}*").strip()
    lab.run("node2", f"printf X | sudo dd of={entry}/{name} bs=1 seek=9 conv=notrunc status=none")
    done = lab.cluster("env", "verify")
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert f"node2: {entry} is damaged: {name} (another content)" in said
    assert "node1" not in said
    # As it says: YARN misses the folder at the next start and fetches the archive again.
    (todo,) = (part for part in said.split("`") if part.startswith("sudo rm -r /data/yarn"))
    lab.run("node2", todo)
    localised = {each["host"]: each["localised"] for each in warm(lab)["hosts"]}
    assert [host for host, files in localised.items() if files] == ["node2"]
    done = lab.cluster("env", "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as built") == 4  # the edge host's, and YARN's on three


def test_hosts_in_use_are_not_waited_for(lab: OperatedLab, pushed: Any) -> None:
    lab.run(
        "node1",
        "printf 'import time; from pyspark import SparkContext; SparkContext();"
        " time.sleep(300)' >sleep.py",
    )
    # Small enough for one on each host, also beside the application master.
    settings = (
        "spark.yarn.executor.resource.executor-slot.amount=1",
        *("spark.executor.instances=3", "spark.executor.memory=512m"),
        *("spark.yarn.am.memory=256m", "spark.yarn.am.memoryOverhead=256m"),
    )
    given = " ".join(f"--conf {setting}" for setting in settings)
    submit = f"spark-submit --master yarn {given} sleep.py"
    lab.run("node1", f"setsid {submit} </dev/null >/dev/null 2>&1 &")
    nodes = "http://node1:8088/ws/v1/cluster/nodes"

    def waits_for() -> str:
        containers = sum(each["numContainers"] for each in lab.fetch(nodes)["nodes"]["node"])
        return "" if containers == 4 else "three executors and the application master"

    until(waits_for)
    done = lab.cluster("env", "warm")
    lab.run("node1", KILL_ALL)
    assert done.returncode == 1
    assert "No host of YARN has room for an executor: in use by application_" in done.stderr


def test_gc_drops_what_no_run_used_nor_uses(lab: OperatedLab, pushed: Any) -> None:
    used = OLD.replace("1.tar", "2.tar")
    tag = used.removesuffix(".tar.gz")
    lab.run(
        "node1",
        f"cd /tmp && echo old >old && for name in {OLD} {used}; do"
        f" hdfs dfs -put old {store.FOLDER}/$name &&"
        f" hdfs dfs -touch -t 20200101:000000 {store.FOLDER}/$name; done",
    )
    names = [each["pathSuffix"] for each in on_hdfs(lab, store.FOLDER)]
    (spark,) = (name for name in names if name.startswith("spark"))
    submit = (
        f"spark-submit --master yarn --num-executors 1 --conf spark.yarn.tags={tag}"
        f" --conf spark.yarn.archive=hdfs://{store.FOLDER}/{spark}"
        " /opt/spark/examples/src/main/python/pi.py 5000"
    )
    lab.run("node1", f"setsid {submit} </dev/null >/dev/null 2>&1 &")

    def waits_for() -> str:
        told = json.dumps(lab.fetch("http://node1:8088/ws/v1/cluster/apps"))
        return "" if tag in told else "the application"

    until(waits_for)
    done = lab.cluster("env", "gc", "--format", "json")
    lab.run("node1", KILL_ALL)
    assert done.returncode == 0, done.stderr
    judged = [each for each in json.loads(done.stdout)["judged"] if each["where"] == "HDFS"]
    said = {each["name"].rpartition("/")[2]: each for each in judged}
    assert [name for name, each in said.items() if each["dropped"]] == [OLD]
    assert "uses it" in said[used]["why"]
    left = {each["pathSuffix"] for each in on_hdfs(lab, store.FOLDER)}
    assert left == set(said) - {OLD}
