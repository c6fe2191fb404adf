"""What the daemons and YARN's containers may take fits into the host's memory."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, problem, reached, span, warning
from cluster.daemons import daemons_of
from cluster.inventory import Host, Inventory

YARN_SETTING = "yarn.nodemanager.resource.memory-mb"
# What the inventory may say before anything is deployed.
PROMISED = {
    "yarn_nodemanager": "hadoop_yarn_memory_mb",
    "spark_worker": "spark_worker_memory_mb",
}
LEFT_OVER = 0.05  # share of memory that the system and the page cache want for themselves


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Add up heaps and containers, and compare with what the host really has."""
    findings, shares = [], []
    for host, known in reached(facts):
        has, parts = capacity_mb(inventory[host], known), promised_mb(inventory[host], known)
        total = sum(parts.values())
        shares.append(100 * total / has)
        said = " + ".join(f"{name} {size}" for name, size in parts.items())
        numbers = f"{said} = {total} MiB of its {has} MiB"
        if total > has:
            findings.append(
                problem(
                    host,
                    f"More memory is promised than there is: {numbers}.",
                    "Lower hadoop_yarn_memory_mb or spark_worker_memory_mb of the host or its"
                    " class, then `cluster deploy`.",
                )
            )
        elif total > has * (1 - LEFT_OVER):
            findings.append(
                warning(
                    host,
                    f"Little is left for the system: {numbers}.",
                    "Lower hadoop_yarn_memory_mb or spark_worker_memory_mb, or raise the reserve.",
                )
            )
    return Verdict(
        summary=span(shares, "% of memory promised") if shares else "no host could be asked",
        findings=tuple(findings),
    )


def capacity_mb(host: Host, known: Facts) -> int:
    """The least of the memory seen, the control groups' limit and the lab's grant, in MiB."""
    memory = known["memory"]
    granted = host.variables.get("lab_memory_mb")
    limits = (memory["total_mb"], memory["limit_mb"], granted)
    return min(int(limit) for limit in limits if limit is not None)


def promised_mb(host: Host, known: Facts) -> dict[str, int]:
    """What each daemon may take: its heap, and what it gives to containers or executors."""
    parts = {}
    for daemon in daemons_of(host):
        unit = known["units"].get(daemon.unit, {})
        if unit.get("heap_mb"):
            parts[f"{daemon.title} heap"] = unit["heap_mb"]
        if variable := PROMISED.get(daemon.group):
            value = unit.get("offers_mb") or host.variables.get(variable)
            if daemon.group == "yarn_nodemanager":
                value = known["settings"].get(YARN_SETTING) or value
            # The inventory's may be a template, which Ansible alone can fill in.
            if value is not None and str(value).isdigit():
                parts[f"{daemon.title} offers"] = int(value)
    return parts


CHECK = Check(
    name="memory",
    title="RAM against configured memory",
    why="Where more is promised than there is, the kernel kills the largest process, which is the"
    " executor with the model, or the host swaps and everything on it is slow.",
    judge=judge,
)
