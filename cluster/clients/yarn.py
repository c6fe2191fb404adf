"""The ResourceManager's state, by its REST interface (hadoop.apache.org/docs/r3.5.0,
ResourceManager REST API's)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from cluster.clients.rest import Fields, get, put

PORT = 8088
# A place for one executor, which the role hadoop has hosts offer.
SLOT = "executor-slot"


@dataclass(frozen=True, kw_only=True)
class NodeManager:
    """A node as the ResourceManager sees it. ``state``: RUNNING, LOST, UNHEALTHY and others.

    ``slots`` are of resource type executor-slot: 0 where YARN does not know it.
    """

    host: str
    state: str
    health: str
    version: str
    containers: int
    memory_mb: int
    used_memory_mb: int
    vcores: int
    used_vcores: int
    slots: int = 0
    used_slots: int = 0


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
class ApplicationReport(Application):
    """One application, also after its end. ``final_status`` is UNDEFINED until then.

    ``progress`` is in percent; ``tracking_url`` is empty until there is an application master.
    """

    final_status: str
    diagnostics: str
    tracking_url: str
    progress: float


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue that takes applications: ``state`` is RUNNING, or STOPPED where it takes no more.

    ``capacity`` and ``maximum_capacity`` are shares of the cluster, ``master_share`` that of the
    queue which all application masters together may have.
    """

    name: str
    path: str
    state: str
    capacity: float
    maximum_capacity: float
    master_share: float


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """The capacity scheduler: its queues, and the largest container that it gives to anyone."""

    queues: tuple[Queue, ...]
    maximum_memory_mb: int
    maximum_vcores: int


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
        applications=tuple(
            Application(**_common(app)) for app in _listed(applications, "apps", "app")
        ),
    )


def scheduler(client: httpx.Client) -> Scheduler:
    """Ask for the queues; raises as ``resource_manager``."""
    root = get(client, "/ws/v1/cluster/scheduler").object("scheduler").object("schedulerInfo")
    largest = root.object("maximumAllocation")
    return Scheduler(
        queues=tuple(_queues(root)),
        maximum_memory_mb=largest.number("memory"),
        maximum_vcores=largest.number("vCores"),
    )


def application(client: httpx.Client, identifier: str) -> ApplicationReport:
    """Ask for an application that there is or was; raises as ``resource_manager``."""
    found = get(client, f"/ws/v1/cluster/apps/{identifier}").object("app")
    return ApplicationReport(
        **_common(found),
        final_status=found.text("finalStatus"),
        diagnostics=found.text("diagnostics"),
        tracking_url=found.text("trackingUrl") if "trackingUrl" in found.values else "",
        progress=found.real("progress"),
    )


def kill(client: httpx.Client, identifier: str, *, user: str) -> str:
    """End an application, in the name of a user; its state, KILLED once all of it has ended.

    One that has ended stays as it is. Raises as ``resource_manager``; where YARN refuses, the
    NoAnswerError says why.
    """
    path = f"/ws/v1/cluster/apps/{identifier}/state"
    return put(client, path, {"state": "KILLED"}, **{"user.name": user}).text("state")


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
        slots=_slots(node, "totalResource"),
        used_slots=_slots(node, "usedResource"),
    )


def _slots(node: Fields, of: str) -> int:
    """Hadoop 2 and lost nodes tell of no resources by name."""
    if of not in node.values:
        return 0
    resources = _listed(node.object(of), "resourceInformations", "resourceInformation")
    return sum(each.number("value") for each in resources if each.text("name") == SLOT)


def _queues(parent: Fields) -> Iterator[Queue]:
    for queue in parent.object("queues").objects("queue"):
        if "queues" in queue.values:
            yield from _queues(queue)
        else:
            yield Queue(
                name=queue.text("queueName"),
                path=queue.text("queuePath"),
                state=queue.text("state"),
                capacity=queue.real("absoluteCapacity") / 100,
                maximum_capacity=queue.real("absoluteMaxCapacity") / 100,
                master_share=queue.real("configuredMaxAMResourceLimit"),
            )


def _common(application: Fields) -> dict[str, Any]:
    return {
        **{name: application.text(name) for name in ("id", "name", "user", "queue", "state")},
        "tags": tuple(filter(None, application.text("applicationTags").split(","))),
    }
