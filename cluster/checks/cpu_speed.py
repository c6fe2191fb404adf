"""How fast each host's CPUs are, held against what it should be."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from cluster.checks.base import Check, Facts, Verdict, reached, warning
from cluster.checks.measuring import each
from cluster.checks.program import call
from cluster.daemons import ROLES
from cluster.inventory import Host, Inventory
from cluster.ssh import Fleet

NAME = "cpu-speed"
SECONDS = 3.0  # for one thread, and again for all: thirty periods of a CPU quota
LIMIT_S = 30.0
TOLERANCE = 0.25


def probe(
    fleet: Fleet, hosts: Sequence[Host], tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Units of work a second on one thread and on all; what they are is in remote/cpu.py."""
    return each(fleet, hosts, tell, lambda host: call(fleet, host, "cpu", SECONDS, seconds=LIMIT_S))


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Whether a host gets the CPUs it may use, and does as much with each as hosts like it."""
    measured = {
        host: known[NAME]
        for host, known in reached(facts)
        if "error" not in known.get(NAME, {"error": ""})
    }
    allowed = {
        host: min(result["cpus_allowed"], inventory[host].variables.get("lab_cpus", math.inf))
        for host, result in measured.items()
    }
    findings = []
    disturbed = set()
    for host, result in measured.items():
        declared = inventory[host].variables.get("lab_cpus")
        if facts[host]["container"] and declared not in (None, result["cpus_allowed"]):
            findings.append(
                warning(
                    host,
                    f"It may use {result['cpus_allowed']:g} CPUs; lab_cpus is {declared:g}.",
                    "Apply it: `cluster lab down`, then `cluster lab up`.",
                )
            )
        if (used := result["all"]["cpus_used"]) < allowed[host] * (1 - TOLERANCE):
            disturbed.add(host)
            findings.append(
                warning(
                    host,
                    f"It got {used:.2f} CPUs for the measurement, of {allowed[host]:g} that it may"
                    f" use; {result['stolen']:.0%} of its time went to other guests.",
                    "See what else runs there, or on the machine it is a guest of; then measure"
                    " again: what is kept is too low.",
                )
            )
    for peers in _peers(measured, allowed, inventory).values():
        middle = median(peers.values())
        findings += [
            warning(
                host,
                f"It does {speed / middle:.2f} of the work of hosts like it"
                f" ({speed:.0f} units/s a CPU, they {middle:.0f}).",
                "See its governor and its heat; if it is an older machine, give it a hardware class"
                " of its own in the inventory.",
            )
            for host, speed in peers.items()
            if speed < middle * (1 - TOLERANCE) and host not in disturbed
        ]
    findings += [
        warning(host, known[NAME]["error"], "Run `cluster doctor --check cpu-speed` again.")
        for host, known in reached(facts)
        if known.get(NAME, {}).get("error")
    ]
    rates = {host: result["all"]["units_per_s"] for host, result in measured.items()}
    shares = (f"{host} {rate / max(rates.values()):.2f}" for host, rate in rates.items())
    return Verdict(
        summary=f"of the fastest host: {', '.join(shares)}" if rates else "not measured",
        findings=tuple(findings),
    )


def _peers(
    measured: Mapping[str, Mapping[str, Any]],
    allowed: Mapping[str, float],
    inventory: Inventory,
) -> dict[object, dict[str, float]]:
    """Units/s a CPU, of hosts to compare: those of a lab, or of a hardware class."""
    groups: dict[object, dict[str, float]] = {}
    for host, result in measured.items():
        alike = "lab" if "lab_cpus" in inventory[host].variables else inventory[host].groups - ROLES
        groups.setdefault(alike, {})[host] = result["all"]["units_per_s"] / allowed[host]
    return groups


CHECK = Check(
    name=NAME,
    title="CPU speed",
    why="The slowest host decides when a job is done. What a host does when nothing else runs is"
    " also its own yardstick for telling a fault from an old machine.",
    judge=judge,
    probe=probe,
)
