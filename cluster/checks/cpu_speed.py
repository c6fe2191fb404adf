"""How fast each host's CPUs are, held against what it should be."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from cluster.checks.base import Check, Facts, Verdict, reached, warning
from cluster.checks.daemons import ROLES
from cluster.checks.measuring import each
from cluster.checks.program import call
from cluster.inventory import Host, Inventory
from cluster.ssh import Fleet

NAME = "cpu-speed"
SECONDS = 3.0  # for one thread, and again for all: thirty periods of a CPU quota
LIMIT_S = 30.0
TOLERANCE = 0.25
BUSY = 0.2


def probe(
    fleet: Fleet, hosts: Sequence[Host], tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Units of work a second on one thread and on all; what they are is in remote/cpu.py."""
    return each(fleet, hosts, tell, lambda host: call(fleet, host, "cpu", SECONDS, seconds=LIMIT_S))


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Compare hosts that should be equal: by CPU where CPUs are declared, else within a class."""
    measured = {
        host: known[NAME]
        for host, known in reached(facts)
        if "error" not in known.get(NAME, {"error": ""})
    }
    findings = []
    for peers in _peers(measured, inventory).values():
        middle = median(peers.values())
        for host, speed in peers.items():
            if speed < middle * (1 - TOLERANCE):
                findings.append(
                    warning(
                        host,
                        f"It does {speed / middle:.2f} of the work that hosts like it do"
                        f" ({speed:.0f} units/s, they {middle:.0f}).",
                        "See what else runs there, its governor, its heat; if it is an older"
                        " machine,"
                        " give it a hardware class of its own in the inventory.",
                    )
                )
    for host, result in measured.items():
        if result["busy_before"] > BUSY and not facts[host]["container"]:
            findings.append(
                warning(
                    host,
                    f"It was {result['busy_before']:.0%} busy when the measurement began.",
                    "Measure again when nothing runs: what is kept is too low.",
                )
            )
    findings += [
        warning(host, known[NAME]["error"], "Run `cluster doctor --check cpu-speed` again.")
        for host, known in reached(facts)
        if known.get(NAME, {}).get("error")
    ]
    fastest = max((result["all"]["units_per_s"] for result in measured.values()), default=1.0)
    return Verdict(
        summary=", ".join(
            f"{host} {result['all']['units_per_s'] / fastest:.2f}"
            for host, result in measured.items()
        )
        + " of the fastest host"
        if measured
        else "not measured",
        findings=tuple(findings),
    )


def _peers(
    measured: Mapping[str, Mapping[str, Any]], inventory: Inventory
) -> dict[object, dict[str, float]]:
    """Hosts to compare, with units/s: of each declared CPU, or as they are within a class."""
    groups: dict[object, dict[str, float]] = {}
    for host, result in measured.items():
        declared = inventory[host].variables.get("lab_cpus")
        speed = result["all"]["units_per_s"]
        if declared is None:
            hardware_class = inventory[host].groups - ROLES
            groups.setdefault(hardware_class, {})[host] = speed
        else:
            used = min(float(declared), result["all"]["threads"])
            groups.setdefault("declared", {})[host] = speed / used
    return groups


CHECK = Check(
    name=NAME,
    title="CPU speed",
    why="The slowest host decides when a job is done. What a host does when nothing else runs is"
    " also"
    " its own yardstick for telling a fault from an old machine.",
    judge=judge,
    probe=probe,
)
