"""The ResourceManager's state, by its REST interface (hadoop.apache.org/docs/r3.5.0,
ResourceManager REST API's)."""

from dataclasses import dataclass

import httpx

from cluster.clients.rest import Fields, get

PORT = 8088


@dataclass(frozen=True, kw_only=True)
class NodeManager:
    """A node as the ResourceManager sees it. ``state``: RUNNING, LOST, UNHEALTHY and others."""

    host: str
    state: str
    health: str
    version: str
    containers: int
    memory_mb: int
    used_memory_mb: int
    vcores: int
    used_vcores: int


@dataclass(frozen=True, kw_only=True)
class Application:
    """An application that YARN has, whatever it is made of; YARN writes its tags in lower case."""

    id: str
    name: str
    user: str
    queue: str
    state: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResourceManager:
    """The ResourceManager, its nodes, and the applications that have not ended.

    ``state`` is STARTED where it works. Memory and vcores are those of all running nodes.
    """

    version: str
    state: str
    started_at: float
    memory_mb: int
    used_memory_mb: int
    vcores: int
    used_vcores: int
    nodes: tuple[NodeManager, ...]
    applications: tuple[Application, ...]


def resource_manager(client: httpx.Client) -> ResourceManager:
    """Ask the ResourceManager; raises NoAnswerError and UnknownAnswerError."""
    info = get(client, "/ws/v1/cluster/info").object("clusterInfo")
    metrics = get(client, "/ws/v1/cluster/metrics").object("clusterMetrics")
    nodes = get(client, "/ws/v1/cluster/nodes")
    unfinished = "NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING"
    applications = get(client, "/ws/v1/cluster/apps", states=unfinished)
    return ResourceManager(
        version=info.text("hadoopVersion"),
        state=info.text("state"),
        started_at=info.number("startedOn") / 1000,
        memory_mb=metrics.number("totalMB"),
        used_memory_mb=metrics.number("allocatedMB"),
        vcores=metrics.number("totalVirtualCores"),
        used_vcores=metrics.number("allocatedVirtualCores"),
        nodes=tuple(_node(node) for node in _listed(nodes, "nodes", "node")),
        applications=tuple(_application(app) for app in _listed(applications, "apps", "app")),
    )


def _listed(answer: Fields, outer: str, inner: str) -> tuple[Fields, ...]:
    """Where there are none, the outer field is null or empty instead of an empty list."""
    if outer in answer.values and not answer.values[outer]:
        return ()
    return answer.object(outer).objects(inner)


def _node(node: Fields) -> NodeManager:
    used_mb, used_vcores = node.number("usedMemoryMB"), node.number("usedVirtualCores")
    return NodeManager(
        host=node.text("nodeHostName"),
        state=node.text("state"),
        health=node.text("healthReport"),
        version=node.text("version"),
        containers=node.number("numContainers"),
        memory_mb=used_mb + node.number("availMemoryMB"),
        used_memory_mb=used_mb,
        vcores=used_vcores + node.number("availableVirtualCores"),
        used_vcores=used_vcores,
    )


def _application(application: Fields) -> Application:
    return Application(
        id=application.text("id"),
        name=application.text("name"),
        user=application.text("user"),
        queue=application.text("queue"),
        state=application.text("state"),
        tags=tuple(filter(None, application.text("applicationTags").split(","))),
    )
