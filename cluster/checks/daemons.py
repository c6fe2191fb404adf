"""The daemons of each role: the unit they run in, and the ports they listen on."""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.inventory import Host
from cluster.ssh import EDGE


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """One daemon. Its role is the inventory's group of the same name."""

    role: str
    title: str
    ports: Mapping[int, str]
    # Whether hosts without the role connect to it: these are tried from every host.
    central: bool = False

    @property
    def unit(self) -> str:
        """The name of its systemd unit, without ".service"."""
        return self.role.replace("_", "-")


DAEMONS = (
    Daemon(role="hdfs_namenode", title="NameNode", ports={8020: "RPC", 9870: "web"}, central=True),
    Daemon(
        role="hdfs_datanode",
        title="DataNode",
        ports={9866: "data", 9864: "web", 9867: "RPC"},
    ),
    Daemon(
        role="yarn_resourcemanager",
        title="ResourceManager",
        ports={
            8030: "scheduler",
            8031: "NodeManagers",
            8032: "clients",
            8033: "administration",
            8088: "web and REST",
        },
        central=True,
    ),
    Daemon(
        role="yarn_nodemanager",
        title="NodeManager",
        ports={8040: "localiser", 8041: "containers", 8042: "web and REST"},
    ),
    Daemon(
        role="spark_master", title="Spark master", ports={7077: "RPC", 8080: "web"}, central=True
    ),
    Daemon(role="spark_worker", title="Spark worker", ports={7078: "RPC", 8081: "web"}),
    Daemon(role="spark_history", title="History Server", ports={18080: "web"}),
)

# Groups that say what a host does. The others are hardware classes: what it is.
ROLES = {daemon.role for daemon in DAEMONS} | {EDGE}


def daemons_of(host: Host) -> tuple[Daemon, ...]:
    """Those that the inventory puts on a host."""
    return tuple(daemon for daemon in DAEMONS if daemon.role in host.groups)
