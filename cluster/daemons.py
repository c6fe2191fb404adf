"""The daemons of a cluster: one for each group of the inventory that is a role."""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.inventory import EDGE, Host

HADOOP, SPARK = "/etc/hadoop/conf", "/etc/spark/conf"


def _files(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names)


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """One daemon; the hosts of ``group`` run it.

    ``reads`` are the files of configuration that it reads when it starts. ``asked`` is the group of
    the daemon that knows whether this one is ready. ``single`` says why one host may run it, and is
    empty where any number may.
    """

    group: str
    title: str
    ports: Mapping[int, str]
    reads: tuple[str, ...]
    asked: str
    single: str = ""

    @property
    def unit(self) -> str:
        """The name of its systemd unit, without ".service"."""
        return self.group.replace("_", "-")

    @property
    def product(self) -> str:
        """What it is part of: hdfs, yarn or spark."""
        return self.group.partition("_")[0]


HDFS_READS = _files(HADOOP, "core-site.xml", "log4j.properties", "hdfs-site.xml")
YARN_READS = _files(
    HADOOP, "core-site.xml", "log4j.properties", "yarn-site.xml", "resource-types.xml"
)
SPARK_READS = _files(SPARK, "spark-env.sh", "log4j2.properties")

DAEMONS = (
    Daemon(
        group="hdfs_namenode",
        title="NameNode",
        ports={8020: "RPC", 9870: "web"},
        reads=HDFS_READS,
        asked="hdfs_namenode",
        single="there is no high availability here",
    ),
    Daemon(
        group="hdfs_datanode",
        title="DataNode",
        ports={9866: "data", 9864: "web", 9867: "RPC"},
        reads=HDFS_READS,
        asked="hdfs_namenode",
    ),
    Daemon(
        group="yarn_resourcemanager",
        title="ResourceManager",
        ports={
            8030: "scheduler",
            8031: "NodeManagers",
            8032: "clients",
            8033: "administration",
            8088: "web and REST",
        },
        reads=(*YARN_READS, *_files(HADOOP, "capacity-scheduler.xml")),
        asked="yarn_resourcemanager",
        single="there is no high availability here",
    ),
    Daemon(
        group="yarn_nodemanager",
        title="NodeManager",
        ports={8040: "localiser", 8041: "containers", 8042: "web and REST"},
        reads=(*YARN_READS, *_files(HADOOP, "mapred-site.xml", "node-resources.xml")),
        asked="yarn_resourcemanager",
    ),
    Daemon(
        group="spark_master",
        title="Spark master",
        ports={7077: "RPC", 8080: "web"},
        reads=(*SPARK_READS, *_files(SPARK, "spark-master.conf")),
        asked="spark_master",
        single="workers join one master",
    ),
    Daemon(
        group="spark_worker",
        title="Spark worker",
        ports={7078: "RPC", 8081: "web"},
        reads=(*SPARK_READS, *_files(SPARK, "spark-worker.conf")),
        asked="spark_master",
    ),
    Daemon(
        group="spark_history",
        title="History Server",
        ports={18080: "web"},
        reads=(*SPARK_READS, *_files(SPARK, "spark-history.conf")),
        asked="spark_history",
        single="one shows the applications of all hosts",
    ),
)

# Groups that say what a host does. The others are hardware classes: what it is.
ROLES = frozenset((EDGE, *(daemon.group for daemon in DAEMONS)))

# Hosts of other groups connect to these: they are tried from every host.
CENTRAL = {daemon.asked for daemon in DAEMONS if daemon.asked != daemon.group}


def daemons_of(host: Host) -> tuple[Daemon, ...]:
    """Those that the inventory puts on a host."""
    return tuple(daemon for daemon in DAEMONS if daemon.group in host.groups)
