"""Every host looks up every host's name as its cluster address, and back."""

from collections.abc import Mapping

from cluster.checks.base import (
    Check,
    Facts,
    Finding,
    Fix,
    Verdict,
    deployed,
    listed,
    problem,
    reached,
)
from cluster.inventory import Inventory

FIX = Fix(what="write the hosts file of every host", role="base")


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Names once the hosts file is deployed; that the addresses are there, always."""
    findings = [
        finding
        for host, known in reached(facts)
        for finding in _addresses(host, inventory[host].address, known)
    ]
    if not deployed(facts):
        return Verdict(
            summary="not deployed yet: `cluster deploy` writes the hosts file",
            findings=tuple(findings),
        )
    for host, known in reached(facts):
        if known["hostname"] != host:
            findings.append(
                problem(
                    host,
                    f"It calls itself {known['hostname']}.",
                    f"Run `cluster deploy`, which sets the name {host}.",
                    FIX,
                )
            )
        if wrong := known["names"]:
            found = listed(
                f"{row['asked']} is {row['got']}, not {row['expected']}" for row in wrong
            )
            findings.append(
                problem(host, f"It looks up wrongly: {found}.", "Run `cluster deploy`.", FIX)
            )
    asked = 2 * len(inventory.hosts)
    return Verdict(
        summary=f"{asked} names and addresses looked up on each host", findings=tuple(findings)
    )


def _addresses(host: str, address: str, known: Facts) -> list[Finding]:
    if any(interface["address"] == address for interface in known["interfaces"]):
        return []
    has = listed(interface["address"] for interface in known["interfaces"]) or "none"
    return [
        problem(
            host,
            f"None of its interfaces has its cluster address {address}; they have {has}.",
            "Correct cluster_address (or ansible_host) in the inventory, or the host's network.",
        )
    ]


CHECK = Check(
    name="names",
    title="name resolution",
    why="Daemons register under their names: one that looks up its own as 127.0.1.1 tells the"
    " others an address that leads back to themselves.",
    judge=judge,
)
