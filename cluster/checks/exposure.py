"""No daemon listens beyond the cluster's network."""

from collections.abc import Mapping
from ipaddress import ip_address

from cluster.checks.base import Check, Facts, Verdict, listed, problem, reached, warning
from cluster.daemons import DAEMONS
from cluster.inventory import Inventory

USERS = {"hdfs", "yarn", "spark", "mapred", "hadoop"}
UNITS = {daemon.unit for daemon in DAEMONS}
# Who reaches one of these may start programs: nothing asks who is calling.
EXECUTES = {8030, 8032, 8040, 8041, 8042, 8088, 7077, 6066, 8080, 8081}
PORTS = EXECUTES | {port for daemon in DAEMONS for port in daemon.ports}


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Sockets of the daemons and their containers, and whoever else has their ports."""
    findings, seen = [], 0
    for host, known in reached(facts):
        own = inventory[host].address
        others = [i["address"] for i in known["interfaces"] if i["address"] != own]
        for socket in known["listening"]:
            theirs = socket["user"] in USERS or socket["unit"] in UNITS or socket["port"] in PORTS
            if not theirs:
                continue
            seen += 1
            at = ip_address(socket["address"])
            if socket["address"] == own or at.is_loopback:
                continue
            where = f"Port {socket['port']} of {socket['unit'] or socket['user']} is open on"
            where += " every address" if at.is_unspecified else f" {at}"
            risk = (
                " Whoever reaches it can run programs there." if socket["port"] in EXECUTES else ""
            )
            do = f"Let it bind to {own}: `cluster deploy`, or its bind-address setting."
            if at.is_unspecified and not others:
                # Nothing but the cluster's address to be reached at, for now.
                findings.append(
                    warning(host, f"{where}; the cluster's is the only one so far.{risk}", do)
                )
            else:
                beyond = f", also on {listed(others)}" if at.is_unspecified else ""
                findings.append(problem(host, f"{where}{beyond}, not on {own} alone.{risk}", do))
    return Verdict(
        summary=f"{seen} sockets of daemons looked at" if seen else "no daemon listens yet",
        findings=tuple(findings),
    )


CHECK = Check(
    name="exposure",
    title="listening beyond the cluster",
    why="Nothing in a cluster without Kerberos asks who is calling: an open YARN REST port is"
    " remote code execution for whoever finds it, and it is found within hours.",
    judge=judge,
)
