"""Where environments lie in a cluster, and which one a run takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cluster.env import build
from cluster.env.hosts import operate
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Host, Inventory
from cluster.places import repository
from cluster.ssh import Fleet
from job.webhdfs import PORT, FileStatus, WebHdfs

# On HDFS.
FOLDER = "/apps/envs"
# On hosts.
ENVIRONMENTS = PurePosixPath("/opt/cluster/environments")
JARS = PurePosixPath("/opt/cluster/jars")
# How a run that YARN has tells which environment it uses.
TAG = "environment-"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An environment in a cluster: folders on hosts, and paths on HDFS where there is one.

    ``bigdl`` are the paths of BigDL's jars, which only the engine orca needs; ``user`` is who we
    are on the edge host.
    """

    digest: str
    user: str
    bigdl_digest: str
    archive: str | None = None
    spark: str | None = None
    bigdl: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """On hosts."""
        return str(ENVIRONMENTS / self.digest)

    @property
    def python(self) -> str:
        """On hosts."""
        return f"{self.folder}/bin/python"

    @property
    def bigdl_folder(self) -> str:
        """On hosts."""
        return str(JARS / bigdl_name(self.bigdl_digest))


def current() -> str:
    """The digest of the environment that the present lock describes."""
    return build.digest(repository() / build.LOCK)


def archive_name(digest: str, format_: str) -> str:
    """On HDFS."""
    return f"{TAG}{digest}.{format_}"


def spark_name(digest: str) -> str:
    """On HDFS; DIGEST is that of Spark on the edge host."""
    return f"spark-{digest[:16]}.zip"


def bigdl_name(digest: str) -> str:
    """On HDFS and on hosts."""
    return f"bigdl-{digest}"


def namenode(inventory: Inventory) -> Host | None:
    """The NameNode's host, where the cluster has HDFS."""
    return next(iter(inventory.group("hdfs_namenode")), None)


def hdfs(fleet: Fleet, inventory: Inventory, user: str) -> WebHdfs | None:
    """HDFS through the edge host, where the cluster has it."""
    host = namenode(inventory)
    return WebHdfs(fleet.http(host, PORT), user) if host else None


def holders(inventory: Inventory) -> tuple[Host, ...]:
    """The hosts that have environments unpacked: the edge host, and Spark's own workers."""
    edge = inventory.first(EDGE)
    return (edge, *(host for host in inventory.group("spark_worker") if host != edge))


def require_deployed(fleet: Fleet, inventory: Inventory) -> dict[str, Any]:
    """What the edge host is and has, if the cluster was deployed.

    Raises:
        ClusterError: it was not.
    """
    edge = inventory.first(EDGE)
    seen: dict[str, Any] = operate(fleet, edge, "look", {}, tell=lambda *_: None)
    if not seen["deployed"]:
        raise ClusterError(
            f"Nothing was deployed to {edge.name} yet:"
            f" run `cluster -i {inventory.path} deploy` first."
        )
    return seen


def find(fleet: Fleet, inventory: Inventory) -> Stored:
    """The present lock's environment, as the cluster has it.

    Raises:
        ClusterError: the cluster was not deployed, or the environment not pushed to all of it.
    """
    digest, edge = current(), inventory.first(EDGE)
    seen = require_deployed(fleet, inventory)
    bigdl = seen["environments"].get(digest)
    if bigdl is None or bigdl_name(bigdl) not in seen["jars"]:
        raise _missing(digest, edge.name)
    own = hdfs(fleet, inventory, seen["user"])
    if own is None:
        _refuse_lacking(fleet, inventory, digest)
        return Stored(digest=digest, user=seen["user"], bigdl_digest=bigdl)
    listed = own.list(FOLDER)
    there = {status.name: status.path for status in listed}
    archive, spark = archive_of(listed, digest), there.get(spark_name(seen["spark"]))
    jars = tuple(status.path for status in own.list(f"{FOLDER}/{bigdl_name(bigdl)}"))
    if not (archive and spark and jars):
        raise _missing(digest, f"HDFS ({FOLDER})")
    return Stored(
        digest=digest,
        user=seen["user"],
        bigdl_digest=bigdl,
        archive=archive.path,
        spark=spark,
        bigdl=jars,
    )


def _refuse_lacking(fleet: Fleet, inventory: Inventory, digest: str) -> None:
    """A worker without it fails every executor; one that does not answer has none."""
    _, *workers = holders(inventory)
    seen = fleet.fan_out(
        workers, lambda host: operate(fleet, host, "look", {}, tell=lambda *_: None)
    )
    for name, found in seen.items():
        if not isinstance(found, ClusterError) and digest not in found["environments"]:
            raise _missing(digest, name)


def archive_of(listed: Sequence[FileStatus], digest: str) -> FileStatus | None:
    """The archive of an environment: of its two formats the one that was put there last."""
    names = {archive_name(digest, format_) for format_ in build.FORMATS}
    found = [status for status in listed if status.name in names]
    return max(found, key=lambda status: status.modified_at, default=None)


def _missing(digest: str, where: str) -> ClusterError:
    return ClusterError(
        f"{where} has no environment {digest}, which requirements/env.lock describes: bring it"
        " there with `cluster env push`."
    )
