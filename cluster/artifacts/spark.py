"""Spark for the cluster's hosts: one archive, made from the operator's own PySpark.

PySpark's package holds all of Spark: launchers, jars, the Python side. Its version and digest are
locked in requirements/env.lock, so hosts get exactly what was tried, and nothing is downloaded.
"""

import base64
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

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
# 1980, the first year that no archiver finds implausible.
DATE = 315532800
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


@dataclass(frozen=True, kw_only=True)
class Package:
    """The installed PySpark: its version and what goes to hosts, by name."""

    version: str
    members: tuple[Member, ...]

    @classmethod
    def installed(cls) -> "Package":
        """That of the Python this runs in.

        Raises:
            ClusterError: there is none.
        """
        try:
            package = metadata.distribution("pyspark")
        except metadata.PackageNotFoundError:
            raise ClusterError("PySpark is not installed here: run `make setup`.") from None
        return cls(version=package.version, members=tuple(_members(package)))

    @property
    def digest(self) -> str:
        """Of what the archive holds: the same digest, the same archive to the last byte."""
        lines = (f"{member.digest} {member.name}\n" for member in self.members)
        return hashlib.sha256(f"{FORM} {self.version}\n{''.join(lines)}".encode()).hexdigest()

    @property
    def name(self) -> str:
        """The archive's file name without its suffix; also of the empty file that ends it."""
        return f"spark-{self.version}-{self.digest[:16]}"

    def write(self, path: Path) -> None:
        """Write the archive: one folder spark-VERSION, owned by root. Not compressed, for jars are.

        Its last member is an empty file with the archive's name: where it is, all was unpacked.
        """
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for member in self.members:
                self._add(archive, member.name, member.read())
            self._add(archive, self.name, b"")

    def _add(self, archive: tarfile.TarFile, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(f"spark-{self.version}/{name}")
        entry.size = len(content)
        entry.mtime = DATE
        entry.mode = 0o755 if name.startswith("bin/") else 0o644
        entry.uname = entry.gname = "root"
        archive.addfile(entry, io.BytesIO(content))


def _members(package: metadata.Distribution) -> Iterator[Member]:
    for file in sorted(package.files or (), key=str):
        if WANTED.fullmatch(str(file)) and not LEFT_OUT.match(str(file)):
            if file.hash is None:
                raise ClusterError(f"{file} has no digest in PySpark's record: run `make setup`.")
            digest = base64.urlsafe_b64decode(file.hash.value + "=").hex()
            name = str(file).removeprefix("pyspark/")
            yield Member(name=name, source=Path(str(file.locate())), digest=digest)
