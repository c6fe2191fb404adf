"""Every host can be reached by SSH, under a known key, and lets the account use sudo."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, problem, reached
from cluster.inventory import Inventory


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """A host that cannot be asked, or only as an ordinary user."""
    findings = [
        problem(
            host,
            known["error"],
            f"See how far a login gets: `.venv/bin/ansible -i {inventory.path} {host} -m ping"
            " -vvv`.",
        )
        for host, known in facts.items()
        if "error" in known
    ]
    findings += [
        problem(
            host,
            "The account that SSH logs in with may not use sudo without a password, so other checks"
            " saw only a part.",
            "Give it a line with NOPASSWD: ALL in /etc/sudoers.d/.",
        )
        for host, known in reached(facts)
        if not known["root"]
    ]
    return Verdict(
        summary=f"{len(facts) - len(findings)} of {len(facts)} hosts reached, keys known, sudo"
        " works",
        findings=tuple(findings),
    )


CHECK = Check(
    name="ssh",
    title="SSH, host key, sudo",
    why="Deploying, running and watching all go over SSH; a host without it is not in the cluster.",
    judge=judge,
)
