"""Each daemon runs, listens on its ports, and the central ones can be reached from every host."""

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
    warning,
)
from cluster.daemons import DAEMONS, Daemon, daemons_of
from cluster.inventory import Inventory

MANY_RESTARTS = 3


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Before a deployment: whether someone else has the ports. After it: whether ours has."""
    findings, count, is_deployed = [], 0, deployed(facts)
    for host, known in reached(facts):
        for daemon in daemons_of(inventory[host]):
            count += 1
            if is_deployed:
                findings += _daemon(host, known, daemon)
            findings += _taken(host, known, daemon)
    findings += _unreachable(facts, inventory)
    summary = f"{count} daemons expected" if is_deployed else "not deployed yet; ports are free"
    return Verdict(summary=summary, findings=tuple(findings))


def _daemon(host: str, known: Facts, daemon: Daemon) -> list[Finding]:
    unit = known["units"].get(daemon.unit)
    if unit is None:
        return [
            problem(
                host,
                f"The {daemon.title} is not installed.",
                f"`cluster deploy --limit {host}`.",
            )
        ]
    log = f"`journalctl -u {daemon.unit} -n 50` there says why"
    if unit["active"] != "active":
        return [
            problem(
                host,
                f"The {daemon.title} is {unit['active']} ({unit['sub']}, last result:"
                f" {unit['result']}).",
                f"Start it: `systemctl restart {daemon.unit}`; {log}.",
                Fix(what=f"restart {daemon.unit}", command=f"systemctl restart {daemon.unit}"),
            )
        ]
    findings = []
    open_ = {socket["port"] for socket in known["listening"]}
    if missing := [f"{port} ({use})" for port, use in daemon.ports.items() if port not in open_]:
        findings.append(
            problem(
                host,
                f"The {daemon.title} runs but does not listen on {listed(missing)}.",
                f"Wait if it has only just started; otherwise {log}.",
            )
        )
    if unit["restarts"] > MANY_RESTARTS:
        findings.append(
            warning(
                host,
                f"systemd had to restart the {daemon.title} {unit['restarts']} times.",
                f"See what ends it: {log}.",
            )
        )
    return findings


def _taken(host: str, known: Facts, daemon: Daemon) -> list[Finding]:
    """Ports that something else listens on; only root sees what."""
    ours = {daemon.unit for daemon in DAEMONS} | {""}
    return [
        problem(
            host,
            f"Port {socket['port']}, which the {daemon.title} needs, is taken by"
            f" {socket['program'] or 'another program'} of {socket['unit'] or socket['user']}.",
            "Stop that program, or move it to another port.",
        )
        for socket in known["listening"]
        if socket["port"] in daemon.ports
        and (socket["unit"] not in ours or (known["root"] and not socket["unit"]))
    ]


def _unreachable(facts: Mapping[str, Facts], inventory: Inventory) -> list[Finding]:
    """A port that is open where it is, and shut as seen from another host."""
    findings = []
    at = {host.address: host.name for host in inventory.hosts}
    open_ = {
        (host, socket["port"]) for host, known in reached(facts) for socket in known["listening"]
    }
    for host, known in reached(facts):
        for failed in known["unreachable"]:
            there = at[failed["address"]]
            if (there, failed["port"]) in open_:
                findings.append(
                    problem(
                        host,
                        f"It cannot connect to {there}:{failed['port']}, where a daemon listens:"
                        f" {failed['error']}.",
                        f"Look at the firewall of {there}, and between the two.",
                    )
                )
    return findings


CHECK = Check(
    name="ports",
    title="daemons and their ports",
    why="A daemon that is down or cannot be reached takes its host out of the cluster.",
    judge=judge,
)
