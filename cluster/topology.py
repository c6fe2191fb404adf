"""A picture of a cluster, from its inventory alone: SVG, readable in any browser."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cluster.daemons import ROLES, daemons_of
from cluster.inventory import EDGE, Host, Inventory

EDGE_LINE = "edge: jobs start here"


def picture(inventory: Inventory) -> str:
    """One card per host: its services, CPUs, memory and link; and how the operator reaches it.

    Returns:
        An SVG document.
    """
    environment = Environment(
        loader=PackageLoader("cluster", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cards = [_card(host) for host in inventory.hosts]
    rows = max(len(card["services"]) for card in cards)
    template = environment.get_template("topology.svg.j2")
    return template.render(name=inventory.path.name, cards=cards, rows=rows)


def _card(host: Host) -> dict[str, Any]:
    said = host.variables
    cpus, memory, link = (said.get(f"lab_{key}") for key in ("cpus", "memory_mb", "bandwidth_mbit"))
    services = [(daemon.title, daemon.product) for daemon in daemons_of(host)]
    if EDGE in host.groups:
        services.append((EDGE_LINE, EDGE))
    return {
        "name": host.name,
        "address": host.address,
        "hardware": ", ".join(sorted(host.groups - ROLES)),
        "cpus": "" if cpus is None else f"{cpus:g} CPU{'s' if cpus > 1 else ''}",
        "memory": "" if memory is None else f"{memory / 1024:g} GiB",
        "link": "" if link is None else f"{link:g} Mbit/s",
        "services": services,
        "edge": EDGE in host.groups,
    }
