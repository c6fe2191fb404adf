"""The files that a push sends: the environment, BigDL's jars, the program that writes to HDFS."""

import hashlib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import job.errors
import job.webhdfs
from cluster.env import build as building
from cluster.env import store
from cluster.env.build import Environment
from cluster.env.hosts import REMOTE, Tell
from cluster.places import locked

CHUNK = 2**18
PROGRAM = "publish.zip"
# The archives, by the names that they have on the way.
KINDS = ENVIRONMENT, BIGDL = ("environment", "bigdl")


def item(environment: Environment, kind: str, level: int, tell: Tell) -> dict[str, Any]:
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
            with tarfile.open(part, "w") as jars:
                for jar in environment.bigdl_jars:
                    entry = tarfile.TarInfo(jar.name)
                    entry.size, entry.mode, entry.mtime = jar.stat().st_size, 0o644, building.EPOCH
                    with jar.open("rb") as file:
                        jars.addfile(entry, file)
            part.rename(archive)
    return archive


def program(environment: Environment) -> Path:
    """remote/publish.py with what it imports, for the environment's Python."""
    path = environment.folder / PROGRAM
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", (REMOTE / "publish.py").read_bytes())
        archive.writestr("job/__init__.py", b"")
        for module in (job.errors, job.webhdfs):
            source = Path(str(module.__file__))
            archive.write(source, f"job/{source.name}")
    return path


def tar(files: dict[str, Path]) -> Iterator[bytes]:
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
