"""Hadoop for the cluster's hosts: one layout, got in two ways.

The layout is a folder hadoop-VERSION with ``lib/`` (all jars), ``webapps/`` (HDFS's pages),
``bin/`` (our launchers), ``examples/`` (jobs to try a cluster with), ``native/`` where the way
brings it.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from cluster import artifacts, places
from cluster.artifacts import archive, download, maven, release
from cluster.errors import ClusterError

Way = Literal["maven", "archive"]
PROGRAMS = ("hadoop", "hdfs", "mapred", "yarn")
# Without one of these a daemon does not start.
NEEDED = (
    *("lib/hadoop-common-", "lib/hadoop-hdfs-", "lib/hadoop-yarn-server-resourcemanager-"),
    *("lib/hadoop-yarn-server-nodemanager-", "webapps/hdfs/", "webapps/datanode/"),
)
# Raised where archives of the same files come out otherwise than before.
FORM = 1


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Hadoop's entry of sources.yml in FOLDER, which holds hadoop/{pom.xml,jars.lock,launcher}."""

    folder: Path
    version: str
    release: release.Release

    @classmethod
    def load(cls, folder: Path | None = None) -> "Sources":
        """Read it; without a folder, the repository's.

        Raises:
            ClusterError: the digest is none.
        """
        folder = folder or places.repository() / "ansible"
        path = folder / "sources.yml"
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))["hadoop"]
        official = entry["archive"]
        digest = str(official["sha512"])
        if digest != download.NEEDED and not re.fullmatch(r"[0-9a-f]{128}", digest):
            raise ClusterError(
                f"{path}: hadoop.archive.sha512 is {digest}: give 128 hexadecimal digits, or "
                f"{download.NEEDED}."
            )
        return cls(
            folder=folder,
            version=str(entry["version"]),
            release=release.Release(
                file=official["file"],
                sha512=digest,
                urls=tuple(official["urls"]),
                recorded_in=f"hadoop.archive.sha512 of {path}",
            ),
        )

    @property
    def pom(self) -> Path:
        """The coordinates."""
        return self.folder / "hadoop" / "pom.xml"

    @property
    def lock(self) -> Path:
        """Name and SHA-256 of the jars the coordinates stand for, as sha256sum writes them."""
        return self.folder / "hadoop" / "jars.lock"

    @property
    def launcher(self) -> Path:
        """What becomes hdfs, yarn, mapred and hadoop."""
        return self.folder / "hadoop" / "launcher"


def ensure(
    sources: Sources, *, way: Way = "maven", at: Path | None = None
) -> tuple[artifacts.Artifact, bool]:
    """Find Hadoop's archive in the cache or make it; says whether it was made.

    Args:
        sources: what is wanted.
        way: by coordinates, or from the official release.
        at: the official release where it is here already.

    Raises:
        ClusterError: no Maven, no network, or something else came than what is locked.
    """
    if way == "maven":
        made_from = f"{archive.digest_of(sources.pom)} {archive.digest_of(sources.lock)}"
    else:
        made_from = sources.release.checked_digest()
    recipe = f"{FORM} {sources.version} {made_from} {archive.digest_of(sources.launcher)}"
    made = artifacts.Artifact(
        name="hadoop",
        version=sources.version,
        digest=hashlib.sha256(recipe.encode()).hexdigest(),
    )

    def write(path: Path) -> None:
        with _software(sources, way, at) as folder:
            members: dict[str, bytes | Path] = {
                str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()
            }
            if missing := [name for name in NEEDED if not any(m.startswith(name) for m in members)]:
                raise ClusterError(f"This is no whole Hadoop: it lacks {', '.join(missing)}.")
            launcher = sources.launcher.read_bytes()
            members |= {f"bin/{program}": launcher for program in PROGRAMS}
            root = f"hadoop-{sources.version}"
            archive.write(path, root=root, digest=made.digest, members=sorted(members.items()))

    return made, artifacts.ensure(made, write)


def lock(sources: Sources) -> int:
    """Write jars.lock anew from what Maven gives now; says how many jars it names."""
    with artifacts.locked("hadoop"), _scratch() as folder:
        jars = maven.fetch(sources.pom, version=sources.version, folder=folder)
        sources.lock.write_text(maven.locked_text(jars), encoding="utf-8")
    return len(jars)


@contextmanager
def _software(sources: Sources, way: Way, at: Path | None) -> Iterator[Path]:
    with _scratch() as folder:
        if way == "maven":
            jars = maven.fetch(sources.pom, version=sources.version, folder=folder)
            maven.verify(jars, sources.lock)
            maven.unpack_webapps(folder)
        else:
            release.unpack(sources.release.find(at), folder)
        yield folder


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder to work in, under the lock; what a killed process left in it is removed."""
    folder = artifacts.folder() / "hadoop.work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
