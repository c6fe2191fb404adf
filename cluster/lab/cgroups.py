"""A cgroup for each machine of a lab: its CPU share, its memory, and the list of its processes.

Sources: the kernel's cgroup-v1/{cpusets,memory}.rst, sched-bwc.rst and cgroup-v2.rst.
"""

import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from cluster.errors import ClusterError

ROOT = Path("/sys/fs/cgroup")
FOLDER = "cluster-lab"
# cpuacct and the unified hierarchy hold no limit: a machine has its own there so that it can read
# its own CPU time and pressure. nspawn puts the machine's units below its group in systemd.
V1 = ("cpu", "cpuacct", "cpuset", "memory", "pids", "unified", "systemd")
V2 = ("cpu", "cpuset", "io", "memory", "pids")
CPUSET = ("cpuset.cpus", "cpuset.mems")
PERIOD_US, MIN_QUOTA_US = 100_000, 1_000
# The weight of a process, in the units of v1 and of v2; of all labs together, in processes. With 20
# some task of a machine waited seconds for a CPU beside processes that filled them (Linux 6.18).
SHARES, WEIGHT = 1024, 100
LABS_WEIGHT = 10
# What the kernel has by default, and lab machines have not.
SWAPPINESS = 60
KILL_TIMEOUT_S = 60.0
# To bring a machine's memory below a limit: its pages are written to disk meanwhile.
RECLAIM_TIMEOUT_S = 60.0


def make(lab: str, machine: str, *, cpus: float, memory_mb: int, root: Path = ROOT) -> list[Path]:
    """Create the cgroups of a machine with its limits.

    A share of all CPUs or more is no limit. Returns the folders whose ``cgroup.procs`` the
    machine's first process joins.
    """
    v2 = is_v2(root)
    folders = []
    for top in _tops(root):
        folder = top / FOLDER / lab / machine
        if v2:
            known = (root / "cgroup.controllers").read_text().split()
            switched = " ".join(f"+{name}" for name in V2 if name in known)
            for parent in (top, top / FOLDER, top / FOLDER / lab):
                parent.mkdir(exist_ok=True)
                _write(parent / "cgroup.subtree_control", switched)
        folder.mkdir(parents=True, exist_ok=True)
        folders.append(folder)
        if top.name == "cpuset":
            # A new group of v1 may use no CPU and no memory until it is told.
            for group in (top / FOLDER, top / FOLDER / lab, folder):
                for name in CPUSET:
                    _write(group / name, (group.parent / name).read_text())
    # Beside processes outside, all labs together would weigh as much as one of them.
    _weigh(_hierarchy("cpu", root) / FOLDER, LABS_WEIGHT, root)
    set_cpus(lab, machine, cpus, root=root)
    set_memory(lab, machine, memory_mb, root=root)
    return folders


def set_cpus(lab: str, machine: str, cpus: float, *, root: Path = ROOT) -> None:
    """Let a machine use CPU time up to a number of CPUs; that of all CPUs or more is no limit.

    Raises:
        ClusterError: the kernel refuses; it takes a hundredth of a CPU at least.
    """
    quota = round(cpus * PERIOD_US) if cpus < (os.cpu_count() or 1) else None
    group = _group("cpu", lab, machine, root)
    if is_v2(root):
        _write(group / "cpu.max", f"{'max' if quota is None else quota} {PERIOD_US}")
    else:
        _write(group / "cpu.cfs_period_us", str(PERIOD_US))
        _write(group / "cpu.cfs_quota_us", str(-1 if quota is None else quota))


def set_memory(
    lab: str, machine: str, memory_mb: int, *, resident_mb: int | None = None, root: Path = ROOT
) -> None:
    """Let a machine have so much memory, in MiB: all resident, or RESIDENT_MB and the rest in swap.

    Without RESIDENT_MB the machine does not swap, whether or not the computer has swap.

    Raises:
        ClusterError: the kernel refuses, or could not write enough pages to swap in a minute.
    """
    group = _group("memory", lab, machine, root)
    swapped = 0 if resident_mb is None else memory_mb - resident_mb
    resident = memory_mb - swapped
    if is_v2(root):
        _write(group / "memory.max", str(memory_mb << 20))
        if (group / "memory.swap.max").exists() or swapped:
            _write(group / "memory.swap.max", str(swapped << 20))
        # Above it the kernel reclaims and slows down; it does not kill.
        _write(group / "memory.high", str(resident << 20) if swapped else "max")
        return
    inside = [each for each in _folders(lab, machine, root) if each.is_relative_to(group)]
    # From before the limit falls until after it has risen, or somebody is killed in between.
    if swapped:
        _set_swapping(group, inside, swaps=True)
    both = group / "memory.memsw.limit_in_bytes"
    if both.exists() or swapped:
        _write(both, "-1")  # never below the limit of memory alone
    _write(group / "memory.limit_in_bytes", str(resident << 20), patience_s=RECLAIM_TIMEOUT_S)
    if swapped:
        _write(both, str(memory_mb << 20))
    else:
        _set_swapping(group, inside, swaps=False)


