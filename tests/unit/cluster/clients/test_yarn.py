import json
from typing import Any

import httpx
import pytest

from cluster.clients.rest import NoAnswerError, UnknownAnswerError
from cluster.clients.yarn import (
    Application,
    Queue,
    application,
    kill,
    resource_manager,
    scheduler,
)
from tests.unit.cluster.clients.conftest import client, recorded


def answers(**other: str) -> dict[str, object]:
    names = {"nodes": "nodes", "apps": "apps", "info": "info", "metrics": "metrics", **other}
    return {
        f"/ws/v1/cluster/{path}": recorded(f"resourcemanager-{name}")
        for path, name in names.items()
    }


def test_a_resource_manager_at_work() -> None:
    with client(answers()) as daemon:
        found = resource_manager(daemon)
    assert (found.version, found.state) == ("3.5.0", "STARTED")
    assert found.started_at == pytest.approx(1_795_543_410, abs=1)
    assert (found.memory_mb, found.vcores) == (7168, 9)
    assert 0 < found.used_memory_mb <= found.memory_mb and 0 < found.used_vcores <= found.vcores
    assert found.applications == (
        Application(
            id="application_1795543410387_0001",
            name="PythonPi",
            user="cluster",
            queue="root.default",
            state="RUNNING",
        ),
    )
    offered = {node.host: (node.state, node.memory_mb, node.vcores) for node in found.nodes}
    assert offered == {
        "node1": ("RUNNING", 1536, 3),
        "node2": ("RUNNING", 2816, 3),
        "node3": ("RUNNING", 2816, 3),
    }
    assert all(node.version == "3.5.0" and node.used_vcores == 0 for node in found.nodes)


def test_tags_of_an_application() -> None:
    said: dict[str, Any] = answers()
    (running,) = said["/ws/v1/cluster/apps"]["apps"]["app"]
    running["applicationTags"] = "environment-0123,cluster-run-x"
    with client(said) as daemon:
        (application,) = resource_manager(daemon).applications
    assert application.tags == ("environment-0123", "cluster-run-x")


def test_a_lost_node() -> None:
    with client(answers(nodes="nodes-lost")) as daemon:
        states = {node.host: node.state for node in resource_manager(daemon).nodes}
    assert states == {"node1": "RUNNING", "node2": "RUNNING", "node3": "LOST"}


@pytest.mark.parametrize("nothing", [{}, None])
def test_no_applications_and_no_nodes(nothing: object) -> None:
    said = answers(apps="no-apps")
    said["/ws/v1/cluster/nodes"] = {"nodes": nothing}
    with client(said) as daemon:
        found = resource_manager(daemon)
    assert (found.nodes, found.applications) == ((), ())


def test_another_answer_is_refused() -> None:
    said = answers()
    said["/ws/v1/cluster/apps"] = {}
    with client(said) as daemon, pytest.raises(UnknownAnswerError, match="/apps: apps is missing"):
        resource_manager(daemon)


def test_slots_of_nodes() -> None:
    with client(answers(nodes="nodes-slots")) as daemon:
        nodes = resource_manager(daemon).nodes
    assert [(node.slots, node.used_slots, node.containers) for node in nodes] == [
        *((1, 1, 1), (1, 1, 2), (1, 1, 1)),
    ]


@pytest.mark.parametrize("nodes", ["nodes", "nodes-lost"])
def test_no_slots_where_the_type_is_not_known(nodes: str) -> None:
    with client(answers(nodes=nodes)) as daemon:
        found = resource_manager(daemon).nodes
    assert {(node.slots, node.used_slots) for node in found} == {(0, 0)}


def test_the_scheduler_and_its_queues() -> None:
    said = recorded("resourcemanager-scheduler")
    with client({"/ws/v1/cluster/scheduler": said}) as daemon:
        found = scheduler(daemon)
    assert (found.maximum_memory_mb, found.maximum_vcores) == (1_048_576, 4096)
    default = Queue(
        name="default",
        path="root.default",
        state="RUNNING",
        capacity=1,
        maximum_capacity=1,
        master_share=0.5,
    )
    assert found.queues == (default,)

    # Below a parent, and stopped.
    root = said["scheduler"]["schedulerInfo"]
    leaf = {**root["queues"]["queue"][0], "state": "STOPPED", "queuePath": "root.team.default"}
    root["queues"] = {"queue": [{"queueName": "team", "queues": {"queue": [leaf]}}]}
    with client({"/ws/v1/cluster/scheduler": said}) as daemon:
        (queue,) = scheduler(daemon).queues
    assert (queue.path, queue.state) == ("root.team.default", "STOPPED")


def test_an_application_from_accepted_to_killed() -> None:
    found = []
    for name in ("accepted", "running", "killed"):
        said = recorded(f"resourcemanager-app-{name}")
        with client({f"/ws/v1/cluster/apps/{name}": said}) as daemon:
            found.append(application(daemon, name))
    accepted, running, killed = found
    assert {each.tags for each in found} == {("cluster-run", "run-7f3a")}
    assert [each.state for each in found] == ["ACCEPTED", "RUNNING", "KILLED"]
    assert [each.final_status for each in found] == ["UNDEFINED", "UNDEFINED", "KILLED"]
    assert [each.progress for each in found] == [0, 10, 100]
    assert accepted.diagnostics.startswith("AM container is launched, waiting for AM")
    assert killed.diagnostics == f"Application {killed.id} was killed by user nobody"
    assert accepted.tracking_url == ""
    assert running.tracking_url == f"http://node1:8088/proxy/{running.id}/"


def test_an_application_that_there_never_was() -> None:
    answer = httpx.Response(404, json=recorded("resourcemanager-app-unknown"))
    with (
        client({"/ws/v1/cluster/apps/application_1_1": answer}) as daemon,
        pytest.raises(NoAnswerError, match="404 Not Found: app with id: application_1_1 not found"),
    ):
        application(daemon, "application_1_1")


def test_an_application_is_killed_in_the_name_of_its_user() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(202, json={"state": "FINAL_SAVING"})

    with httpx.Client(
        transport=httpx.MockTransport(answer), base_url="http://node1:8088"
    ) as daemon:
        assert kill(daemon, "application_1_1", user="ada") == "FINAL_SAVING"
    (request,) = asked
    assert request.method == "PUT"
    path = "http://node1:8088/ws/v1/cluster/apps/application_1_1/state?user.name=ada"
    assert str(request.url) == path
    assert json.loads(request.content) == {"state": "KILLED"}


def test_a_kill_that_yarn_refuses_says_why() -> None:
    why = "User eve cannot perform operation MODIFY_APP on application_1_1\nat ..."
    answer = httpx.Response(403, json={"RemoteException": {"message": why}})
    with (
        client({"/ws/v1/cluster/apps/application_1_1/state": answer}) as daemon,
        pytest.raises(NoAnswerError, match=r"403 Forbidden: User eve cannot .*application_1_1\.$"),
    ):
        kill(daemon, "application_1_1", user="eve")
