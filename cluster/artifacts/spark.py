"""Spark for the cluster's hosts: one archive, made from the operator's own PySpark.

PySpark's package holds all of Spark: launchers, jars, the Python side. Its version and digest are
locked in requirements/env.lock, so hosts get exactly what was tried, and nothing is downloaded.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cluster import artifacts
from cluster.artifacts import archive
from cluster.errors import ClusterError

# What a host needs of the package. The Python side is in the archives under python/lib.
WANTED = re.compile(
    r"pyspark/(bin/(spark-submit|spark-shell|pyspark|spark-class|find-spark-home|load-spark-env\.sh)"
    r"|jars/.+\.jar|licenses/.+|python/lib/.+\.zip|python/pyspark/shell\.py"
    r"|examples/src/main/python/pi\.py)"
)
# Jars of what no host runs, 100 MB: other cluster managers, Hive, the state of streaming queries.
LEFT_OUT = re.compile(
    r"pyspark/jars/(spark-(kubernetes|mesos|hive)|mesos-|kubernetes-|zjsonpatch-|okhttp-|okio-"
    r"|logging-interceptor-|hive-(?!storage-api)|datanucleus-|derby-|bonecp-|HikariCP-|javax\.jdo-"
    r"|jdo-api-|jta-|libfb303-|libthrift-|rocksdbjni-)"
)
# Raised where archives of the same files come out otherwise than before.
FORM = 1


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of the archive. ``digest`` is its SHA-256 as the installed package records it."""

    name: str
    source: Path
    digest: str

    def read(self) -> bytes:
        """Its content.

        Raises:
            ClusterError: it is missing, or not as it was installed.
        """
        try:
            content = self.source.read_bytes()
        except OSError as error:
            raise ClusterError(f"{self.source}: {error.strerror}: run `make setup`.") from error
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise ClusterError(
                f"{self.source} was changed after it was installed: run `make setup`."
            )
        return content


def ensure() -> tuple[artifacts.Artifact, bool]:
    """Find Spark's archive in the cache or make it; says whether it was made.

    Raises:
        ClusterError: PySpark is not installed here, or not as it should be.
    """
    try:
        package = metadata.distribution("pyspark")
    except metadata.PackageNotFoundError:
        raise ClusterError("PySpark is not installed here: run `make setup`.") from None
    members = tuple(members_of(package))
    lines = (f"{member.digest} {member.name}\n" for member in members)
    digest = hashlib.sha256(f"{FORM} {package.version}\n{''.join(lines)}".encode()).hexdigest()
    made = artifacts.Artifact(name="spark", version=package.version, digest=digest)

    def write(path: Path) -> None:
        contents = ((member.name, member.read()) for member in members)
        archive.write(path, root=f"spark-{package.version}", digest=digest, members=contents)

    return made, artifacts.ensure(made, write)


def members_of(package: metadata.Distribution) -> Iterator[Member]:
    """What goes to hosts, by name; nothing of it is read.

    Raises:
        ClusterError: the package does not record its files' digests.
    """
    for file in sorted(package.files or (), key=str):
        if WANTED.fullmatch(str(file)) and not LEFT_OUT.match(str(file)):
            if file.hash is None:
                raise ClusterError(f"PySpark records no digest of {file}: run `make setup`.")
            # The record leaves out base64's padding, one sign for 32 bytes.
            digest = base64.urlsafe_b64decode(f"{file.hash.value}=").hex()
            name = str(file).removeprefix("pyspark/")
            yield Member(name=name, source=Path(str(file.locate())), digest=digest)
