"""The NodeManager's cache holds the environment, and fits the disk."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, reached, warning
from cluster.checks.disk_space import limits
from cluster.inventory import Inventory

TARGET = "yarn.nodemanager.localizer.cache.target-size-mb"
DEFAULT_TARGET_MB = 10240
LOCAL_FOLDERS = "yarn.nodemanager.local-dirs"
# A packed environment with Spark's jars and OpenVINO, unpacked. The cache counts unpacked bytes;
# the version before it and the one after must fit side by side.
ENVIRONMENT_MB = 2048
VERSIONS = 2


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Compare the cache's target with two environments, and with the room on its disk."""
    findings, targets = [], []
    for host, known in reached(facts):
        values = known["settings"]
        if LOCAL_FOLDERS not in values:
            continue
        target = int(values.get(TARGET) or DEFAULT_TARGET_MB)
        targets.append(target)
        if target < VERSIONS * ENVIRONMENT_MB:
            findings.append(
                warning(
                    host,
                    f"The cache is cleaned down to {target} MiB; {VERSIONS} environments of"
                    f" {ENVIRONMENT_MB} MiB do not fit.",
                    f"Raise hadoop_yarn_cache_mb to {2 * VERSIONS * ENVIRONMENT_MB} or more.",
                )
            )
        folder = values[LOCAL_FOLDERS].split(",")[0].strip().removeprefix("file://")
        disk = next((disk for disk in known["disks"] if disk["folder"] == folder), None)
        if disk is None:
            continue
        most, least_mb = limits(values)
        kept_free = max(least_mb, disk["size_mb"] * (1 - most / 100))
        room = disk["free_mb"] + known["cache_mb"] - kept_free
        if target > room:
            findings.append(
                warning(
                    host,
                    f"The cache may grow to {target} MiB, but {folder} has room for"
                    f" {max(room, 0):.0f} MiB until YARN calls the disk bad.",
                    "Lower hadoop_yarn_cache_mb, or give the folder a larger disk.",
                )
            )
    return Verdict(
        summary=f"cleaned down to {min(targets)} MiB; an environment is {ENVIRONMENT_MB} MiB"
        if targets
        else "no NodeManager is configured yet",
        findings=tuple(findings),
    )


CHECK = Check(
    name="cache",
    title="localiser cache",
    why="An environment that is cleaned away between two runs is copied and unpacked at each:"
    " minutes instead of seconds until the first image.",
    judge=judge,
)
