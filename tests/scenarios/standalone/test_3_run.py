"""``cluster run --mode standalone``: results, and a worker that is lost on the way."""

from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.labs import OperatedLab
from tests.scenarios.running import (
    SAMPLES,
    Machine,
    Running,
    assert_complete,
    assert_same,
    many,
    run_json,
    timings,
)

INVENTORY = "lab-standalone"
HOSTS = ["node1", "node2", "node3"]
IMAGES = 1200


def start(lab: OperatedLab, source: Path, output: Path, *more: str) -> Running:
    arguments = ["--mode", "standalone", "--input", str(source), "--output", str(output), *more]
    return Running(lab, arguments)


@pytest.mark.parametrize("engine", ["native", "orca"])
def test_every_host_works_and_finds_what_local_mode_finds(
    lab: OperatedLab, pushed: Any, local: Path, tmp_path: Path, engine: str
) -> None:
    output = tmp_path / "run"
    assert start(lab, SAMPLES, output, "--engine", engine).end() == 0
    assert_same(output, local)
    run = run_json(output)
    assert run["status"] == "finished"
    assert [host["host"] for host in run["hosts"]] == HOSTS
    assert {row["host"] for row in timings(output)} == set(HOSTS)
    assert len({(row["host"], row["executor_id"]) for row in timings(output)}) == len(HOSTS)


def test_a_host_to_be_avoided_has_no_work(
    lab: OperatedLab, pushed: Any, local: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    options = ["--avoid", "node2", "--plan-from", str(local)]
    assert start(lab, SAMPLES, output, *options).end() == 0
    assert_same(output, local)
    assert {row["host"] for row in timings(output)} == {"node1", "node3"}
    kept = run_json(output)["options"]
    assert kept["avoid"] == ["node2"]
    assert all(speed > 0 for speed in kept["speeds"].values()) and kept["speeds"]


def test_a_lost_machine_costs_no_result(lab: OperatedLab, pushed: Any, tmp_path: Path) -> None:
    output = tmp_path / "run"
    running = start(lab, many(tmp_path / "photos", IMAGES), output)
    running.until_done(20)
    Machine(lab, "node2").kill_executor()
    Machine(lab, "node3").power_off()
    assert running.end() == 0
    assert_complete(output, IMAGES)
    assert lab.cluster("lab", "up").returncode == 0
    lab.until_ready()
    assert lab.run("node1", "ls /data/runs") == ""


def test_more_workers_than_there_are_is_one_sentence(
    lab: OperatedLab, pushed: Any, tmp_path: Path
) -> None:
    running = start(lab, SAMPLES, tmp_path / "run", "--executors", "4")
    assert running.end() == 2
    assert "--executors 4: 3 of 3 workers" in running.said[-1]
    assert not (tmp_path / "run").exists()


def test_a_master_that_is_down_is_one_sentence(
    lab: OperatedLab, pushed: Any, tmp_path: Path
) -> None:
    lab.run("node1", "sudo systemctl stop spark-master")
    running = start(lab, SAMPLES, tmp_path / "run")
    assert running.end() == 1
    assert "does not answer" in running.said[-1] and "`cluster status`" in running.said[-1]
    assert not (tmp_path / "run").exists()
