"""``cluster env push``: the environment, Spark's jars and BigDL's, brought to a cluster once.

They cross the operator's link once, to the edge host. It unpacks them, puts them to HDFS with the
environment's own Python, and serves them to Spark's own workers.
"""

import itertools
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.clients import hdfs as namenodes
from cluster.clients.hdfs import NameNode
from cluster.env import build as building
from cluster.env import choice as choosing
from cluster.env import parcels, store
from cluster.env.build import Environment
from cluster.env.choice import Choice
from cluster.env.hosts import Tell, operate
from cluster.env.parcels import BIGDL, ENVIRONMENT, KINDS
from cluster.env.pulls import Pulls
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Host, Inventory
from cluster.ssh import Fleet
from job.webhdfs import FileStatus

# On as many hosts as there are, a NodeManager reads its own copy; more than this are no faster.
MOST_COPIES = 10
# Of jars, which hosts seldom read: they have Spark, and BigDL's are for one engine.
JARS_COPIES = 2
# HDFS goes on making copies after that.
REPLICATE_S = 300.0
# On a host's disk, for Spark's zip and for others.
SPARE_BYTES = 500_000_000


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push has done, and how long each part took, in seconds.

    ``hdfs`` are the names that are new there, ``hosts`` the seconds by host that unpacked;
    ``sent_bytes`` crossed the operator's link.
    """

    digest: str
    hdfs: tuple[str, ...] = ()
    choice: Choice | None = None
    sent_bytes: int = 0
    copies: int | None = None
    wanted_copies: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    hosts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Lacking:
    """What is missing where: names on HDFS, and by host the kinds of archive, of ``KINDS``.

    ``thin`` are names that HDFS has, with too few copies.
    """

    hdfs: tuple[str, ...]
    thin: tuple[str, ...]
    hosts: dict[str, tuple[str, ...]]

    def kind(self, prefix: str) -> str | None:
        """The name on HDFS that begins so, where it is missing."""
        return next((name for name in self.hdfs if name.startswith(prefix)), None)

    @property
    def archive(self) -> str | None:
        return self.kind(store.TAG)

    @property
    def parcels(self) -> tuple[str, ...]:
        """What has to be sent. Jars for HDFS are taken from where they lie on the edge host."""
        anywhere = set(itertools.chain(*self.hosts.values()))
        return tuple(
            kind
            for kind in KINDS
            if kind in anywhere or (kind == ENVIRONMENT and self.archive is not None)
        )


def push(
    fleet: Fleet,
    inventory: Inventory,
    environment: Environment,
    *,
    format_: str | None = None,
    level: int | None = None,
    tell: Tell,
) -> Pushed:
    """Bring what the cluster lacks to it; with FORMAT the archive is of that, else of the best.

    Raises:
        ClusterError: a host is of another kind, a disk or HDFS is full or in safe mode, or a host
            failed; what the others have got stays.
    """
    started = time.monotonic()
    # For `gc`: when it was last used.
    (environment.folder / building.ABOUT).touch()
    edge, own = inventory.first(EDGE), store.namenode(inventory)
    seen = _look(fleet, inventory, environment, tell)
    there = _on_hdfs(fleet, inventory, seen[edge.name]["user"])
    names = _ask(fleet, own) if own else None
    copies = _copies(inventory, names) if names else 0
    choice, archive = None, store.archive_of(there, environment.digest)
    name = archive.name if archive else None
    if names and (name is None or format_):
        if name is None:
            _refuse_safe_mode(names)
        choice = _choice(fleet, inventory, environment, format_, level, tell)
        name = store.archive_name(environment.digest, choice.format)
    lacking = _lacking(inventory, environment, seen, there, name, copies)
    publishes = bool(lacking.hdfs or lacking.thin)
    if not (publishes or lacking.hosts):
        return Pushed(digest=environment.digest)
    _refuse_full(environment, lacking, seen)
    if names and publishes:
        _refuse_safe_mode(names)
    # Hosts get what is small; a plain tar for HDFS is made of it on the edge host.
    packed = choice.level if choice and choice.level else choosing.USUAL[1]
    items = [parcels.item(environment, kind, packed, tell) for kind in lacking.parcels]
    files = {item["file"]: Path(item.pop("path")) for item in items}
    workers = [inventory[name] for name in lacking.hosts if name != edge.name]
    wanted: dict[str, Any] = {
        "unpack": [each for each in items if each["file"] in lacking.hosts.get(edge.name, ())],
        "publish": None,
        "serve": None,
    }
    if own and publishes and name:
        files[parcels.PROGRAM] = parcels.program(environment)
        wanted["publish"] = {
            "python": str(store.ENVIRONMENTS / environment.digest / "bin" / "python"),
            "namenode": f"http://{own.address}:{namenodes.PORT}",
            "user": seen[edge.name]["user"],
            "folder": store.FOLDER,
            "archive": lacking.archive,
            "spark": lacking.kind("spark-"),
            "bigdl": lacking.kind("bigdl-"),
            "jars": str(store.JARS / store.bigdl_name(environment.bigdl)),
            "copies": {
                each: _copies_of(each, copies) for each in (name, *lacking.hdfs, *lacking.thin)
            },
            "wait_for": name,
            "replicate_s": REPLICATE_S,
        }
    wanted["total"] = sent = sum(path.stat().st_size for path in files.values())
    with Pulls(fleet, edge, workers, lacking.hosts, items, tell) as pulls:
        if workers:
            wanted["serve"] = {"address": edge.address, "token": pulls.token}
        result = operate(
            fleet,
            edge,
            "receive",
            wanted,
            chunks=itertools.chain(parcels.tar(files), pulls.until_done()),
            tell=tell,
            hear=pulls.start,
        )
    on_hdfs = result.get("hdfs", {})
    seconds = {"send": result["receive_s"]}
    seconds |= {name: on_hdfs[f"{name}_s"] for name in ("write", "replicate") if on_hdfs}
    hosts = pulls.seconds()
    if wanted["unpack"]:
        hosts = {edge.name: result["unpack_s"], **hosts}
    return Pushed(
        digest=environment.digest,
        hdfs=lacking.hdfs,
        choice=choice if lacking.archive else None,
        sent_bytes=sent,
        copies=on_hdfs.get("copies"),
        wanted_copies=copies if on_hdfs else None,
        seconds={**seconds, "total": time.monotonic() - started},
        hosts=hosts,
    )


def _look(
    fleet: Fleet, inventory: Inventory, environment: Environment, tell: Tell
) -> dict[str, dict[str, Any]]:
    """What the hosts that will run it are and have.

    Raises:
        ClusterError: the environment does not run on one of them, or one that gets it is down.
    """
    edge, *others = store.holders(inventory)
    others += inventory.group("yarn_nodemanager")
    hosts = {host.name: host for host in (edge, *others)}
    seen = {}
    looked = fleet.fan_out(hosts.values(), lambda host: operate(fleet, host, "look", {}, tell=tell))
    for name, one in looked.items():
        if isinstance(one, ClusterError):
            # A NodeManager that is down gets it from HDFS once it is up.
            if name == edge.name:
                raise one
            continue
        refuse_other_kind(name, one, environment)
        seen[name] = one
    return seen


def refuse_other_kind(host: str, seen: dict[str, Any], environment: Environment) -> None:
    """Raise where the environment's programs cannot run on the host."""
    if seen["machine"] != platform.machine():
        raise ClusterError(
            f"{host} is {seen['machine']}, the environment is built for {platform.machine()}:"
            " push from a machine like the hosts."
        )
    if not seen["glibc"]:
        raise ClusterError(f"{host} has no glibc, which the environment needs: use another system.")
    if _version(seen["glibc"]) < _version(environment.glibc):
        raise ClusterError(
            f"{host} has glibc {seen['glibc']}, the environment needs {environment.glibc} or"
            " later: push from a machine whose system is no newer than the hosts'."
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _ask(fleet: Fleet, host: Host) -> NameNode:
    with fleet.http(host, namenodes.PORT) as client:
        return namenodes.namenode(client)


def _refuse_safe_mode(names: NameNode) -> None:
    if names.safe_mode:
        raise ClusterError(
            "HDFS is in safe mode, so nothing can be put there: wait until its DataNodes are there,"
            " see `cluster status`; `hdfs dfsadmin -safemode leave` ends one that was set by hand."
        )


def _on_hdfs(fleet: Fleet, inventory: Inventory, user: str) -> tuple[FileStatus, ...]:
    """What is there; a folder of jars as its file with the fewest copies."""
    own = store.hdfs(fleet, inventory, user)
    found = []
    for status in own.list(store.FOLDER) if own else ():
        inside = own.list(status.path) if own and status.is_folder else ()
        copies = min((each.replication for each in inside), default=status.replication)
        found.append(replace(status, replication=copies))
    return tuple(found)


def _choice(
    fleet: Fleet,
    inventory: Inventory,
    environment: Environment,
    format_: str | None,
    level: int | None,
    tell: Tell,
) -> Choice:
    """What was asked for, else what the measured hosts have soonest."""
    if format_ or level:
        format_ = format_ or "tar.gz"
        asked = level or choosing.USUAL[1] if format_ == "tar.gz" else 0
        return Choice(format=format_, level=asked, reason="as asked for")
    edge = inventory.first(EDGE)
    hosts = inventory.group("yarn_nodemanager") or (edge,)
    speeds = choosing.measure(
        fleet, edge, hosts, lambda names: tell(names, "Measuring link and CPU", 0, 0)
    )
    return choosing.choose(speeds, environment.bytes)


def _lacking(
    inventory: Inventory,
    environment: Environment,
    seen: dict[str, dict[str, Any]],
    there: Sequence[FileStatus],
    archive: str | None,
    copies: int,
) -> _Lacking:
    edge, *workers = store.holders(inventory)
    bigdl = store.bigdl_name(environment.bigdl)
    hosts = {}
    for host in (edge, *workers):
        has = seen.get(host.name, {"environments": (), "jars": ()})
        lacks = {ENVIRONMENT: environment.digest not in has["environments"]}
        lacks[BIGDL] = bigdl not in has["jars"]
        if any(lacks.values()):
            hosts[host.name] = tuple(kind for kind, is_missing in lacks.items() if is_missing)
    names = []
    if archive:
        if not seen[edge.name]["spark"]:
            raise ClusterError(f"{edge.name} has no Spark in /opt/spark: run `cluster deploy`.")
        names = [archive, store.spark_name(seen[edge.name]["spark"]), bigdl]
    on_hdfs = {status.name: status.replication for status in there}
    return _Lacking(
        hdfs=tuple(name for name in names if name not in on_hdfs),
        thin=tuple(
            name for name in names if name in on_hdfs and on_hdfs[name] < _copies_of(name, copies)
        ),
        hosts=hosts,
    )


def _refuse_full(
    environment: Environment, lacking: _Lacking, seen: dict[str, dict[str, Any]]
) -> None:
    """Raise where a host has no room for what it gets, before anything is sent."""
    unpacked = {
        ENVIRONMENT: environment.bytes,
        BIGDL: sum(jar.stat().st_size for jar in environment.bigdl_jars),
    }
    for name, kinds in lacking.hosts.items():
        if name in seen:
            # The edge host holds the archives, too; twice is enough for both.
            needed = 2 * sum(unpacked[kind] for kind in kinds) + SPARE_BYTES
            free = seen[name]["free_bytes"]
            if free < needed:
                raise ClusterError(
                    f"The disk with /opt/cluster on {name} has {free / 1e6:.0f} MB free,"
                    f" {needed / 1e6:.0f} are needed: make room there, or see what"
                    " `cluster env gc` can remove."
                )


def _copies_of(name: str, most: int) -> int:
    return most if name.startswith(store.TAG) else min(most, JARS_COPIES)


def _copies(inventory: Inventory, names: NameNode) -> int:
    """Of the environment: one for each NodeManager, as far as there are DataNodes for them."""
    alive = sum(node.alive for node in names.datanodes)
    return max(1, min(len(inventory.group("yarn_nodemanager")), MOST_COPIES, alive))