def working_set_mb(lab: str, machine: str, *, root: Path = ROOT) -> int:
    """The memory that a machine uses, less files cached and not read again, in MiB."""
    group = _group("memory", lab, machine, root)
    v2 = is_v2(root)
    used = int((group / ("memory.current" if v2 else "memory.usage_in_bytes")).read_text())
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    stat = {name: int(value) for name, value in lines}
    return (used - stat["inactive_file" if v2 else "total_inactive_file"]) >> 20


def set_cores(lab: str, machine: str, cores: Iterable[int] = (), *, root: Path = ROOT) -> None:
    """Keep a machine's processes on some cores, or on none in particular."""
    group = _group("cpuset", lab, machine, root)
    chosen = ",".join(map(str, sorted(cores)))
    if not (chosen or is_v2(root)):
        chosen = (group.parent / "cpuset.cpus").read_text().strip()
    _write(group / "cpuset.cpus", f"{chosen}\n")


def set_weight(lab: str, machine: str, weight: float = 1.0, *, root: Path = ROOT) -> None:
    """What a machine weighs beside the others of its lab when CPUs are short."""
    _weigh(_group("cpu", lab, machine, root), weight, root)


def neighbour(machine: str) -> str:
    """The name of the group beside a machine's, by which it is killed and removed as one."""
    return f"{machine}@neighbour"  # no host is called so


def beside(lab: str, machine: str, weight: float, *, root: Path = ROOT) -> Path:
    """Make the group beside a machine's, of a weight; its folder."""
    group = _group("cpu", lab, neighbour(machine), root)
    group.mkdir(exist_ok=True)
    _weigh(group, weight, root)
    return group


def set_frozen(lab: str, machine: str, frozen: bool, *, root: Path = ROOT) -> None:
    """Have all processes of a machine stand still, new ones too, or go on.

    Raises:
        ClusterError: the computer has no unified hierarchy, or the kernel is older than 5.2.
    """
    _write(_group("unified", lab, machine, root) / "cgroup.freeze", str(int(frozen)))


def set_disk(
    lab: str, machine: str, device: str, bytes_per_s: int | None, *, root: Path = ROOT
) -> None:
    """Let a machine's own block device, "MAJOR:MINOR", read and write so much; None: no limit.

    Raises:
        ClusterError: the kernel has no throttling of block devices.
    """
    if is_v2(root):
        most = "max" if bytes_per_s is None else bytes_per_s
        group = _group("io", lab, machine, root)
        _write(group / "io.max", f"{device} rbps={most} wbps={most}")
        return
    # In v1 what is written from the page cache counts for the root group. No other machine uses
    # the device, so the root group may have the limit, and reads come under it too.
    for way in ("read", "write"):
        file = root / "blkio" / f"blkio.throttle.{way}_bps_device"
        _write(file, f"{device} {bytes_per_s or 0}")


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


def remove(lab: str, machine: str = "", *, root: Path = ROOT) -> None:
    """Remove the cgroups of a machine, or of a lab; its processes have ended."""
    for folder in _folders(lab, machine, root):
        folder.rmdir()
    for top in _tops(root):
        with suppress(OSError):  # another lab's are there, or it is gone
            (top / FOLDER).rmdir()


def exists(lab: str, machine: str, *, root: Path = ROOT) -> bool:
    """Whether a machine has cgroups; it may have no process."""
    return any(_folders(lab, machine, root))


def labs(root: Path = ROOT) -> set[str]:
    """The names of labs that have cgroups."""
    return {folder.name for top in _tops(root) for folder in (top / FOLDER).glob("*/")}


def is_v2(root: Path = ROOT) -> bool:
    """Whether all controllers are in one hierarchy."""
    return (root / "cgroup.controllers").is_file()


def _tops(root: Path) -> list[Path]:
    return [root] if is_v2(root) else [root / name for name in V1 if (root / name).is_dir()]


def _hierarchy(controller: str, root: Path) -> Path:
    return root if is_v2(root) else root / controller


def _group(controller: str, lab: str, machine: str, root: Path) -> Path:
    return _hierarchy(controller, root) / FOLDER / lab / machine


def _weigh(group: Path, weight: float, root: Path) -> None:
    if is_v2(root):
        _write(group / "cpu.weight", str(round(weight * WEIGHT)))
    else:
        _write(group / "cpu.shares", str(round(weight * SHARES)))


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


def _set_swapping(group: Path, inside: Iterable[Path], *, swaps: bool) -> None:
    """With v1: whether who finds no memory swaps, and waits until there is some, or is killed."""
    for each in inside:  # each has its own
        _write(each / "memory.swappiness", str(SWAPPINESS if swaps else 0))
    _write(group / "memory.oom_control", str(int(swaps)))


def _write(path: Path, value: str, *, patience_s: float = 0.0) -> None:
    """PATIENCE_S: as long as the kernel may say that it is busy with it."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            path.write_text(value)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise ClusterError(
                    f"{path} refused {value.strip()!r} ({error.strerror}): a lab needs the "
                    "kernel's controllers of CPU, memory and disk, and root."
                ) from error
        time.sleep(0.1)
