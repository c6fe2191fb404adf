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


def namespace(lab: str, machine: str = "") -> str:
    """The name of a machine's network namespace, or of the lab's own."""
    return f"{lab}-{machine}" if machine else lab


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
        own, link = namespace(lab, machine.name), f"host{number}"
        _ip("netns", "add", own)
        end = ("peer", "name", INTERFACE, "netns", own)
        _ip(*inside, "link", "add", link, "type", "veth", *end)
        _ip(*inside, "link", "set", link, "master", BRIDGE, "up")
        _ip("-n", own, "link", "set", "lo", "up")
        address = f"{machine.address}/{NETWORK_PREFIX}"
        _ip("-n", own, "address", "add", address, "dev", INTERFACE)
        _ip("-n", own, "link", "set", INTERFACE, "up")
        if machine.bandwidth_mbit is not None:
            _shape(lab, link, machine.bandwidth_mbit)
            _shape(own, INTERFACE, machine.bandwidth_mbit)


def down(lab: str) -> None:
    """Remove the namespaces of a lab, and with them its interfaces."""
    for path in sorted(NAMESPACES.glob(f"{lab}*")):
        if path.name == lab or path.name.startswith(f"{lab}-"):
            _ip("netns", "delete", path.name)


@contextmanager
def unshaped(lab: str, machines: Sequence[Machine], name: str) -> Iterator[None]:
    """A slowed machine's link at full speed, for as long as this goes."""
    at, machine = next((at, each) for at, each in enumerate(machines) if each.name == name)
    ends = ((lab, f"host{at}"), (namespace(lab, name), INTERFACE))
    for where, device in ends:
        _run("tc", "-n", where, "qdisc", "delete", "dev", device, "root")
    try:
        yield
    finally:
        for where, device in ends:
            _shape(where, device, machine.bandwidth_mbit or 0)


def _shape(where: str, device: str, mbit: float) -> None:
    burst = max(MIN_BURST_BYTES, round(mbit * 1e6 / 8 / 250))
    rate = f"{round(mbit * 1000)}kbit"
    options = ("rate", rate, "burst", str(burst), "latency", LATENCY)
    _run("tc", "-n", where, "qdisc", "replace", "dev", device, "root", "tbf", *options)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
