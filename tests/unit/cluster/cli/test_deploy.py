"""How `cluster deploy` shows a playbook's progress, and what it refuses before it begins."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from cluster.cli.deploy import Progress
from cluster.playbooks import Task, TaskResult
from tests.unit.cluster.cli.conftest import ROOT, Cluster

WRITE = Task(step="hadoop", name="Write the configuration")
ELSEWHERE = Task(step="spark_master", name="Write the unit")
START = Task(step="hdfs_datanode", name="Start the DataNode")


def result(task: Task, host: str, outcome: str, message: str = "") -> TaskResult:
    return TaskResult(task=task, host=host, outcome=outcome, seconds=0.1, message=message)


def drawn(progress: Progress) -> list[list[str]]:
    """The table's rows, a cell each, without the seconds."""
    columns = [[str(cell) for cell in column.cells] for column in progress.table().columns]
    return [list(row) for row in zip(*columns[:-1], strict=True)]


def test_the_table_shows_each_role_on_each_host() -> None:
    progress = Progress(["node1", "node2", "node3"], Console(file=io.StringIO()))
    progress.task_started(WRITE)
    for host in ("node1", "node2", "node3"):
        progress.host_started(WRITE, host)
    progress.result(result(WRITE, "node1", "changed"))
    progress.result(result(WRITE, "node2", "ok"))
    assert drawn(progress) == [["hadoop", "1 changed", "ok", "running"]]
    progress.result(result(WRITE, "node3", "failed", "no space left"))
    progress.task_started(START)
    progress.host_started(START, "node1")
    progress.result(result(START, "node2", "skipped"))
    progress.task_started(ELSEWHERE)
    progress.result(result(ELSEWHERE, "node1", "skipped"))
    progress.task_started(START)
    progress.host_started(START, "node1")
    assert drawn(progress) == [
        ["hadoop", "1 changed", "ok", "failed"],
        ["hdfs_datanode", "running", "-", "-"],
    ]


def test_many_hosts_share_a_column() -> None:
    hosts = [f"node{number}" for number in range(20)]
    progress = Progress(hosts, Console(file=io.StringIO()))
    progress.task_started(WRITE)
    for host in hosts[:3]:
        progress.result(result(WRITE, host, "changed"))
    progress.result(result(WRITE, hosts[3], "failed", "no space left"))
    progress.host_started(WRITE, hosts[4])
    assert drawn(progress) == [["hadoop", "3 changed, 1 failed, 1 running"]]


def test_without_a_terminal_changes_and_failures_are_lines() -> None:
    out = io.StringIO()
    with Progress(["node1", "node2"], Console(file=out, width=40)) as progress:
        progress.task_started(WRITE)
        progress.result(result(WRITE, "node1", "changed"))
        progress.result(result(WRITE, "node2", "failed", "no [space] left"))
    said = [line.split(" s  ", 1)[1] for line in out.getvalue().splitlines()]
    assert said == [
        "hadoop ...",
        "node1 changed  hadoop : Write the configuration",
        "node2 failed  hadoop : Write the configuration: no [space] left",
    ]


def test_a_wrong_inventory_is_refused_before_any_host_is_asked(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "hosts.yml"
    path.write_text(
        "all: {hosts: {node1: {ansible_host: 192.0.2.1, hadoop_replicaton: 2}},"
        " children: {edge: {hosts: {node1: }}}}",
        encoding="utf-8",
    )
    done = cluster("-i", path, "deploy")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and "hadoop_replicaton" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_lab_that_is_not_up_and_a_tag_that_is_none_are_refused_at_once(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = shutil.copytree(
        ROOT / "inventory" / "lab-yarn",
        tmp_path / "lab",
        ignore=shutil.ignore_patterns(".lab", "lab.yml"),
    )
    done = cluster("-i", path, "deploy")
    assert done.returncode == 1
    assert done.stderr == f"Error: The lab of {path} is not up: `cluster -i {path} lab up`.\n"
    (path / "lab.yml").write_text("all: {vars: {ansible_user: me}}\n", encoding="utf-8")
    done = cluster("-i", path, "deploy", "--tags", "hdfs,nosuch")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: No role has the tag hdfs: there are base, ")
    assert "hdfs_namenode" in done.stderr
    assert not (tmp_path / "state").exists()
