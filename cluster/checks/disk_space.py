"""There is room on the disks that data, logs and software are on."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, problem, reached, warning
from cluster.inventory import Inventory

LIMIT = "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage"
DEFAULT_LIMIT = 90.0
NEAR = 5.0  # percentage points below the limit
LEAST_FREE_MB = 2048  # an environment and its archive
LEAST_INODES_PERCENT = 5.0


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Hold each file system once against the limit of YARN's disk checker."""
    findings, fullest = [], (0.0, "")
    for host, known in reached(facts):
        limit = float(known["settings"].get(LIMIT) or DEFAULT_LIMIT)
        for disk in {disk["file_system"]: disk for disk in reversed(known["disks"])}.values():
            used, free, at = disk["used_percent"], disk["free_mb"], disk["folder"]
            fullest = max(fullest, (used, f"{host} {at}"))
            room = f"{at} is {used:.0f} % full, {free / 1024:.1f} GiB are free"
            if used >= limit:
                findings.append(
                    problem(
                        host,
                        f"{room}: over YARN's limit of {limit:.0f} %.",
                        f"Make room, or put the data elsewhere; until then no job starts there"
                        f" (`du -xh {at} | sort -h | tail`).",
                    )
                )
            elif used >= limit - NEAR or free < LEAST_FREE_MB:
                findings.append(
                    warning(host, f"{room}; YARN's limit is {limit:.0f} %.", "Make room in time.")
                )
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


CHECK = Check(
    name="disk-space",
    title="disk space",
    why="Above a limit (90 %) the NodeManager calls its disk bad and the node UNHEALTHY; jobs"
    " then stay"
    " ACCEPTED without a word.",
    judge=judge,
)
