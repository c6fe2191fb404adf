"""Who is measured when: hosts that share a machine one after the other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cluster.errors import ClusterError
from cluster.inventory import Host
from cluster.ssh import Fleet

T = TypeVar("T")


def share_a_machine(hosts: Iterable[Host]) -> bool:
    """A lab's hosts are guests of one machine: measured together they would slow each other."""
    return any("lab_cpus" in host.variables for host in hosts)


def each(
    fleet: Fleet,
    hosts: Sequence[Host],
    tell: Callable[[str], None],
    measure: Callable[[Host], dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Measure every host, all at once or one by one; its result or {"error": sentence} by name."""
    groups = [[host] for host in hosts] if share_a_machine(hosts) else [list(hosts)]
    results: dict[str, dict[str, Any]] = {}
    for group in groups:
        tell(", ".join(host.name for host in group))
        results |= told(fleet.fan_out(group, measure))
    return results


def told(outcomes: Mapping[str, dict[str, Any] | ClusterError]) -> dict[str, dict[str, Any]]:
    """Errors as objects, so that they can be kept and judged like results."""
    return {
        name: {"error": str(outcome)} if isinstance(outcome, ClusterError) else outcome
        for name, outcome in outcomes.items()
    }
