"""What hosts get from the operator's cache: one archive per software, made once and kept.

A command makes or finds it: ``python -m cluster.artifacts NAME`` prints ``{path, digest, version,
changed}``.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cluster import places

FOLDER = "artifacts"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An archive of the cache. ``digest`` names what it holds: the same digest, the same files."""

    name: str
    version: str
    digest: str

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        return folder() / f"{self.name}-{self.version}-{self.digest[:16]}.tar"


def folder() -> Path:
    """The part of the cache that holds artifacts and what they are made from."""
    path = places.cache() / FOLDER
    path.mkdir(exist_ok=True)
    return path


def ensure(artifact: Artifact, write: Callable[[Path], None]) -> bool:
    """Find the archive in the cache, or have ``write`` make it; says whether it was made.

    It is written under another name and then renamed, so one with its own name is whole. Where
    several callers want it at once, one writes and the others wait.
    """
    if artifact.path.exists():
        return False
    with locked(artifact.name):
        if artifact.path.exists():
            return False
        part = artifact.path.with_suffix(".part")
        try:
            write(part)
            part.rename(artifact.path)
        finally:
            part.unlink(missing_ok=True)
    return True


def locked(name: str) -> AbstractContextManager[None]:
    """Keep other processes out of what is made for NAME."""
    return places.locked(folder() / f"{name}.lock")
