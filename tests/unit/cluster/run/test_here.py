"""A driver on this machine: a real process, whose cluster is not there."""

import dataclasses
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import ClusterError
from cluster.run.code import Code
from cluster.run.edge import Status
from cluster.run.here import HereRun
from job.errors import UsageError
from job.host import host_facts
from job.model import SHIPPED
from job.spec import ClusterSpec

MODEL = SHIPPED / "yolact-shapes"
NOWHERE = "127.0.0.1:9"
BOUND_S = 60.0


class Edge:
    """Its settings for Hadoop, and the Spark that it has."""

    spark = "spark-core_2.12-3.5.5.jar"

    def receive(self, *_: object) -> Iterator[bytes]:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("core-site.xml"))
        yield packed.getvalue()

    def run(self, *_: object) -> Any:
        return SimpleNamespace(check=lambda: SimpleNamespace(stdout=f"{self.spark}\n"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HereRun:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    edge: Any = SimpleNamespace(name="node1", address="127.0.0.1")
    fleet: Any = Edge()
    return HereRun(fleet=fleet, edge=edge, id="photos-1")


def cluster() -> ClusterSpec:
    return ClusterSpec(
        master="yarn",
        hosts=(host_facts(),),
        executors=1,
        memory_mb=1024,
        environment="/opt/cluster/environments/0",
        address="192.0.2.1",
        user="jo",
        wait_s=5.0,
        namenode=NOWHERE,
        folder="/user/jo/.cluster/photos-1",
    )


def start(run: HereRun, model: Path) -> None:
    spec = {"mode": "yarn", "model": str(model), "input": str(SHIPPED / "images")}
    request = {
        "spec": {**spec, "output": f"{run.folder}/run"},
        "cluster": dataclasses.asdict(cluster()),
        "resume": False,
        "publish": "",
    }
    with run.made():
        run.start(request, "no python of ours", run.send_code(Code.here()))


def ended(run: HereRun) -> Status:
    deadline = time.monotonic() + BOUND_S
    while (status := run.status()).active:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return status


def test_a_driver_is_followed_to_its_end(run: HereRun, tmp_path: Path) -> None:
    start(run, tmp_path / "no model")
    status = ended(run)
    assert status.said["state"] == "failed"
    assert "no model" in status.said["error"]
    assert (Path(run.folder) / "hadoop" / "core-site.xml").exists()
    assert run.request()["cluster"]["user"] == "jo"
    run.remove()
    assert not Path(run.folder).exists()
    with pytest.raises(ClusterError, match="no run photos-1 on this machine"):
        run.request()


def test_a_driver_that_waits_is_interrupted(run: HereRun) -> None:
    start(run, MODEL)
    deadline = time.monotonic() + BOUND_S
    while "HDFS" not in str(run.status().said.get("steps")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert run.status().active
    run.interrupt()
    status = ended(run)
    assert status.said["state"] == "failed"
    assert "stopped by you" in status.said["error"]
    run.interrupt()  # of one that has ended: nothing


def test_the_driver_is_where_the_cluster_sees_this_machine(run: HereRun) -> None:
    inventory: Any = SimpleNamespace(group=lambda _: ())
    assert run.adapt(cluster(), inventory).address == "127.0.0.1"
    unknown: Any = SimpleNamespace(name="node1.invalid", address="192.0.2.11")
    inventory = SimpleNamespace(group=lambda _: (unknown,))
    with pytest.raises(UsageError, match=r"does not know node1\.invalid as 192\.0\.2\.11"):
        run.adapt(cluster(), inventory)


def test_another_spark_is_refused(run: HereRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Edge, "spark", "spark-core_2.12-3.4.1.jar")
    with pytest.raises(
        UsageError, match=r"has Spark 3\.5\.5, the cluster spark-core_2\.12-3\.4\.1"
    ):
        run.adapt(cluster(), SimpleNamespace(group=lambda _: ()))  # type: ignore[arg-type]
