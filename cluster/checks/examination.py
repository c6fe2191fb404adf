"""Carries out the checks, and what may be fixed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cluster.checks import probes
from cluster.checks.base import Check, Facts, Finding, Fix, Severity, Verdict, reached
from cluster.checks.collect import collect
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.places import repository
from cluster.playbooks import Options, run_playbook
from cluster.ssh import Fleet
from job.stragglers.wording import count

# A daemon that was restarted listens after some seconds.
PATIENCE_S = 60.0
BETWEEN_S = 3.0
# Deploys the roles that every host has; a role is a tag of it.
PLAYBOOK = Path("playbooks", "hosts.yml")

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What the hosts said, and what each check makes of it."""

    facts: Mapping[str, Facts]
    verdicts: Mapping[str, Verdict]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all checks."""
        return tuple(f for verdict in self.verdicts.values() for f in verdict.findings)

    @property
    def silent(self) -> bool:
        """Whether no host could be asked."""
        return not any(reached(self.facts))

    @property
    def failed(self) -> bool:
        """Whether there is a problem."""
        return self.silent or any(finding.severity is Severity.PROBLEM for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What was done on a host, or on all (an empty name); and the error, where it failed."""

    host: str
    what: str
    error: str = ""


def examine(fleet: Fleet, inventory: Inventory, checks: Sequence[Check], tell: Tell) -> Examination:
    """Ask every host once, measure where a check measures, judge. Results of probes are kept."""
    tell(f"Asking {count(len(inventory.hosts), 'host')}")
    facts = collect(fleet, inventory, inventory.hosts)
    hosts = [inventory[name] for name, _ in reached(facts)]
    for check in checks:
        if check.probe and hosts:
            measured = check.probe(fleet, hosts, partial(_tell_measuring, tell, check))
            probes.keep(inventory.path, check.name, measured)
            facts = {
                name: {**known, check.name: measured[name]} if name in measured else known
                for name, known in facts.items()
            }
    return _judge(facts, inventory, checks)


def fix(
    fleet: Fleet,
    inventory: Inventory,
    checks: Sequence[Check],
    before: Examination,
    tell: Tell,
) -> tuple[tuple[Fixed, ...], Examination]:
    """Do what the findings allow, then examine again without measuring again."""
    wanted: dict[tuple[str, Fix], None] = {}
    for finding in before.findings:
        if finding.fix:
            wanted[("" if finding.fix.role else finding.host, finding.fix)] = None
    if not wanted:
        return (), before
    done = []
    for host, each in wanted:
        tell(f"{host or 'All hosts'}: {each.what}")
        done.append(Fixed(host=host, what=each.what, error=_apply(fleet, inventory, host, each)))
    measured = {check.name for check in checks if check.probe}
    kept = {
        host: {name: result for name, result in known.items() if name in measured}
        for host, known in before.facts.items()
    }
    ends = time.monotonic() + PATIENCE_S
    while True:
        tell("Looking again")
        asked = collect(fleet, inventory, inventory.hosts)
        after = _judge(
            {host: {**known, **kept[host]} for host, known in asked.items()}, inventory, checks
        )
        settled = all(each.error for each in done) or not _unsettled(before, after)
        if settled or time.monotonic() > ends:
            return tuple(done), after
        time.sleep(BETWEEN_S)


def _unsettled(before: Examination, after: Examination) -> bool:
    """Whether a check that had something fixed still finds that, or something new."""
    for name, verdict in before.verdicts.items():
        if any(finding.fix for finding in verdict.findings):
            then, now = set(verdict.findings), after.verdicts[name].findings
            if any(finding.fix or finding not in then for finding in now):
                return True
    return False


def _tell_measuring(tell: Tell, check: Check, hosts: str) -> None:
    tell(f"Measuring {check.title}: {hosts}")


def _judge(
    facts: Mapping[str, Facts], inventory: Inventory, checks: Sequence[Check]
) -> Examination:
    return Examination(
        facts=facts, verdicts={check.name: check.judge(facts, inventory) for check in checks}
    )


def _apply(fleet: Fleet, inventory: Inventory, host: str, each: Fix) -> str:
    """Empty where it worked, else why it did not."""
    try:
        if each.role:
            run_playbook(repository() / PLAYBOOK, inventory, Options(tags=(each.role,)))
        else:
            fleet.run(inventory[host], each.command, sudo=True).check()
    except ClusterError as error:
        return str(error)
    return ""
