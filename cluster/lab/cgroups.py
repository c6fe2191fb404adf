"""A cgroup for each machine of a lab: its CPU share, its memory, and the list of its processes.

Sources: the kernel's cgroup-v1/{cpu,memory}, sched-bwc.rst and cgroup-v2.rst.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cluster.errors import ClusterError

ROOT = Path("/sys/fs/cgroup")
FOLDER = "cluster-lab"
# cpuacct and the unified hierarchy hold no limit: a machine has its own there so that it can read
# its own CPU time and pressure. nspawn puts the machine's units below its group in systemd.
V1 = ("cpu", "cpuacct", "memory", "pids", "unified", "systemd")
V2 = ("cpu", "memory", "pids")
PERIOD_US = 100_000
# Twenty times the weight of a process, in the units of v1 and of v2.
SHARES, WEIGHT = 20 * 1024, 20 * 100
KILL_TIMEOUT_S = 60.0


def make(lab: str, machine: str, *, cpus: float, memory_mb: int, root: Path = ROOT) -> list[Path]:
    """Create the cgroups of a machine with its limits.

    A share of all CPUs or more is no limit. Returns the folders whose ``cgroup.procs`` the
    machine's first process joins.
    """
    v2 = is_v2(root)
    quota = round(cpus * PERIOD_US) if cpus < (os.cpu_count() or 1) else None
    folders = []
    for top in _tops(root):
        folder = top / FOLDER / lab / machine
        if v2:
            for parent in (top, top / FOLDER, top / FOLDER / lab):
                parent.mkdir(exist_ok=True)
                _write(parent / "cgroup.subtree_control", " ".join(f"+{name}" for name in V2))
        folder.mkdir(parents=True, exist_ok=True)
        folders.append(folder)
    if v2:
        _write(root / FOLDER / "cpu.weight", str(WEIGHT))
        _write(folders[0] / "cpu.max", f"{'max' if quota is None else quota} {PERIOD_US}")
        _write(folders[0] / "memory.max", str(memory_mb << 20))
    else:
        by_name = {folder.relative_to(root).parts[0]: folder for folder in folders}
        # Beside processes outside, all labs together would weigh as much as one of them.
        _write(root / "cpu" / FOLDER / "cpu.shares", str(SHARES))
        _write(by_name["cpu"] / "cpu.cfs_period_us", str(PERIOD_US))
        _write(by_name["cpu"] / "cpu.cfs_quota_us", str(-1 if quota is None else quota))
        _write(by_name["memory"] / "memory.limit_in_bytes", str(memory_mb << 20))
    return folders


def processes(lab: str, machine: str = "", *, root: Path = ROOT) -> set[int]:
    """The processes of a machine, or of all machines of a lab."""
    return {
        int(line)
        for folder in _folders(lab, machine, root)
        for line in _read(folder / "cgroup.procs").split()
    }


def kill(lab: str, machine: str = "", *, root: Path = ROOT) -> None:
    """End every process of a machine, or of a lab.

    Raises:
        ClusterError: some are still there after a minute.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while found := processes(lab, machine, root=root):
        if time.monotonic() > deadline:
            numbers = ", ".join(map(str, sorted(found)))
            raise ClusterError(f"Processes {numbers} of lab {lab} did not end when killed.")
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def remove(lab: str, *, root: Path = ROOT) -> None:
    """Remove a lab's cgroups; its processes have ended."""
    for folder in _folders(lab, "", root):
        folder.rmdir()
    for top in _tops(root):
        with suppress(OSError):  # another lab's are there, or it is gone
            (top / FOLDER).rmdir()


def labs(root: Path = ROOT) -> set[str]:
    """The names of labs that have cgroups."""
    return {folder.name for top in _tops(root) for folder in (top / FOLDER).glob("*/")}


def is_v2(root: Path = ROOT) -> bool:
    """Whether all controllers are in one hierarchy."""
    return (root / "cgroup.controllers").is_file()


def _tops(root: Path) -> list[Path]:
    return [root] if is_v2(root) else [root / name for name in V1 if (root / name).is_dir()]


def _folders(lab: str, machine: str, root: Path) -> Iterator[Path]:
    """Innermost first."""
    for top in _tops(root):
        base = top / FOLDER / lab / machine
        if base.is_dir():
            inner = (path for path in base.rglob("*") if path.is_dir())
            yield from sorted(inner, key=lambda path: len(path.parts), reverse=True)
            yield base


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # gone, or without processes of its own
        return ""


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise ClusterError(
            f"{path} refused {value!r} ({error.strerror}): a lab needs the kernel's cpu and "
            "memory controllers, and root."
        ) from error
