"""A lab's network: a namespace with a bridge, a namespace for each machine, no way out.

Each machine's link is made and slowed from outside, so a reboot of the machine keeps it.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError
from cluster.lab.machines import NETWORK_PREFIX, Machine, operator_address

NAMESPACES = Path("/run/netns")
BRIDGE = "br0"
INTERFACE = "eth0"
# tbf: how much may pass at once, and how long a packet may queue. A burst of 32 KB is 10 ms at
# 26 Mbit/s; tc-tbf(8) asks for rate / HZ at least, 0.5 MB/s for each Mbit at HZ=250.
MIN_BURST_BYTES = 32_000
LATENCY = "400ms"
# nftables: a packet is lost where it arrives, so the sender's kernel knows nothing of it.
LOSS = (
    "add table netdev loss; add chain netdev loss arriving"
    ' {{ type filter hook ingress device "{device}" priority 0; }};'
    " add rule netdev loss arriving numgen random mod 100000 < {limit} drop"
)

# Namespace and device of both ends of a link.
Ends = tuple[tuple[str, str], tuple[str, str]]


def namespace(lab: str, machine: str = "") -> str:
    """The name of a machine's network namespace, or of the lab's own."""
    return f"{lab}-{machine}" if machine else lab


def exists(lab: str) -> bool:
    """Whether a lab has its network."""
    return (NAMESPACES / lab).exists()


def up(lab: str, machines: tuple[Machine, ...]) -> None:
    """Make all of it; what is there already is made anew."""
    down(lab)
    _ip("netns", "add", lab)
    inside = ("-n", lab)
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "link", "add", BRIDGE, "type", "bridge")
    address = f"{operator_address(machines)}/{NETWORK_PREFIX}"
    _ip(*inside, "address", "add", address, "dev", BRIDGE)
    _ip(*inside, "link", "set", BRIDGE, "up")
    for number, machine in enumerate(machines):
        (_, link), (own, _) = ends(lab, number, machine.name)
        _ip("netns", "add", own)
        end = ("peer", "name", INTERFACE, "netns", own)
        _ip(*inside, "link", "add", link, "type", "veth", *end)
        _ip(*inside, "link", "set", link, "master", BRIDGE, "up")
        _ip("-n", own, "link", "set", "lo", "up")
        address = f"{machine.address}/{NETWORK_PREFIX}"
        _ip("-n", own, "address", "add", address, "dev", INTERFACE)
        _ip("-n", own, "link", "set", INTERFACE, "up")
        if machine.bandwidth_mbit is not None:
            shape(ends(lab, number, machine.name), machine.bandwidth_mbit)


def down(lab: str) -> bool:
    """Remove the namespaces of a lab, and with them its interfaces; False where there was none."""
    found = [
        path.name
        for path in sorted(NAMESPACES.glob(f"{lab}*"))
        if path.name == lab or path.name.startswith(f"{lab}-")
    ]
    for name in found:
        _ip("netns", "delete", name)
    return bool(found)


def ends(lab: str, number: int, machine: str) -> Ends:
    """The two ends of the link of a lab's machine number NUMBER, the machine's own last."""
    return (lab, f"host{number}"), (namespace(lab, machine), INTERFACE)


def shape(link: Ends, mbit: float | None, *, delay_ms: float = 0.0) -> None:
    """Limit a link to a speed, both directions, and delay each; None: no limit.

    Raises:
        ClusterError: tc failed; a delay takes netem, which not every kernel has.
    """
    for where, device in link:
        at = ("tc", "-n", where, "qdisc")
        # There may be none, which is as well.
        subprocess.run([*at, "delete", "dev", device, "root"], capture_output=True, check=False)
        parent = ["root"]
        if mbit is not None:
            burst = max(MIN_BURST_BYTES, round(mbit * 1e6 / 8 / 250))
            rate = f"{round(mbit * 1000)}kbit"
            options = ("rate", rate, "burst", str(burst), "latency", LATENCY)
            _run(*at, "add", "dev", device, *parent, "handle", "1:", "tbf", *options)
            parent = ["parent", "1:1"]
        if delay_ms:
            try:
                _run(*at, "add", "dev", device, *parent, "netem", "delay", f"{delay_ms:g}ms")
            except ClusterError as error:
                if "kind is unknown" not in str(error):
                    raise
                raise ClusterError(
                    "This computer's kernel has no netem, which delays packets: order no --delay."
                ) from error


def lose(link: Ends, percent: float) -> None:
    """Drop so many of a link's packets, both directions, by chance; 0: none.

    Raises:
        ClusterError: nft failed; it comes with the package nftables.
    """
    for where, device in link:
        nft = ("nsenter", f"--net={NAMESPACES / where}", "nft")
        if percent:
            _run(*nft, LOSS.format(device=device, limit=round(percent * 1000)))
        else:
            delete = [*nft, "delete table netdev loss"]
            subprocess.run(delete, capture_output=True, check=False)


@contextmanager
def unshaped(lab: str, machines: Sequence[Machine], name: str) -> Iterator[None]:
    """A slowed machine's link at full speed, for as long as this goes."""
    at, machine = next((at, each) for at, each in enumerate(machines) if each.name == name)
    link = ends(lab, at, name)
    shape(link, None)
    try:
        yield
    finally:
        shape(link, machine.bandwidth_mbit)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
