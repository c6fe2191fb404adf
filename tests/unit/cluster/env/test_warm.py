"""Which hosts can be warmed now, and what is said of the others."""

from pathlib import Path
from typing import Any

import pytest

from cluster.clients.yarn import Application, NodeManager, ResourceManager
from cluster.env.verify import LOCALISED, PUSHED, Copy
from cluster.env.warm import _busy, _down, _Follower, _trouble
from cluster.inventory import Inventory
from cluster.run.edge import Status
from job.driver import Listener
from job.errors import JobError

UNHEALTHY = (
    "1/1 local-dirs usable space is below configured utilization percentage/no more usable space"
    " [ /data/yarn/local : free space below limit of 512MB ] "
)


def node(host: str, **fields: Any) -> NodeManager:
    values: dict[str, Any] = {
        "state": "RUNNING",
        "health": "",
        "version": "3.5.0",
        "containers": 0,
        "memory_mb": 3072,
        "used_memory_mb": 0,
        "vcores": 3,
        "used_vcores": 0,
        "slots": 1,
    }
    return NodeManager(host=host, **{**values, **fields})


def manager(*nodes: NodeManager) -> ResourceManager:
    running = Application(
        id="application_1_0001", name="a run", user="u", queue="default", state="RUNNING"
    )
    return ResourceManager(
        version="3.5.0",
        state="STARTED",
        started_at=0,
        memory_mb=0,
        used_memory_mb=0,
        vcores=0,
        used_vcores=0,
        nodes=nodes,
        applications=(running,),
    )


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "hosts.yml"
    path.write_text(
        "all: {children: {yarn_nodemanager: {hosts: {n1: , n2: , n3: , n4: }}}}", encoding="utf-8"
    )
    return Inventory.load(path)


def test_hosts_in_use_are_those_without_a_slot_or_without_memory() -> None:
    found = _busy(
        manager(
            node("n1"),
            node("n2", used_slots=1),
            node("n3", used_memory_mb=2560),
            node("n4", used_slots=1, state="LOST"),
            node("n5", slots=0, used_memory_mb=512),
            node("small", memory_mb=512),
        )
    )
    assert set(found) == {"n2", "n3"}
    assert found["n2"] == "in use by application_1_0001 (a run)"


def test_hosts_that_are_down_say_why(inventory: Inventory) -> None:
    found = _down(
        manager(
            node("n1", state="UNHEALTHY", health=UNHEALTHY),
            node("n2", state="LOST"),
            node("n3", state="LOST"),
            node("n3"),
        ),
        inventory,
    )
    assert found == {
        "n1": "YARN gives it nothing, for /data/yarn/local has less than 512MB free: make room"
        " there",
        "n2": "YARN calls it LOST",
        "n4": "YARN does not know it: see `cluster status`",
    }


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ({"executor_s": 3.0, "check": {"failure": ""}, "trouble": ""}, ""),
        ({"executor_s": 3.0, "check": {"failure": "no numpy"}}, "no numpy; `cluster env verify`"),
        ({"trouble": "the disk is full"}, "it has no executor: the disk is full"),
        ({"executor_s": 3.0, "trouble": ""}, "its executor was lost before"),
        ({}, "no executor came in 900 s"),
    ],
)
def test_why_a_host_is_not_warm(said: dict[str, Any], trouble: str) -> None:
    found = _trouble(said)
    assert found.startswith(trouble) if trouble else found == ""


class StuckRun:
    """Of which nothing is heard until it is interrupted."""

    id, folder, place = "warm-1", "/data/runs/warm-1", "node1"
    interrupted = 0

    def interrupt(self) -> None:
        self.interrupted += 1

    def status(self) -> Status:
        said = {
            "state": "failed" if self.interrupted else "running",
            "error": "stopped",
            "steps": [{"at": 0.0, "text": "Starting Spark, whose application master comes first"}],
        }
        return Status(active=not self.interrupted, said=said, log="")


def test_an_application_that_does_not_start_is_given_up() -> None:
    run: Any = StuckRun()
    nothing: Any = None
    follower = _Follower(
        run=run,
        request={},
        hosts=nothing,
        output=Path(),
        listener=Listener(),
        start_s=1.5,
        tell_=lambda *_: None,
    )
    with pytest.raises(JobError, match=r"^node1: Spark did not start in 2 s: `cluster status`"):
        follower.follow()
    assert run.interrupted == 1


def test_a_damaged_copy_says_what_to_do() -> None:
    files = {f"lib/{number}.py": "another content" for number in range(5)}
    entry = "/data/yarn/local/filecache/10"
    of_yarn = Copy(host="n1", kind=LOCALISED, folder=f"{entry}/environment-1.tar", damaged=files)
    pushed = Copy(host="n1", kind=PUSHED, folder="/opt/cluster/environments/1", damaged=files)
    assert "lib/2.py (another content) and 2 more" in of_yarn.sentence
    assert f"`sudo rm -r {entry}` there, then `cluster env warm`" in of_yarn.sentence
    assert "`sudo rm -r /opt/cluster/environments/1` there, then `cluster env push`" in (
        pushed.sentence
    )
    assert not of_yarn.sound
    assert Copy(host="n1", kind=PUSHED, damaged={}).sound
    assert not Copy(host="n1", kind=PUSHED, damaged={}, trouble="no numpy").sound
