"""Hadoop's official release: found or downloaded, proven, and brought into our layout."""

import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import artifacts
from cluster.artifacts import download
from cluster.errors import ClusterError

OFFLINE_VARIABLE = "CLUSTER_OFFLINE"
JARS = r"(?:[^/]+/)share/hadoop"
# Names in the release, and what they become; the first that fits. No sources, no tests but those
# to try a cluster with, and of the timeline service what the ResourceManager needs at its start.
LAYOUT = (
    (rf"{JARS}/mapreduce/(hadoop-mapreduce-examples-.+\.jar)", r"examples/\1"),
    (rf"{JARS}/mapreduce/(hadoop-mapreduce-client-jobclient-.+-tests\.jar)", r"examples/\1"),
    (rf"{JARS}/.+-(?:tests|sources)\.jar", None),
    (rf"{JARS}/(?:common|hdfs|yarn|mapreduce)/(?:lib/)?([^/]+\.jar)", r"lib/\1"),
    (rf"{JARS}/yarn/timelineservice/(hadoop-yarn-server-timelineservice-[\d.]+jar)", r"lib/\1"),
    (rf"{JARS}/hdfs/(webapps/.+)", r"\1"),
    (r"[^/]+/lib/native/([^/]+\.so[^/]*)", r"native/\1"),
)


@dataclass(frozen=True, kw_only=True)
class Release:
    """The release's archive: its name, what proves it, where it can be had."""

    file: str
    sha512: str
    urls: tuple[str, ...]
    recorded_in: str

    def checked_digest(self) -> str:
        """The digest.

        Raises:
            ClusterError: nobody has put it in.
        """
        if self.sha512 == download.NEEDED:
            raise ClusterError(
                f"{self.file} has no digest yet: copy it from the release's own "
                f"{self.file}.sha512 to {self.recorded_in}."
            )
        return self.sha512

    def find(self, at: Path | None) -> Path:
        """The archive: AT, or in the folder CLUSTER_OFFLINE names, or downloaded into the cache.

        Raises:
            ClusterError: it cannot be had, or is another file.
        """
        digest = self.checked_digest()
        offline = os.environ.get(OFFLINE_VARIABLE)
        here = at or (Path(offline) / self.file if offline else None)
        if here is None:
            target = artifacts.folder() / self.file
            download.fetch(self.urls, digest=digest, target=target)
            return target
        if not here.is_file():
            raise ClusterError(f"There is no file {here}: put {self.file} there.")
        try:
            download.verify(here, digest)
        except ClusterError as error:
            raise ClusterError(f"{here} is not {self.file}: {error}.") from None
        return here


def unpack(file: Path, folder: Path) -> None:
    """Bring what hosts need of the release into FOLDER.

    Raises:
        ClusterError: it is no archive.
    """
    try:
        with tarfile.open(file) as archive:
            for member, name in _wanted(archive):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # Links within the archive are followed: lib/native has some.
                with archive.extractfile(member) as source, target.open("wb") as copy:  # type: ignore[union-attr]
                    shutil.copyfileobj(source, copy)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ClusterError(f"{file} cannot be unpacked: {error}.") from error


def _wanted(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str]]:
    for member in archive:
        if member.isdir():
            continue
        for pattern, becomes in LAYOUT:
            if match := re.fullmatch(pattern, member.name):
                if becomes:
                    yield member, match.expand(becomes)
                break
