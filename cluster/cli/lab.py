"""``cluster lab``: the machines of an inventory, made on this computer."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from cluster import topology
from cluster.cli.fault import fault
from cluster.cli.inventory import pass_inventory
from cluster.cli.output import console, format_option
from cluster.errors import ClusterError
from cluster.inventory import LAB_CONFIG, Inventory
from cluster.lab import access, image, nspawn, requirements, vagrant
from cluster.lab.machines import machines_of
from cluster.places import cache, repository
from cluster.validation import require_valid
from job.stragglers.wording import count


@click.group()
def lab() -> None:
    """Make the inventory's machines on this computer, and remove them.

    \b
    Examples:
      cluster lab up
      cluster -i inventory/lab-hetero lab up
      cluster lab ssh node2 -- systemctl --failed
      cluster lab fault cpu-quota node2 --factor 3
      cluster lab down
    """


lab.add_command(fault)


@lab.command()
@click.option(
    "--provider",
    type=click.Choice(["nspawn", "virtualbox", "libvirt"]),
    default="nspawn",
    show_default=True,
    help="Machines of systemd-nspawn (Linux, root), or virtual machines by Vagrant.",
)
@pass_inventory
def up(path: Path, provider: str) -> None:
    """Start the machines that are not running, as the inventory describes them.

    The first time their image is built: Debian, and what the roles install.
    """
    inventory = Inventory.load(path)
    require_valid(inventory)
    if provider != "nspawn":
        vagrant.up(inventory, provider=provider)
        return
    if vagrant.is_up(path):
        raise ClusterError(
            f"{path} has virtual machines of Vagrant: `cluster -i {path} lab down` removes them."
        )
    machines = machines_of(inventory)
    requirements.check(machines)

    def build() -> str:
        used = nspawn.images_in_use()
        return image.ensure(repository=repository(), cache=cache(), used=used, say=_say)

    own = nspawn.Lab.of(path)
    started = own.up(inventory, build, _say)
    if not started:
        _say(f"Nothing to do: all {len(machines)} machines of {own.name} are running.")
    else:
        if sentence := requirements.crowded(machines):
            _say(sentence)
        _say(f"{', '.join(started)} of {own.name} are up. Next: cluster -i {path} deploy")


@lab.command()
@click.option("--all", "every", is_flag=True, help="All labs on this computer.")
@pass_inventory
def down(path: Path, every: bool) -> None:
    """Remove the machines, their faults, and everything that `up` made, but for the image.

    Works after a crash, too, and says what it found of the lab.
    """
    if not every and vagrant.is_up(path):
        vagrant.destroy(path)
        _say(f"Removed the virtual machines of {path}.")
        return
    labs = nspawn.labs() if every else [nspawn.Lab.of(path)]
    removed = {own.name: remains for own in labs if (remains := own.down())}
    for name, remains in removed.items():
        _say(_told(name, remains))
    if not removed:
        whose = "on this computer" if every else f"of {path}"
        _say(f"Nothing to do: there is no lab {whose}.")


def _told(name: str, remains: nspawn.Remains) -> str:
    """What was removed of a lab, and what had gone before, by a crash or a reboot."""
    there = {
        count(remains.faults, "fault"): remains.faults,
        _machines(remains.running): remains.running,
        "the network": remains.network,
        count(remains.mounts, "mount"): remains.mounts,
        "the files": remains.files,
    }
    gone = {
        _machines(remains.ended): remains.ended,
        "the network": not remains.network,
        "the mounts": not remains.mounts,
    }
    text = f"Removed {name}: {', '.join(what for what, is_there in there.items() if is_there)}."
    if lost := [what for what, is_gone in gone.items() if is_gone]:
        text += f" Gone before: {', '.join(lost)}."
    return text


def _machines(names: Sequence[str]) -> str:
    return f"machine{'s' if len(names) > 1 else ''} {', '.join(names)}"


@lab.command()
@format_option
@pass_inventory
def status(path: Path, format_: str) -> None:
    """Show the machines of the inventory's lab: running, stopped or missing."""
    own = nspawn.Lab.of(path)
    rows = [
        {
            "host": machine.name,
            "state": own.state(machine.name),
            "address": str(machine.address),
            "cpus": machine.cpus,
            "memory_mb": machine.memory_mb,
            "bandwidth_mbit": machine.bandwidth_mbit,
        }
        for machine in machines_of(Inventory.load(path))
    ]
    if format_ == "json":
        click.echo(json.dumps({"lab": own.name, "machines": rows}, indent=2))
        return
    table = Table(title=own.name, title_justify="left")
    for heading in ("host", "state", "address"):
        table.add_column(heading)
    for heading in ("CPUs", "memory MB", "link Mbit/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*("" if value is None else f"{value}" for value in row.values()))
    console.print(table)


@lab.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_inventory
def picture(path: Path, file: Path) -> None:
    """Draw the inventory's hosts, services and links into FILE (SVG). It needs no lab.

    \b
    Example:
      cluster -i inventory/lab-hetero lab picture topology.svg
    """
    drawn = topology.picture(Inventory.load(path))
    try:
        file.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise ClusterError(f"{file} cannot be written: {error.strerror}.") from error


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_inventory
def ssh(path: Path, host: str, command: tuple[str, ...]) -> None:
    """Log in to a machine, or run a command there and end with its exit code.

    \b
    Examples:
      cluster lab ssh node1
      cluster lab ssh node1 -- hdfs dfs -ls /
    """
    Inventory.load(path)[host]
    config = path.absolute() / LAB_CONFIG
    if not config.exists():
        raise access.not_up(path)
    if nspawn.Lab.of(path).state(host) == "stopped":
        raise ClusterError(f"{host} is stopped: `cluster -i {path} lab up` starts it.")
    program = shutil.which("ssh")
    if program is None:
        raise ClusterError("ssh was not found: install OpenSSH's client.")
    sys.stdout.flush()
    os.execv(program, ["ssh", "-F", str(config), host, *command])


def _say(text: str) -> None:
    click.echo(text, err=True)
