"""There is room on the disks that data, logs and software are on."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, problem, reached, warning
from cluster.inventory import Inventory

LIMIT_PERCENT = "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage"
LIMIT_FREE_MB = "yarn.nodemanager.disk-health-checker.min-free-space-per-disk-mb"
NEAR_PERCENT = 5.0
NEAR_MB = 2048
LEAST_INODES_PERCENT = 5.0


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Hold each file system once against the limits of YARN's disk checker."""
    findings, fullest = [], (0.0, "")
    for host, known in reached(facts):
        most, least_mb = limits(known["settings"])
        for disk in {disk["file_system"]: disk for disk in reversed(known["disks"])}.values():
            used, free, at = disk["used_percent"], disk["free_mb"], disk["folder"]
            fullest = max(fullest, (used, f"{host} {at}"))
            numbers = (
                f"{at} is {used:.0f} % full, {free} MiB are free; YARN's limits are {most:g} % and"
                f" {least_mb} MiB."
            )
            if used >= most or free < least_mb:
                findings.append(
                    problem(
                        host,
                        numbers,
                        "Make room, or put the data elsewhere; until then no container starts there"
                        f" (`du -xh {at} | sort -h | tail` says what is large).",
                    )
                )
            elif used >= most - NEAR_PERCENT or free < least_mb + NEAR_MB:
                findings.append(warning(host, numbers, "Make room in time."))
            if disk["inodes_free_percent"] < LEAST_INODES_PERCENT:
                findings.append(
                    warning(
                        host,
                        f"{at} has {disk['inodes_free_percent']:.1f} % of its inodes left.",
                        "Remove small files: at 0 nothing can be created, however much room"
                        " there is.",
                    )
                )
    return Verdict(
        summary=f"fullest: {fullest[1]}, {fullest[0]:.0f} %" if fullest[1] else "no disk seen",
        findings=tuple(findings),
    )


def limits(settings: Mapping[str, str]) -> tuple[float, int]:
    """The share in percent that may be used, and the MiB that must be free.

    As configured; Hadoop's own defaults where only they apply; before a deployment the roles'.
    """
    percent, free_mb = (90.0, 0) if settings else (100.0, 512)
    return float(settings.get(LIMIT_PERCENT) or percent), int(
        settings.get(LIMIT_FREE_MB) or free_mb
    )


CHECK = Check(
    name="disk-space",
    title="disk space",
    why="Beyond its limits the NodeManager calls a disk bad and the node UNHEALTHY; jobs then stay"
    " ACCEPTED without a word.",
    judge=judge,
)
