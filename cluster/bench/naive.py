"""The environment as most people would ship it, to compare with: the same lock, unslimmed.

Packed by conda-pack as it does by default, Spark's and BigDL's jars in it as the wheels bring them.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import conda_pack  # type: ignore[import-untyped]

from cluster.env import build, prefix
from cluster.errors import ClusterError
from cluster.places import cache, locked, repository

FOLDER = "bench"
FORMAT = "tar.gz"


def archive(tell: Callable[[str], None]) -> Path:
    """The archive, made where it is not there yet.

    Raises:
        ClusterError: pip failed.
    """
    lock = repository() / build.LOCK
    root = cache() / FOLDER
    root.mkdir(exist_ok=True)
    packed = root / f"naive-{build.digest(lock)}.{FORMAT}"
    with locked(root / "lock"):
        if not packed.exists():
            with tempfile.TemporaryDirectory(prefix="naive-", dir=root) as folder:
                whole = Path(folder) / "prefix"
                tell("Building the environment unslimmed, to compare with")
                _install(prefix.make(whole), lock, root / "naive.log")
                (whole / "conda-meta").mkdir()
                (whole / "conda-meta" / "history").touch()
                tell("Packing it")
                part = Path(folder) / packed.name
                conda_pack.pack(prefix=str(whole), output=str(part), format=FORMAT, force=True)
                shutil.move(part, packed)
    return packed


def _install(packages: Path, lock: Path, log: Path) -> None:
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "install"]
    pip += ["--quiet", "--target", str(packages), "--require-hashes", "--no-deps"]
    pip += ["--no-build-isolation", "--use-pep517", "--requirement", str(lock)]
    with log.open("wb") as output:
        done = subprocess.run(
            [*prefix.WITH_US, *pip], stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise ClusterError(f"pip failed (exit {done.returncode}): see {log}.")
