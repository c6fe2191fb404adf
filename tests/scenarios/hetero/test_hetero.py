"""inventory/lab-hetero: each host offers what its hardware class says, and is as slow as that."""

from collections import Counter
from pathlib import Path
from typing import Any

from cluster.checks import probes
from tests.scenarios.labs import OperatedLab
from tests.scenarios.running import Running, assert_complete, many, run_json, timings

INVENTORY = "lab-hetero"
# So many that the slowest host's last task, a tenth of the run, is no matter of luck.
IMAGES = 900


def test_node_managers_offer_what_their_class_says(lab: OperatedLab, deployed: Any) -> None:
    nodes = lab.fetch("http://fast1:8088/ws/v1/cluster/nodes")["nodes"]["node"]
    states = {node["nodeHostName"]: node["state"] for node in nodes}
    assert states == dict.fromkeys(("fast1", "medium1", "slow1"), "RUNNING")
    offers = {node["nodeHostName"]: node["totalResource"] for node in nodes}
    vcores = {host: offer["vCores"] for host, offer in offers.items()}
    assert vcores == {"fast1": 5, "medium1": 3, "slow1": 2}  # four a CPU, one for the master
    memory = {host: offer["memory"] for host, offer in offers.items()}
    assert memory["medium1"] == memory["slow1"]
    assert 2048 <= memory["slow1"] < 4096  # of 4096 MB
    assert 1024 <= memory["fast1"] < memory["slow1"]  # it has the masters, too


def test_a_quarter_of_a_core_is_about_a_quarter_as_fast(lab: OperatedLab, deployed: Any) -> None:
    done = lab.cluster("doctor", "--check", "cpu-speed")
    assert done.returncode == 0, done.stdout
    kept = probes.load(lab.inventory)
    speed = {host: kept[host]["cpu-speed"]["all"]["units_per_s"] for host in kept}
    print(speed)
    # The daemons of a host take their share of its quota, too; 0.27 and 0.58 were measured.
    assert 0.15 < speed["slow1"] / speed["fast1"] < 0.35
    assert 0.35 < speed["medium1"] / speed["fast1"] < 0.65


def test_a_run_gives_each_host_what_it_can_do(
    lab: OperatedLab, pushed: Any, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    photos = many(tmp_path / "photos", IMAGES)
    running = Running(lab, ["--mode", "yarn", "--input", str(photos), "--output", str(output)])
    assert running.end() == 0
    assert_complete(output, IMAGES)
    run = run_json(output)
    quota = {host["host"]: host["cpus_quota"] for host in run["hosts"]}
    assert quota == {"fast1": 1.0, "medium1": 0.5, "slow1": 0.25}
    assert any("14% of their speed" in reason for reason in run["plan"]["reasons"])
    done = Counter(row["host"] for row in timings(output))
    print(done)
    assert done["fast1"] > done["medium1"] > done["slow1"] > 0
    # They end together: the slowest is not waited for.
    ended = {}
    for row in timings(output):
        at = row["started_at"] + row["total_ms"] / 1000
        ended[row["host"]] = max(ended.get(row["host"], 0.0), at)
    print(ended)
    began = min(row["started_at"] for row in timings(output))
    assert max(ended.values()) - min(ended.values()) < 0.3 * (max(ended.values()) - began)
