"""No CPU is held below its speed by its governor or a frequency limit."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, reached, warning
from cluster.inventory import Inventory

# These drivers choose speeds by themselves; their "powersave" reaches the highest one.
OWN_CHOICE = {"intel_pstate", "amd-pstate-epp"}
SLOW = {"powersave", "conservative", "userspace"}


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """What the kernel lets be seen; inside most virtual machines that is nothing."""
    findings, seen = [], []
    for host, known in reached(facts):
        cpu = known["cpu"]
        governors = cpu.get("scaling_governor", [])
        drivers = set(cpu.get("scaling_driver", ()))
        seen += governors
        if (slow := SLOW.intersection(governors)) and not drivers <= OWN_CHOICE:
            findings.append(
                warning(
                    host,
                    f"Its CPU governor is {', '.join(sorted(slow))} (driver"
                    f" {', '.join(sorted(drivers))}).",
                    "Set another: `cpupower frequency-set -g performance` (or schedutil).",
                )
            )
        allowed = [int(value) for value in cpu.get("scaling_max_freq", ())]
        possible = [int(value) for value in cpu.get("cpuinfo_max_freq", ())]
        if allowed and possible and min(allowed) < max(possible):
            findings.append(
                warning(
                    host,
                    f"A CPU is held to {min(allowed) / 1000:.0f} MHz; it can do"
                    f" {max(possible) / 1000:.0f} MHz.",
                    f"Lift the limit: `cpupower frequency-set -u {max(possible) / 1000:.0f}MHz`;"
                    " see which tool set it (tlp, thermald, BIOS).",
                )
            )
        if throttles := cpu["thermal_throttles"]:
            findings.append(
                warning(
                    host,
                    f"Its CPUs were slowed for heat {throttles} times since it started.",
                    "Look at fans, dust and the room.",
                )
            )
    return Verdict(
        summary=", ".join(sorted(set(seen))) or "the hosts have no say in it",
        findings=tuple(findings),
    )


CHECK = Check(
    name="cpu-limits",
    title="CPU governor and frequency limits",
    why="A host that is held back looks like an old one: slow at every image, with nothing to see.",
    judge=judge,
)
