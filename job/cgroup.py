"""What the cgroups of this process allow and count: v1, v2, and both at once (systemd's hybrid).

Every function takes the ``root`` of the file system, so that recorded trees can be read.
Sources: cgroups(7), cgroup_namespaces(7), the kernel's cgroup-v2.rst, cgroup-v1/memory.rst and
sched-bwc.rst.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")
UNIFIED = ""  # how /proc/self/cgroup names the v2 hierarchy: "0::/path"
MIB = 1 << 20
_V1_UNLIMITED = 1 << 60  # v1 says "no limit" with the largest page-aligned 64-bit number


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """Counters since the cgroups were made, summed over the levels above the process.

    ``throttled_ms`` counts every CPU held back, so it can grow faster than the clock. Two levels
    that throttle in the same moment both count it.
    """

    nr_periods: int
    nr_throttled: int
    throttled_ms: float


def cpu_quota(root: Path = ROOT) -> float:
    """CPUs this process may use: the least of its cgroups' limit, its affinity, the machine."""
    cpus = min(len(os.sched_getaffinity(0)), os.cpu_count() or 1)
    limit = cpu_limit(root)
    return float(cpus if limit is None else min(cpus, limit))


def cpu_limit(root: Path = ROOT) -> float | None:
    """The least CPU quota up to the root, in CPUs; None where no level sets one."""
    quotas = (_quota(level) for level in levels("cpu", root))
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_mb(root: Path = ROOT) -> float | None:
    """The least memory limit up to the root, in MiB; None where no level sets one."""
    limits = (
        read(level / "memory.max") or read(level / "memory.limit_in_bytes")
        for level in levels("memory", root)
    )
    numbers = [int(limit) for limit in limits if limit is not None and limit.strip() != "max"]
    least = min(numbers, default=_V1_UNLIMITED)
    return least / MIB if least < _V1_UNLIMITED else None


def cpu_throttled(root: Path = ROOT) -> Throttling | None:
    """How often and how long a CPU quota held this process back; None where it is not counted."""
    return throttling(levels("cpu", root))


def throttling(cpu_levels: Iterable[Path]) -> Throttling | None:
    """The same for levels found before: for callers that ask once per image."""
    stats = [stat for level in cpu_levels if "nr_throttled" in (stat := flat(level / "cpu.stat"))]
    if not stats:
        return None
    return Throttling(
        nr_periods=sum(stat["nr_periods"] for stat in stats),
        nr_throttled=sum(stat["nr_throttled"] for stat in stats),
        throttled_ms=sum(
            stat.get("throttled_usec", 0) / 1e3 + stat.get("throttled_time", 0) / 1e6
            for stat in stats
        ),
    )


def levels(controller: str, root: Path = ROOT) -> tuple[Path, ...]:
    """Directories of this process's cgroup and those above it, as far as they can be seen.

    ``controller`` is a v1 name; the v2 hierarchy answers for what no v1 hierarchy has, and for
    UNIFIED. Innermost first; empty without cgroups. In a container the path of the process and
    the mount may start at different places; where they cannot be matched, the mount's top is all
    that is known.
    """
    paths: dict[str, PurePosixPath] = {}
    for line in (read(root / "proc/self/cgroup") or "").splitlines():
        _, names, path = line.split(":", 2)
        paths.update(dict.fromkeys(names.split(","), PurePosixPath(path)))
    wanted = controller if controller in paths else UNIFIED
    mounts = _mounts(wanted, root)
    if wanted not in paths or not mounts:
        return ()
    for top_path, top in mounts:
        if paths[wanted].is_relative_to(top_path):
            inside = paths[wanted].relative_to(top_path)
            if ".." not in inside.parts and (top / inside).is_dir():
                return tuple(top / part for part in (inside, *inside.parents))
    return (mounts[0][1],)


def scope(controller: str, root: Path = ROOT) -> Path | None:
    """The cgroup that stands for this host: the container, else the process's own cgroup.

    None where that is the true root, whose counters are those of the whole physical machine.
    """
    found = levels(controller, root)
    if not found or _is_true_root(found[0]):
        return None
    return found[0] if _is_true_root(found[-1]) else found[-1]


def contained(root: Path = ROOT) -> bool:
    """Whether this is a container: the top of a hierarchy, as seen from here, is not its root."""
    tops = [found[-1] for name in ("cpu", UNIFIED) if (found := levels(name, root))]
    return any(not _is_true_root(top) for top in tops)


def read(path: Path | str) -> str | None:
    """A kernel file's text; None where it is missing, unreadable or empty."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123  (speed)
            return file.read() or None
    except OSError:
        return None


def flat(path: Path | str) -> dict[str, int]:
    """A file of "key number" lines (cpu.stat, memory.stat, vmstat); empty where it is missing."""
    pairs = (line.split() for line in (read(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _quota(level: Path) -> float | None:
    both = read(level / "cpu.max")
    quota, period = (
        both.split()
        if both
        else (read(level / "cpu.cfs_quota_us"), read(level / "cpu.cfs_period_us"))
    )
    if quota is None or period is None or quota.strip() in ("max", "-1"):
        return None
    return int(quota) / int(period)


def _mounts(wanted: str, root: Path) -> list[tuple[str, Path]]:
    """Where the hierarchy is mounted: (the cgroup at the mount's top, the mount point)."""
    found = []
    for line in (read(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        kind, options = right.split()[0], right.split()[-1].split(",")
        if kind == "cgroup2" if wanted == UNIFIED else kind == "cgroup" and wanted in options:
            _, _, _, top_path, point = left.split()[:5]
            found.append((top_path, root / point.lstrip("/")))
    return found


def _is_true_root(level: Path) -> bool:
    # The kernel makes these files in the root of a v1 hierarchy only, and in all but the v2 root.
    if (level / "cgroup.controllers").exists():
        return not (level / "cgroup.events").exists()
    return (level / "cgroup.sane_behavior").exists()
