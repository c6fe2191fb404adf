from typing import Any

import pytest

from cluster.clients.rest import UnknownAnswerError
from cluster.clients.yarn import Application, resource_manager
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
