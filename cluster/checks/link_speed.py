"""How fast the network is between neighbouring hosts, in both directions."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from cluster.checks.base import Check, Facts, Finding, Verdict, problem, reached, span, warning
from cluster.checks.measuring import share_a_machine, told
from cluster.checks.program import call
from cluster.errors import ClusterError
from cluster.inventory import Host, Inventory
from cluster.ssh import Fleet

NAME = "link-speed"
SECONDS = 2.0  # in each direction
LIMIT_S = 40.0
# Below the ports that Linux gives to outgoing connections.
PORTS = range(20000, 32000)
SLOWER, FASTER = 0.7, 1.5  # than declared
OF_PEERS = 0.5
OLD_LINK_MBIT = 100


def probe(
    fleet: Fleet, hosts: Sequence[Host], tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Measure a ring: each host and the next. A host's rates are by the neighbour it sends to."""
    rates: dict[str, dict[str, Any]] = {host.name: {"to_mbit": {}} for host in hosts}
    for pairs in rounds(hosts):
        tell(", ".join(f"{one.name} and {other.name}" for one, other in pairs))
        for name, (neighbour, outcome) in _measure_at_once(fleet, pairs).items():
            if "error" in outcome:
                rates[name].setdefault("failed", {})[neighbour] = outcome["error"]
            else:
                rates[name]["to_mbit"][neighbour] = outcome["there"]
                rates[neighbour]["to_mbit"][name] = outcome["back"]
    return rates


def rounds(hosts: Sequence[Host]) -> list[list[tuple[Host, Host]]]:
    """The pairs of a ring, those that may be measured at once together.

    No host is in two pairs of a round. Guests of one machine are measured pair by pair.
    """
    count = len(hosts)
    ring = [(hosts[at], hosts[(at + 1) % count]) for at in range(count if count > 2 else count - 1)]
    if share_a_machine(hosts):
        return [[pair] for pair in ring]
    # An odd ring's last pair shares a host with the first.
    groups = [ring[: count // 2 * 2 : 2], ring[1::2], ring[count // 2 * 2 :: 2]]
    return [group for group in groups if group]


def _measure_at_once(
    fleet: Fleet, pairs: Sequence[tuple[Host, Host]]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """For each pair's first host: the name of the second, and what was measured."""
    neighbours = {one.name: other for one, other in pairs}
    outcomes = told(
        fleet.fan_out(
            [one for one, _ in pairs], lambda host: measure(fleet, host, neighbours[host.name])
        )
    )
    return {name: (neighbours[name].name, outcome) for name, outcome in outcomes.items()}


def measure(fleet: Fleet, one: Host, other: Host, seconds: float = SECONDS) -> dict[str, Any]:
    """Mbit/s from one host to the other, and back, over a connection that nobody else can make.

    Raises:
        ClusterError: nothing went between them.
    """
    port, token = secrets.choice(PORTS), secrets.token_hex(16)

    def side(host: Host) -> dict[str, Any]:
        role = "listen" if host is other else "connect"
        return call(
            fleet,
            host,
            "link",
            *(role, other.address, port, one.address, seconds, token),
            seconds=LIMIT_S,
        )

    sides = told(fleet.fan_out((other, one), side))
    for result in sides.values():
        if "error" in result:
            raise ClusterError(f"{result['error'].rstrip('.')} ({other.name}, port {port}).")
    return {
        "there": sides[other.name]["received_mbit"],
        "back": sides[one.name]["received_mbit"],
    }


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Hold what a host sends and gets against its declared speed, else against the others.

    Its better neighbour counts, so that a slow one casts no shadow on it.
    """
    findings = [
        finding
        for host, known in reached(facts)
        for finding in (*_interface(host, inventory[host].address, known), *_failed(host, known))
    ]
    rates = {host: known[NAME]["to_mbit"] for host, known in reached(facts) if NAME in known}
    pairs = [(one, other, rate) for one, to in rates.items() for other, rate in to.items()]
    if not pairs:
        return Verdict(summary="not measured", findings=tuple(findings))
    declared = {
        host.name: float(host.variables["lab_bandwidth_mbit"])
        for host in inventory.hosts
        if "lab_bandwidth_mbit" in host.variables
    }
    for way, mine in (("sends", 0), ("gets", 1)):
        best: dict[str, tuple[float, str]] = {}
        for pair in pairs:
            host, neighbour = pair[mine], pair[1 - mine]
            best[host] = max(best.get(host, (0.0, "")), (pair[2], neighbour))
        free = [rate for host, (rate, _) in best.items() if host not in declared]
        middle = median(free) if free else 0.0
        for host, (rate, neighbour) in best.items():
            limits = [declared[end] for end in (host, neighbour) if end in declared]
            what = f"It {way} {rate:.0f} Mbit/s"
            findings += _held_against(host, what, rate, limits, middle)
    return Verdict(
        summary=span((rate for *_, rate in pairs), "Mbit/s") + f" over {len(pairs)} ways",
        findings=tuple(findings),
    )


def _held_against(
    host: str, what: str, rate: float, limits: Sequence[float], middle: float
) -> list[Finding]:
    """Against the least declared limit of the two ends, or against the hosts' median."""
    look = (
        "See cable, switch port and duplex (`ethtool`), or the radio link; and what else is sent."
    )
    if limits and rate < SLOWER * min(limits):
        return [warning(host, f"{what}, declared are {min(limits):g}.", look)]
    if limits and rate > FASTER * min(limits):
        return [
            warning(
                host,
                f"{what}, more than the {min(limits):g} that are declared.",
                "The limit is not applied: `cluster lab down`, then `cluster lab up`.",
            )
        ]
    if not limits and rate < OF_PEERS * middle:
        return [warning(host, f"{what}, the hosts' median is {middle:.0f}.", look)]
    return []


def _interface(host: str, address: str, known: Facts) -> list[Finding]:
    return [
        warning(
            host,
            f"{link['interface']} came up with {link['speed_mbit']} Mbit/s,"
            f" {link['duplex']} duplex.",
            "Change the cable or the switch port: two damaged wires are enough for that.",
        )
        for link in known["interfaces"]
        if link["address"] == address
        and link["speed_mbit"]
        and (link["speed_mbit"] <= OLD_LINK_MBIT or link["duplex"] == "half")
    ]


def _failed(host: str, known: Facts) -> list[Finding]:
    failed = known.get(NAME, {}).get("failed", {})
    return [
        problem(
            host,
            f"No data went between it and {other}: {error}",
            "See that a firewall lets the cluster's hosts reach one another on every port.",
        )
        for other, error in failed.items()
    ]


CHECK = Check(
    name=NAME,
    title="link speed",
    why="Environments, images and results cross it. At 26 Mbit/s an environment of 0.8 GB takes"
    " four minutes.",
    judge=judge,
    probe=probe,
)
