"""No host swaps."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, reached, warning
from cluster.inventory import Inventory


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Swap that is on, with how much of it is used."""
    findings = []
    for host, known in reached(facts):
        swap = known["swap"]
        if not swap["size_mb"]:
            continue
        whose = "the machine it is a container of" if known["container"] else "it"
        findings.append(
            warning(
                host,
                f"Swap is on: {whose} has {swap['size_mb']} MiB, {swap['used_mb']} MiB of it used,"
                f" vm.swappiness {swap['swappiness']}.",
                "Turn it off (`swapoff -a`, and its line in /etc/fstab), or keep vm.swappiness at"
                " 1; not done by --fix, since what is swapped out must fit into memory again.",
            )
        )
    return Verdict(
        summary=f"on {len(findings)} hosts" if findings else "off", findings=tuple(findings)
    )


CHECK = Check(
    name="swap",
    title="swap",
    why="A collector that walks a heap in swap stops the daemon for minutes, and an executor in"
    " swap is a slow host that no one can see the reason of.",
    judge=judge,
)
