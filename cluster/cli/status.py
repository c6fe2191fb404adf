"""``cluster status``: what runs, by its own word."""

import json
import sys
import time
from pathlib import Path

import click
from rich import box
from rich.table import Table
from rich.text import Text

from cluster.cli.inventory import pass_inventory
from cluster.cli.output import console, format_option
from cluster.errors import FAILED
from cluster.inventory import Inventory
from cluster.status import ClusterStatus, HostStatus, ServiceStatus
from cluster.status import status as ask

GIBIBYTE = 2**30


@click.command()
@format_option
@pass_inventory
def status(path: Path, /, format_: str) -> None:
    """Show each host's services: ready or not, by their own word.

    A NodeManager is ready when the ResourceManager lists it as running, a DataNode when the
    NameNode calls it live and is out of safe mode itself, and so on: that systemd has started a
    process is not enough. Ends with 1 where something is down.

    \b
    Examples:
      cluster status
      cluster -i inventory/lab-hetero status --format json
    """
    found = ask(Inventory.load(path))
    if format_ == "json":
        click.echo(json.dumps({"inventory": str(path), **found.to_json()}))
    else:
        _show(found)
    if not found.ready:
        sys.exit(FAILED)


def _show(found: ClusterStatus) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("host", "service", "state", "for", "version"):
        table.add_column(name, no_wrap=name != "state")
    table.add_column("memory MiB", justify="right", no_wrap=True)
    table.add_column("vcores", justify="right", no_wrap=True)
    for host in found.hosts:
        _add_rows(table, host)
    console.print(table)
    for line in _wholes(found):
        console.print(line)
    # Below the table, for they are sentences.
    for host in found.hosts:
        if host.error:
            console.print(Text(host.error, style="red"), soft_wrap=True)
        for service in [] if host.error else host.services:
            if note := _note(service):
                colour = "yellow" if service.ready else "red"
                text = Text(f"{host.host} {service.service}: {note}", style=colour)
                console.print(text, soft_wrap=True)
    services = [service for host in found.hosts for service in host.services]
    ready = sum(service.ready for service in services)
    colour = "green" if found.ready else "red"
    silent = sum(bool(host.error) for host in found.hosts)
    but = f", but {silent} of {len(found.hosts)} hosts cannot be reached" if silent else ""
    console.print(f"[{colour}]{ready} of {len(services)} services are ready{but}.[/]")


def _add_rows(table: Table, host: HostStatus) -> None:
    name = host.host
    if host.error:
        table.add_row(name, "", Text("unreachable", style="red"))
        name = ""
    for service in host.services:
        table.add_row(name, *_cells(service))
        name = ""
    table.add_section()


def _cells(service: ServiceStatus) -> list[str | Text]:
    amounts = service.amounts
    return [
        service.service,
        Text(service.state, style="green" if service.ready else "red"),
        _duration(time.time() - service.since) if service.since else "",
        service.version or "",
        f"{amounts.used_memory_mb}/{amounts.memory_mb}" if amounts else "",
        f"{amounts.used_vcores}/{amounts.vcores}" if amounts else "",
    ]


def _note(service: ServiceStatus) -> str:
    changed = [Path(file).name for file in service.changed]
    notes = [
        service.why.rstrip("."),
        f"changed since it started: {', '.join(changed)}" if changed else "",
        f"restarts: {service.restarts}" if service.restarts else "",
    ]
    return "; ".join(note for note in notes if note)


def _wholes(found: ClusterStatus) -> list[str]:
    lines = []
    if namenode := found.namenode:
        bad = {
            "missing blocks": namenode.missing_blocks,
            "blocks with too few copies": namenode.under_replicated_blocks,
        }
        notes = [f", {number} {what}" for what, number in bad.items() if number]
        lines.append(
            f"HDFS   {namenode.used_bytes / GIBIBYTE:.1f} of"
            f" {namenode.capacity_bytes / GIBIBYTE:.1f} GiB used{''.join(notes)}"
        )
    if manager := found.resource_manager:
        lines.append(
            f"YARN   {manager.used_memory_mb} of {manager.memory_mb} MiB and {manager.used_vcores}"
            f" of {manager.vcores} vcores used, {len(manager.applications)} applications"
        )
    if master := found.master:
        lines.append(f"Spark  {len(master.applications)} applications on its own master")
    return lines


def _duration(seconds: float) -> str:
    """The two largest units, as 3h 5m."""
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    left, parts = max(0, int(seconds)), list[str]()
    for name, size in units:
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number}{name}")
    return " ".join(parts[:2]) or "0s"
