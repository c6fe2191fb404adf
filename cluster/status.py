"""What runs on the hosts of an inventory, each service by its own word."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from cluster.clients import hdfs, spark, yarn
from cluster.daemons import Daemon, daemons_of
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Host, Inventory
from cluster.ssh import Fleet

SPARK_HOME = "/opt/spark"
# Between the parts of what a host answers.
MARK = "=="
NOT_INSTALLED = "not installed"
# Whom to ask, on which port, and how to read the answer.
READERS: Mapping[str, tuple[int, Callable[[httpx.Client], Any]]] = {
    "hdfs_namenode": (hdfs.PORT, hdfs.namenode),
    "yarn_resourcemanager": (yarn.PORT, yarn.resource_manager),
    "spark_master": (spark.MASTER_PORT, spark.master),
    "spark_history": (spark.HISTORY_PORT, spark.history_version),
}


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Of memory in MiB, and of vcores or cores: what a host offers, and what is given out."""

    memory_mb: int
    used_memory_mb: int
    vcores: int
    used_vcores: int


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """A daemon on a host.

    ``state`` is its own word, or that of the daemon it reports to, or else systemd's. ``since`` is
    when systemd started it, epoch s. ``changed`` are the files it has read, at its start, that are
    newer than it. ``restarts`` are those systemd made by itself.
    """

    service: str
    ready: bool
    state: str
    why: str = ""
    since: float | None = None
    version: str | None = None
    amounts: Amounts | None = None
    changed: tuple[str, ...] = ()
    restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class HostStatus:
    """A host and its daemons; ``error`` says why it cannot be reached, or is empty."""

    host: str
    error: str
    services: tuple[ServiceStatus, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """All hosts; and HDFS, YARN and Spark's master as wholes, where they are and answer."""

    hosts: tuple[HostStatus, ...]
    namenode: hdfs.NameNode | None = None
    resource_manager: yarn.ResourceManager | None = None
    master: spark.Master | None = None

    @property
    def ready(self) -> bool:
        """Every host is reached and every service is ready."""
        return all(
            not host.error and all(service.ready for service in host.services)
            for host in self.hosts
        )

    def to_json(self) -> dict[str, Any]:
        """As status.schema.json describes it."""
        wholes = {
            "hdfs": (self.namenode, "datanodes"),
            "yarn": (self.resource_manager, "nodes"),
            "spark": (self.master, "workers"),
        }
        found: dict[str, Any] = {
            "ready": self.ready,
            "hosts": [asdict(host) for host in self.hosts],
        }
        for name, (whole, parts) in wholes.items():
            # What it says of each host is with the host.
            said = asdict(whole) if whole else None
            found[name] = said and {key: said[key] for key in said if key != parts}
        return found


def status(inventory: Inventory) -> ClusterStatus:
    """Ask every host once by SSH, and the daemons by HTTP through the edge host.

    What cannot be asked is said in the result, and hides nothing else. Where no edge host can be
    reached, the daemon's own host is gone through.
    """
    with Fleet(inventory) as fleet:
        seen = fleet.fan_out(inventory.hosts, lambda host: _look(fleet, host))
        reached = [h for h in inventory.hosts if not isinstance(seen[h.name], ClusterError)]
        edges = [host for host in reached if EDGE in host.groups]

        def ask(host: Host) -> dict[str, Any]:
            via = (edges or [host])[0]
            groups = host.groups & READERS.keys()
            return {group: _ask(fleet, host, group, via) for group in groups}

        asked = [host for host in inventory.hosts if host.groups & READERS.keys()]
        answers: dict[str, Any] = {}
        for of_host in fleet.fan_out(asked, ask).values():
            assert not isinstance(of_host, ClusterError)
            answers.update(of_host)
    return ClusterStatus(
        hosts=tuple(_host(host, seen[host.name], answers) for host in inventory.hosts),
        namenode=_if_known(answers, "hdfs_namenode"),
        resource_manager=_if_known(answers, "yarn_resourcemanager"),
        master=_if_known(answers, "spark_master"),
    )


def _ask(fleet: Fleet, host: Host, group: str, via: Host) -> Any:
    """A daemon's answer, or the ClusterError that says why there is none."""
    port, read = READERS[group]
    try:
        with fleet.http(host, port, via=via) as client:
            return read(client)
    except ClusterError as error:
        return error


def _if_known(answers: Mapping[str, Any], group: str) -> Any:
    answer = answers.get(group)
    return None if isinstance(answer, ClusterError) else answer


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """What systemd and the file system know of a daemon."""

    active: bool
    state: str
    started: bool
    since: float | None
    restarts: int
    changed: tuple[str, ...]
    spark_version: str | None


def _look(fleet: Fleet, host: Host) -> dict[str, _Unit]:
    """The units of a host's daemons, by group, from one command.

    Raises:
        ClusterError: the host cannot be reached, or has no systemd.
    """
    daemons = daemons_of(host)
    if not daemons:
        fleet.run(host, "true")
        return {}
    units = [f"{daemon.unit}.service" for daemon in daemons]
    files = sorted({file for daemon in daemons for file in daemon.reads})
    files += [f"/etc/systemd/system/{unit}" for unit in units]
    properties = "Id,LoadState,ActiveState,SubState,ExecMainStartTimestamp,NRestarts"
    answer = fleet.run(
        host,
        f"systemctl show --timestamp=unix --property={properties} {shlex.join(units)} || exit;"
        f" echo {MARK}; stat --format='%Y %n' {shlex.join(files)} 2>/dev/null;"
        f" echo {MARK}; readlink {SPARK_HOME} || true",
    ).check()
    shown, times, link = answer.stdout.split(f"{MARK}\n")
    blocks = (dict(line.split("=", 1) for line in b.splitlines()) for b in shown.split("\n\n"))
    said = {block["Id"]: block for block in blocks if block}
    written = {name: int(at) for at, name in (line.split(" ", 1) for line in times.splitlines())}
    version = link.strip().rpartition("spark-")[2] or None
    return {
        daemon.group: _unit(daemon, said[f"{daemon.unit}.service"], written, version)
        for daemon in daemons
    }


def _unit(
    daemon: Daemon, said: Mapping[str, str], written: Mapping[str, int], version: str | None
) -> _Unit:
    state, sub = said["ActiveState"], said["SubState"]
    if said["LoadState"] == "not-found":
        described = NOT_INSTALLED
    else:
        described = state if sub in (state, "running", "dead") else f"{state} ({sub})"
    # systemd writes @SECONDS, and nothing where it has not started the daemon.
    started = said["ExecMainStartTimestamp"].removeprefix("@")
    since = float(started) if started and state == "active" else None
    read = (*daemon.reads, f"/etc/systemd/system/{daemon.unit}.service")
    return _Unit(
        active=state == "active",
        state=described,
        started=bool(started),
        since=since,
        restarts=int(said["NRestarts"]),
        changed=tuple(file for file in read if since and written.get(file, 0) > since),
        spark_version=version if daemon.group.startswith("spark_") else None,
    )


def _host(
    host: Host, seen: dict[str, _Unit] | ClusterError, answers: Mapping[str, Any]
) -> HostStatus:
    daemons = daemons_of(host)
    units = {} if isinstance(seen, ClusterError) else seen
    return HostStatus(
        host=host.name,
        error=str(seen) if isinstance(seen, ClusterError) else "",
        services=tuple(
            _service(daemon, _word(daemon, host, answers), units.get(daemon.group))
            for daemon in daemons
        ),
    )


def _service(daemon: Daemon, word: "_Word", unit: _Unit | None) -> ServiceStatus:
    """The daemon's word counts; where systemd does not run it, nobody has noticed yet."""
    stopped = unit is not None and not unit.active
    return ServiceStatus(
        service=daemon.group,
        ready=word.ready and not stopped,
        state=unit.state if unit and stopped else word.state,
        why=_why_stopped(daemon, unit) if unit and stopped else word.why,
        since=unit.since if unit else None,
        version=word.version or (unit.spark_version if unit else None),
        amounts=word.amounts if word.ready and not stopped else None,
        changed=unit.changed if unit else (),
        restarts=unit.restarts if unit else 0,
    )


def _why_stopped(daemon: Daemon, unit: _Unit) -> str:
    if unit.state == NOT_INSTALLED:
        return "there is no such unit: `cluster deploy` makes it"
    if unit.state == "inactive" and not unit.started:
        return "it has not been started: `cluster deploy` does it"
    if unit.state == "inactive":
        return f"it was stopped: `systemctl start {daemon.unit}` there starts it"
    return f"see `journalctl -u {daemon.unit}` there"


@dataclass(frozen=True, kw_only=True)
class _Word:
    """What a daemon, or the one it reports to, says of it."""

    ready: bool
    state: str
    why: str = ""
    version: str | None = None
    amounts: Amounts | None = None


def _word(daemon: Daemon, host: Host, answers: Mapping[str, Any]) -> _Word:
    answer = answers.get(daemon.asked)
    if answer is None:
        return _Word(ready=False, state="unknown", why=f"no host is in group {daemon.asked}")
    if not isinstance(answer, ClusterError):
        return WORDS[daemon.group](answer, host)
    if daemon.group == daemon.asked:
        return _Word(ready=False, state="no answer", why=str(answer))
    return _Word(ready=False, state="unknown", why=f"{daemon.asked} does not answer")


def _namenode(answer: hdfs.NameNode, _: Host) -> _Word:
    return _Word(
        ready=not answer.safe_mode,
        state="safe mode" if answer.safe_mode else "serving",
        why=answer.safe_mode,
        version=answer.version,
    )


def _datanode(answer: hdfs.NameNode, host: Host) -> _Word:
    node = _of_host(answer.datanodes, host, "alive", True)
    if node is None:
        return _Word(ready=False, state="unknown", why="the NameNode does not know it")
    if not node.alive:
        why = f"the NameNode has not heard of it for {node.last_contact_s} s"
        return _Word(ready=False, state="dead", why=why)
    return _Word(
        ready=True,
        state="live" if node.state == "In Service" else node.state.lower(),
        why=f"{node.failed_volumes} data folders failed" if node.failed_volumes else "",
        version=node.version,
    )


def _resource_manager(answer: yarn.ResourceManager, _: Host) -> _Word:
    return _Word(
        ready=answer.state == "STARTED", state=answer.state.lower(), version=answer.version
    )


def _node_manager(answer: yarn.ResourceManager, host: Host) -> _Word:
    node = _of_host(answer.nodes, host, "state", "RUNNING")
    if node is None:
        return _Word(ready=False, state="unknown", why="the ResourceManager does not know it")
    return _Word(
        ready=node.state == "RUNNING",
        state=node.state.lower(),
        why=node.health,
        version=node.version,
        amounts=Amounts(
            memory_mb=node.memory_mb,
            used_memory_mb=node.used_memory_mb,
            vcores=node.vcores,
            used_vcores=node.used_vcores,
        ),
    )


def _master(answer: spark.Master, _: Host) -> _Word:
    return _Word(ready=answer.status == "ALIVE", state=answer.status.lower())


def _worker(answer: spark.Master, host: Host) -> _Word:
    worker = _of_host(answer.workers, host, "state", "ALIVE")
    if worker is None:
        return _Word(ready=False, state="unknown", why="the master does not know it")
    return _Word(
        ready=worker.state == "ALIVE",
        state=worker.state.lower(),
        amounts=Amounts(
            memory_mb=worker.memory_mb,
            used_memory_mb=worker.used_memory_mb,
            vcores=worker.cores,
            used_vcores=worker.used_cores,
        ),
    )


def _history(version: str, _: Host) -> _Word:
    return _Word(ready=True, state="serving", version=version)


def _of_host(nodes: tuple[Any, ...], host: Host, field: str, good: object) -> Any:
    """Its entry; the good one first, for one that came back may be listed as lost, too."""
    own = [node for node in nodes if node.host in (host.name, host.address)]
    return min(own, key=lambda node: getattr(node, field) != good, default=None)


WORDS: Mapping[str, Callable[[Any, Host], _Word]] = {
    "hdfs_namenode": _namenode,
    "hdfs_datanode": _datanode,
    "yarn_resourcemanager": _resource_manager,
    "yarn_nodemanager": _node_manager,
    "spark_master": _master,
    "spark_worker": _worker,
    "spark_history": _history,
}
