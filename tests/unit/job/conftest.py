import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from job import cgroup

Tree = Callable[[dict[str, str]], Path]
InQuota = Callable[..., dict[str, Any]]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes kernel files below a root; called again, it changes them in place."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def in_quota() -> Iterator[InQuota]:
    """Runs Python code in a real cgroup of half a CPU; the code prints one JSON object.

    With ``container``, in a cgroup namespace with cgroup mounts of its own, as containers have.
    """
    tops = {cgroup.levels(name)[-1:] for name in ("cpu", "cpuacct")}
    groups = [top / f"test-half-cpu-{os.getpid()}" for found in tops for top in found]
    try:
        if not groups:
            pytest.skip("no cgroups here")
        try:
            for group in groups:
                group.mkdir()
                _limit(group)
        except OSError as error:
            pytest.skip(f"cgroups cannot be made here: {error}")

        def run(code: str, *, container: bool = False) -> dict[str, Any]:
            joins = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
            mounts = "".join(
                f"umount -l {group.parent}; mount -t {_kind(group)} none {group.parent}; "
                for group in groups
            )
            python = f"exec {sys.executable} -"
            inside = f"exec unshare -C -m sh -ec '{mounts}{python}'" if container else python
            done = subprocess.run(
                ["sh", "-ec", joins + inside],
                input=code,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            found: dict[str, Any] = json.loads(done.stdout)
            return found

        yield run
    finally:
        for group in groups:
            _remove(group)


def _kind(group: Path) -> str:
    """The type and options that mount the hierarchy of a cgroup."""
    v2 = (group / "cgroup.controllers").exists()
    return "cgroup2" if v2 else f"cgroup -o {group.parent.name}"


def _limit(group: Path) -> None:
    if (group / "cpu.cfs_quota_us").exists():
        (group / "cpu.cfs_quota_us").write_text("50000")
        # A large share, so that a busy machine does not keep the child below its quota.
        (group / "cpu.shares").write_text("262144")
    elif (group / "cpu.max").exists():
        (group / "cpu.max").write_text("50000 100000")
        (group / "cpu.weight").write_text("10000")
    elif not (group / "cpuacct.usage").exists():
        raise OSError(f"{group} has no CPU controller")


def _remove(group: Path) -> None:
    for _ in range(50):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # the kernel takes a moment to let an ended process go
            time.sleep(0.02)
        else:
            return
    group.rmdir()
