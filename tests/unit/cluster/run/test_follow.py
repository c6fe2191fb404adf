"""A follower of a driver that is played; what it tells, when it stops, what it leaves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import ClusterError
from cluster.run import follow
from cluster.run.edge import Status
from cluster.run.follow import Follower
from cluster.ssh import SshError
from job.driver import Listener
from job.errors import JobError, UsageError

RECORD = {
    "schema_version": 1,
    "model": {"folder": "/data/m", "digest": "sha256:0"},
    "input": "/data/in",
    "started_at": 0.0,
    "phases": [],
}


@dataclass
class Driver:
    """Stands for the edge host: gives one status after the other."""

    statuses: Iterator[Any]
    unreachable: bool = False
    did: list[str] = field(default_factory=list)
    id = "photos-1"
    folder = "/data/runs/photos-1"
    unit = "cluster-run-photos-1"
    place = "node1"
    again = "cluster run --attach photos-1"
    end_it = "sudo systemctl kill cluster-run-photos-1"
    fleet = SimpleNamespace(fan_out=lambda hosts, function: {})

    def status(self) -> Status:
        found = next(self.statuses)
        if isinstance(found, Exception):
            raise found
        return Status(active=found.pop("active", True), said=found, log="its last words")

    def interrupt(self) -> None:
        self.did.append("interrupt")

    def fetch(self, target: Path) -> None:
        if self.unreachable:
            raise SshError("node1 cannot be reached.")
        target.mkdir(parents=True, exist_ok=True)
        (target / "run.json").write_text(json.dumps(RECORD))

    def remove(self) -> None:
        self.did.append("remove")


class Heard(Listener):
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.slow: list[str] = []

    def forming(self, hosts: Sequence[str], text: str) -> None:
        self.slow.append(f"{text} ({', '.join(hosts)})")

    def step(self, text: str) -> None:
        self.steps.append(text)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_S", 0.0)
    monkeypatch.setattr(follow, "AGAIN_S", 0.0)


def follower(tmp_path: Path, driver: Driver, publish: str = "") -> Follower:
    cluster: Mapping[str, Any] = {"archive": "", "spark_jars": "", "orca_jars": []}
    here = {"input": "photos", "model": "models/m", "output": str(tmp_path / "run")}
    hosts: Any = SimpleNamespace(
        inventory=SimpleNamespace(group=lambda _: ()), done=lambda _: {"node1": 1}
    )
    return Follower(
        run=driver,  # type: ignore[arg-type]
        request={"here": here, "cluster": cluster, "publish": publish},
        hosts=hosts,
        output=tmp_path / "run",
        listener=Heard(),
    )


def step(text: str) -> dict[str, Any]:
    return {"at": 0.0, "text": text}


def test_each_step_is_told_once_and_paths_are_those_of_this_machine(tmp_path: Path) -> None:
    first = {"steps": [step("a")]}
    then = {"steps": [step("a"), step("b")], "application": "app", "url": "http://x:1"}
    then |= {"progress": {"done": 1, "total": 2, "seconds": 1.0}}
    then |= {"forming": {"hosts": ["node1"], "text": "node1 is 2x slower"}}
    end = {**then, "state": "finished", "active": False}
    driver = Driver(iter([first, dict(first), SshError("lost."), then, end]))
    told = follower(tmp_path, driver)
    record = told.follow()
    assert isinstance(told.listener, Heard)
    assert [text for text in told.listener.steps if len(text) == 1] == ["a", "b"]
    assert "lost. Trying again" in told.listener.steps
    assert set(told.listener.slow) == {"node1 is 2x slower (node1)"}
    assert (record["input"], record["model"]["folder"]) == ("photos", "models/m")
    assert driver.did == ["remove"]


def test_an_error_names_the_folder_of_this_machine(tmp_path: Path) -> None:
    said = f"3 images are missing: see {Driver.folder}/run/spark.log"
    driver = Driver(iter([{"state": "failed", "error": said, "active": False}]))
    with pytest.raises(JobError, match=f"see {tmp_path}/run/spark.log"):
        follower(tmp_path, driver).follow()
    assert driver.did == ["remove"]


def test_a_request_that_cannot_be_met_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    said = {"state": "failed", "error": "input 'hdfs:///x' does not exist", "usage": True}
    driver = Driver(iter([{**said, "active": False}]), unreachable=True)
    with pytest.raises(UsageError, match="input 'hdfs:///x' does not exist"):
        follower(tmp_path, driver).follow()
    assert driver.did == ["remove"]
    assert not (tmp_path / "run").exists()


def test_results_that_cannot_be_brought_stay_where_they_are(tmp_path: Path) -> None:
    driver = Driver(iter([{"state": "finished", "active": False}]), unreachable=True)
    with pytest.raises(ClusterError, match="bring them here with `cluster run --attach photos-1`"):
        follower(tmp_path, driver).follow()
    assert driver.did == []


def test_what_was_to_go_to_hdfs_and_failed_stays_on_the_edge_host(tmp_path: Path) -> None:
    driver = Driver(iter([{"state": "failed", "error": "no room", "active": False}]))
    with pytest.raises(JobError, match=r"no room; .*--attach photos-1 --output FOLDER"):
        follower(tmp_path, driver, publish="/out").follow()
    assert driver.did == []


def test_a_driver_that_ends_without_a_word_is_quoted(tmp_path: Path) -> None:
    driver = Driver(iter([{"state": "running", "active": False}]))
    with pytest.raises(JobError, match="ended without a word \\(its last words\\)"):
        follower(tmp_path, driver).follow()
    assert driver.did == []


def test_a_spark_that_does_not_start_is_stopped_once(tmp_path: Path) -> None:
    waiting = {"steps": [step("Starting Spark")]}
    end = {"state": "failed", "error": "stopped", "active": False}
    driver = Driver(iter([waiting, dict(waiting), dict(waiting), end]))
    told = follower(tmp_path, driver)
    told.start_s = -1.0
    with pytest.raises(JobError, match="Spark did not start in -1 s"):
        told.follow()
    assert driver.did == ["interrupt", "remove"]


def test_a_lost_connection_is_given_up_and_the_run_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LOST_S", -1.0)
    driver = Driver(iter([SshError("node1 cannot be reached.")]))
    with pytest.raises(ClusterError, match="The run goes on: `cluster run --attach photos-1`"):
        follower(tmp_path, driver).follow()
    assert driver.did == []
