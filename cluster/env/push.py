"""``cluster env push``: the environment, Spark's jars and BigDL's, brought to a cluster once.

They cross the operator's link once, to the edge host. It unpacks them, puts them to HDFS with the
environment's own Python, and serves them to Spark's own workers.
"""

import hashlib
import itertools
import platform
import secrets
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import job.errors
import job.webhdfs
from cluster.clients import hdfs as namenodes
from cluster.env import build as building
from cluster.env import choice as choosing
from cluster.env import store
from cluster.env.build import Environment
from cluster.env.choice import Choice
from cluster.env.hosts import REMOTE, Tell, operate
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Host, Inventory
from cluster.places import locked
from cluster.ssh import Fleet
from job.webhdfs import FileStatus

# On as many hosts as there are, a NodeManager reads its own copy; more than this are no faster.
MOST_COPIES = 10
# HDFS goes on making copies after that.
REPLICATE_S = 300.0
# On a host's disk, for Spark's zip and for others.
SPARE_BYTES = 500_000_000
CHUNK = 2**18
PROGRAM = "publish.zip"
# The archives that are sent, by the names that they have on the way.
PARCELS = ENVIRONMENT, BIGDL = ("environment", "bigdl")


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
    """What is missing where: names on HDFS, and by host the kinds of archive, of ``PARCELS``."""

    hdfs: tuple[str, ...]
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
            for kind in PARCELS
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
    choice = None
    if own and (store.archive_of(there, environment.digest) is None or format_):
        choice = _choice(fleet, inventory, environment, format_, level, tell)
    lacking = _lacking(inventory, environment, seen, there, choice)
    if not (lacking.hdfs or lacking.hosts):
        return Pushed(digest=environment.digest)
    _refuse_full(environment, lacking, seen)
    if own and lacking.hdfs:
        _refuse_safe_mode(fleet, own)
    # Hosts get what is small; a plain tar for HDFS is made of it on the edge host.
    packed = choice.level if choice and choice.level else choosing.USUAL[1]
    items = [_item(environment, kind, packed, tell) for kind in lacking.parcels]
    files = {item["file"]: Path(item.pop("path")) for item in items}
    workers = [inventory[name] for name in lacking.hosts if name != edge.name]
    copies = _copies(fleet, inventory, own) if own and lacking.hdfs else None
    wanted: dict[str, Any] = {
        "unpack": [each for each in items if each["file"] in lacking.hosts.get(edge.name, ())],
        "publish": None,
        "serve": None,
    }
    if own and lacking.hdfs:
        files[PROGRAM] = _program(environment)
        wanted["publish"] = {
            "python": str(store.ENVIRONMENTS / environment.digest / "bin" / "python"),
            "namenode": f"http://{own.address}:{namenodes.PORT}",
            "user": seen[edge.name]["user"],
            "folder": store.FOLDER,
            "archive": lacking.archive,
            "spark": lacking.kind("spark-"),
            "bigdl": lacking.kind("bigdl-"),
            "jars": str(store.JARS / store.bigdl_name(environment.bigdl)),
            "copies": copies,
            "replicate_s": REPLICATE_S,
        }
    wanted["total"] = sent = sum(path.stat().st_size for path in files.values())
    with _Pulls(fleet, edge, workers, lacking, items, tell) as pulls:
        if workers:
            wanted["serve"] = {"address": edge.address, "token": pulls.token}
        result = operate(
            fleet,
            edge,
            "receive",
            wanted,
            chunks=itertools.chain(_tar(files), pulls.until_done()),
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
        wanted_copies=copies,
        seconds={**seconds, "total": time.monotonic() - started},
        hosts=hosts,
    )


