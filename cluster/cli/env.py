"""``cluster env``: the executors' environment, built once and brought to the hosts."""

import json
from typing import Any

import click
from rich.table import Table

from cluster.cli.output import console, format_option, tell_step
from cluster.env import build as building
from cluster.env.build import Environment

MEGABYTE = 1e6


@click.group()
def env() -> None:
    """Build the Python environment that executors run in.

    \b
    Examples:
      cluster env build
      cluster env build --archive tar
    """


@env.command()
@click.option(
    "--archive",
    type=click.Choice(building.FORMATS),
    default="tar.gz",
    show_default=True,
    help="A plain tar spares slow CPUs the gunzip, and is larger on the network.",
)
@click.option(
    "--level",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    help="gzip's level; above 1 the archive hardly shrinks.",
)
@format_option
def build(archive: str, level: int, format_: str) -> None:
    """Build and pack the environment that requirements/env.lock describes.

    Its name is made from what goes into it: where it is built already, nothing is done.
    """
    environment = building.build(tell=tell_step)
    path = building.pack(environment, archive, level, tell=tell_step)
    if format_ == "json":
        told: dict[str, Any] = environment.to_json()
        told |= {"archive": str(path), "archive_bytes": path.stat().st_size}
        click.echo(json.dumps(told, indent=2))
        return
    _show(environment)
    console.print(f"{path.stat().st_size / MEGABYTE:.0f} MB packed: {path}", soft_wrap=True)


def _show(environment: Environment) -> None:
    table = Table(title=f"environment {environment.digest}", title_justify="left")
    table.add_column("left out")
    table.add_column("MB", justify="right")
    for part in environment.dropped:
        table.add_row(part.name, f"{part.bytes / MEGABYTE:.0f}")
    console.print(table)
    whole, kept = environment.whole_bytes / MEGABYTE, environment.bytes / MEGABYTE
    console.print(f"{kept:.0f} MB unpacked, of {whole:.0f} MB")
