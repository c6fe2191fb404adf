"""What an inventory asks of a lab: a machine per host, with its CPUs, memory, address and link."""

import ipaddress
from dataclasses import dataclass

from cluster.inventory import Host, Inventory
from job.errors import UsageError

NETWORK_PREFIX = 24


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine of a lab. ``cpus`` may be a fraction; ``bandwidth_mbit`` None: not slowed."""

    name: str
    address: ipaddress.IPv4Address
    cpus: float
    memory_mb: int
    bandwidth_mbit: float | None

    @classmethod
    def of(cls, host: Host) -> "Machine":
        """The machine that the lab variables of a host describe.

        Raises:
            UsageError: a variable is missing or is no number above 0.
        """
        bandwidth = host.variables.get("lab_bandwidth_mbit")
        try:
            address = ipaddress.IPv4Address(host.address)
        except ValueError as error:
            raise UsageError(
                f"Host {host.name} has no IPv4 address in ansible_host, which a lab needs."
            ) from error
        return cls(
            name=host.name,
            address=address,
            cpus=_positive(host, "lab_cpus"),
            memory_mb=int(_positive(host, "lab_memory_mb")),
            bandwidth_mbit=None if bandwidth is None else _positive(host, "lab_bandwidth_mbit"),
        )


def _positive(host: Host, key: str) -> float:
    value = host.variables.get(key)
    if value is None:
        raise UsageError(f"Host {host.name} has no {key}: say it in the inventory.")
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UsageError(f"Host {host.name}: {key} is {value!r}, and must be a number above 0.")
    return float(value)


def machines_of(inventory: Inventory) -> tuple[Machine, ...]:
    """All machines of an inventory, checked to fit into one network.

    Raises:
        UsageError: no host, a bad variable, an address twice or outside the others' network.
    """
    machines = tuple(Machine.of(host) for host in inventory.hosts)
    if not machines:
        raise UsageError(f"The inventory {inventory.path} has no host.")
    network = network_of(machines)
    seen: dict[ipaddress.IPv4Address, str] = {}
    for machine in machines:
        if machine.address not in network:
            raise UsageError(
                f"Host {machine.name}: ansible_host {machine.address} is outside {network}, the "
                f"network of {machines[0].name}; a lab has one."
            )
        if other := seen.get(machine.address):
            raise UsageError(
                f"Host {machine.name}: ansible_host {machine.address} is {other}'s too."
            )
        seen[machine.address] = machine.name
    return machines


def network_of(machines: tuple[Machine, ...]) -> ipaddress.IPv4Network:
    """The network that the first machine's address lies in."""
    return ipaddress.IPv4Network((machines[0].address, NETWORK_PREFIX), strict=False)


def operator_address(machines: tuple[Machine, ...]) -> ipaddress.IPv4Address:
    """The first address of the network that no machine has: the lab's side of the bridge."""
    taken = {machine.address for machine in machines}
    return next(address for address in network_of(machines).hosts() if address not in taken)