class _Pulls:
    """Workers fetch from the edge host, all at once, from when it serves until all are done."""

    def __init__(
        self,
        fleet: Fleet,
        edge: Host,
        workers: Sequence[Host],
        lacking: _Lacking,
        items: Sequence[dict[str, Any]],
        tell: Tell,
    ) -> None:
        self.token = secrets.token_hex(16)
        self._fleet, self._edge, self._workers = fleet, edge, workers
        self._lacking, self._items, self._tell = lacking, items, tell
        self._done = threading.Event()
        self._outcomes: dict[str, float | ClusterError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def start(self, said: dict[str, Any]) -> None:
        """Have the workers fetch from the port that the edge host has told."""
        threading.Thread(target=self._all, args=(said["serving"],), daemon=True).start()

    def until_done(self) -> Iterator[bytes]:
        """Nothing, for as long as the edge host has to serve."""
        if self._workers:
            self._done.wait()
        yield b""

    def seconds(self) -> dict[str, float]:
        """How long each worker took; raises where one failed."""
        failed = [each for each in self._outcomes.values() if isinstance(each, ClusterError)]
        if failed:
            sentences = " ".join(map(str, failed))
            raise ClusterError(f"{sentences} The other hosts have it: push again for the rest.")
        return {
            name: took
            for name, took in self._outcomes.items()
            if not isinstance(took, ClusterError)
        }

    def _all(self, port: int) -> None:
        try:
            self._outcomes = self._fleet.fan_out(self._workers, lambda host: self._pull(host, port))
        finally:
            self._done.set()

    def _pull(self, host: Host, port: int) -> float:
        started = time.monotonic()
        wanted = {
            "address": self._edge.address,
            "port": port,
            "token": self.token,
            "unpack": [
                item for item in self._items if item["file"] in self._lacking.hosts[host.name]
            ],
        }
        operate(self._fleet, host, "pull", wanted, tell=self._tell)
        return time.monotonic() - started


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


def _refuse_safe_mode(fleet: Fleet, host: Host) -> None:
    with fleet.http(host, namenodes.PORT) as client:
        said = namenodes.namenode(client).safe_mode
    if said:
        raise ClusterError(
            "HDFS is in safe mode, so nothing can be put there: wait until its DataNodes are there,"
            " see `cluster status`; `hdfs dfsadmin -safemode leave` ends one that was set by hand."
        )


def _on_hdfs(fleet: Fleet, inventory: Inventory, user: str) -> tuple[FileStatus, ...]:
    own = store.hdfs(fleet, inventory, user)
    return own.list(store.FOLDER) if own else ()


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
    choice: Choice | None,
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
    if store.namenode(inventory):
        if not seen[edge.name]["spark"]:
            raise ClusterError(f"{edge.name} has no Spark in /opt/spark: run `cluster deploy`.")
        names = [store.spark_name(seen[edge.name]["spark"]), bigdl]
        if choice:
            names.insert(0, store.archive_name(environment.digest, choice.format))
    on_hdfs = {status.name for status in there}
    return _Lacking(hdfs=tuple(name for name in names if name not in on_hdfs), hosts=hosts)


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


def _item(environment: Environment, kind: str, level: int, tell: Tell) -> dict[str, Any]:
    """An archive as remote/host.py wants to know it."""

    def told(line: str) -> None:
        tell("here", line, 0, 0)

    bigdl = store.bigdl_name(environment.bigdl)
    if kind == ENVIRONMENT:
        path = building.pack(environment, "tar.gz", level, tell=told)
        place = {"folder": "environments", "name": environment.digest, "options": "-xzpf"}
    else:
        path = _pack_jars(environment)
        place = {"folder": "jars", "name": bigdl, "options": "-xpf"}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "file": kind,
        "path": path,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "notes": {".bigdl": environment.bigdl} if kind == ENVIRONMENT else {},
        **place,
    }


def _pack_jars(environment: Environment) -> Path:
    """A tar of BigDL's jars beside the environment, made where it is missing."""
    archive = environment.folder / f"{store.bigdl_name(environment.bigdl)}.tar"
    with locked(environment.folder / "lock"):
        if not archive.exists():
            part = archive.with_name(f"part-{archive.name}")
            with tarfile.open(part, "w") as tar:
                for jar in environment.bigdl_jars:
                    entry = tarfile.TarInfo(jar.name)
                    entry.size, entry.mode, entry.mtime = jar.stat().st_size, 0o644, building.EPOCH
                    with jar.open("rb") as file:
                        tar.addfile(entry, file)
            part.rename(archive)
    return archive


def _program(environment: Environment) -> Path:
    """remote/publish.py with what it imports, for the environment's Python."""
    path = environment.folder / PROGRAM
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", (REMOTE / "publish.py").read_bytes())
        archive.writestr("job/__init__.py", b"")
        for module in (job.errors, job.webhdfs):
            source = Path(str(module.__file__))
            archive.write(source, f"job/{source.name}")
    return path


def _tar(files: dict[str, Path]) -> Iterator[bytes]:
    """A tar of files, piece by piece."""
    for name, path in files.items():
        entry = tarfile.TarInfo(name)
        entry.size = path.stat().st_size
        yield entry.tobuf()
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
        yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.RECORDSIZE)


def _copies(fleet: Fleet, inventory: Inventory, host: Host) -> int:
    """One for each NodeManager, but no more than there are DataNodes to hold them."""
    with fleet.http(host, namenodes.PORT) as client:
        nodes = namenodes.namenode(client).datanodes
    alive = sum(node.alive for node in nodes)
    return max(1, min(len(inventory.group("yarn_nodemanager")), MOST_COPIES, alive))
