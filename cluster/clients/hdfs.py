"""The NameNode's state, from its JMX beans (hadoop.apache.org/docs/r3.5.0, Metrics)."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from cluster.clients.rest import Fields, UnknownAnswerError, get

PORT = 9870
BEAN = "Hadoop:service=NameNode,name="


@dataclass(frozen=True, kw_only=True)
class DataNode:
    """A DataNode as the NameNode sees it. ``state``: In Service, Decommissioned and others."""

    host: str
    alive: bool
    state: str
    last_contact_s: int
    version: str | None = None
    capacity_bytes: int = 0
    used_bytes: int = 0
    failed_volumes: int = 0


@dataclass(frozen=True, kw_only=True)
class NameNode:
    """The NameNode and HDFS as a whole. ``safe_mode`` is its reason, or empty."""

    version: str
    started_at: float
    safe_mode: str
    capacity_bytes: int
    used_bytes: int
    missing_blocks: int
    under_replicated_blocks: int
    datanodes: tuple[DataNode, ...]


def namenode(client: httpx.Client) -> NameNode:
    """Ask the NameNode; raises NoAnswerError and UnknownAnswerError."""
    info, system = _bean(client, "NameNodeInfo"), _bean(client, "FSNamesystem")
    return NameNode(
        version=info.text("SoftwareVersion"),
        started_at=info.number("NNStartedTimeInMillis") / 1000,
        safe_mode=info.text("Safemode"),
        capacity_bytes=info.number("Total"),
        used_bytes=info.number("Used"),
        missing_blocks=info.number("NumberOfMissingBlocks"),
        under_replicated_blocks=system.number("UnderReplicatedBlocks"),
        datanodes=(*_live(info), *_dead(info)),
    )


def _bean(client: httpx.Client, name: str) -> Fields:
    found = get(client, "/jmx", qry=BEAN + name)
    beans = found.objects("beans")
    if len(beans) != 1:
        # A NameNode that has just begun to listen has no beans yet.
        raise UnknownAnswerError(f"{found.source} has no bean {BEAN}{name}: it may be starting.")
    return beans[0]


def _live(info: Fields) -> Iterator[DataNode]:
    for name, node in info.parsed("LiveNodes").items():
        yield DataNode(
            host=_host(name),
            alive=True,
            state=node.text("adminState"),
            last_contact_s=node.number("lastContact"),
            version=node.text("version"),
            capacity_bytes=node.number("capacity"),
            used_bytes=node.number("used"),
            failed_volumes=node.number("volfails"),
        )


def _dead(info: Fields) -> Iterator[DataNode]:
    for name, node in info.parsed("DeadNodes").items():
        yield DataNode(
            host=_host(name),
            alive=False,
            state=node.text("adminState"),
            last_contact_s=node.number("lastContact"),
        )


def _host(name: str) -> str:
    return name.rpartition(":")[0]
