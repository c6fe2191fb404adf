"""``cluster env``: the executors' environment, built once and brought to the hosts."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table

from cluster.cli.output import console, format_option, tell_step
from cluster.cli.run import DEFAULT_MODEL
from cluster.env import build as building
from cluster.env.build import Environment
from cluster.env.gc import Judged, collect
from cluster.env.push import Pushed
from cluster.env.push import push as push_to
from cluster.env.store import require_deployed
from cluster.env.verify import Copy
from cluster.env.verify import verify as verify_copies
from cluster.env.warm import Warmed
from cluster.env.warm import warm as warm_hosts
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.ssh import Fleet
from job.errors import UsageError
from job.model import Model
from job.spec import ENGINES

MEGABYTE = 1e6


@click.group()
def env() -> None:
    """Build the Python environment that executors run in, and bring it to the cluster.

    \b
    Examples:
      cluster env build
      cluster env push
      cluster env push --archive tar.gz --level 6
      cluster env warm
      cluster env verify
      cluster env gc --dry-run
      cluster env gc --keep-days 7
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


@env.command()
@click.option(
    "--archive",
    type=click.Choice(building.FORMATS),
    help="The archive on HDFS; by default the one that the slowest host has soonest.",
)
@click.option("--level", type=click.IntRange(1, 9), help="gzip's level of the archive.")
@format_option
@click.pass_obj
def push(inventory: Path, archive: str | None, level: int | None, format_: str) -> None:
    """Bring the environment to the cluster, with Spark's jars and BigDL's.

    It is built where it is not yet, and crosses your link once, to the edge host. From there it
    goes to HDFS, readable by all, and to Spark's own workers where the cluster has them. What is
    there already is not sent again.
    """
    if level and archive == "tar":
        raise UsageError("--level is that of tar.gz: leave it out, or give --archive tar.gz.")
    found = Inventory.load(inventory)
    with Fleet(found) as fleet:
        # To build one takes minutes.
        require_deployed(fleet, found)
        environment = building.build(tell=tell_step)
        with HostProgress() as progress:
            told = push_to(
                fleet, found, environment, format_=archive, level=level, tell=progress.tell
            )
    if format_ == "json":
        click.echo(json.dumps(asdict(told), indent=2))
    else:
        _show_push(told)


def _show_push(told: Pushed) -> None:
    if not (told.hosts or told.copies):
        console.print(f"Nothing to do: the cluster has environment {told.digest}.")
        return
    if told.choice:
        console.print(f"Archive: {told.choice.reason}.", soft_wrap=True)
    for name in told.hdfs:
        console.print(f"/apps/envs/{name}", soft_wrap=True)
    table = Table()
    table.add_column(f"{told.digest} unpacked on")
    table.add_column("s", justify="right")
    for host, took in told.hosts.items():
        table.add_row(host, f"{took:.1f}")
    if told.hosts:
        console.print(table)
    megabytes, seconds = told.sent_bytes / MEGABYTE, told.seconds
    line = f"{megabytes:.0f} MB sent in {seconds['send']:.1f} s"
    if told.copies is not None:
        line += (
            f", written to HDFS in {seconds['write']:.1f} s,"
            f" {told.copies} of {told.wanted_copies} copies in {seconds['replicate']:.1f} s"
        )
    console.print(f"{line}; {seconds['total']:.1f} s in all", soft_wrap=True)


@env.command()
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="A name in models/, or a folder."
)
@click.option("--engine", type=click.Choice(ENGINES), default="native", show_default=True)
@format_option
@click.pass_obj
def warm(inventory: Path, model: str, engine: str, format_: str) -> None:
    """Have every host of YARN fetch and unpack now what a run needs.

    Otherwise the first run waits for it. Each host then tries to import what a run does. Ctrl-C
    stops it; what hosts have by then they keep.
    """
    found = Inventory.load(inventory)
    with Fleet(found) as fleet, HostProgress() as progress:
        told = warm_hosts(
            fleet, found, model=Model.locate(model), engine=engine, tell=progress.tell
        )
    if told is None:
        if format_ == "json":
            click.echo(json.dumps({"hosts": []}))
        else:
            console.print("Nothing to do: without YARN `cluster env push` unpacks it on each host.")
        return
    if format_ == "json":
        click.echo(json.dumps({"was_warm": told.was_warm, **asdict(told)}, indent=2))
    else:
        _show_warmed(told)
    _fail([f"{each.host}: {each.trouble}." for each in told.hosts if each.trouble])


def _show_warmed(told: Warmed) -> None:
    table = Table(title=f"environment {told.digest}", title_justify="left")
    table.add_column("host")
    for title in ("localised, s", "executor, s", "imports, s"):
        table.add_column(title, justify="right")
    table.add_column("", overflow="fold")
    for each in told.hosts:
        brought = f"{max(each.localised.values()):.1f}" if each.localised else "-"
        imports = each.check["imports_s"] if each.check else None
        said = each.note or ("" if each.localised else "there already")
        table.add_row(
            each.host,
            brought,
            _seconds(each.executor_s),
            _seconds(imports),
            "not warm" if each.trouble else said,
        )
    console.print(table)
    if told.was_warm and not any(each.trouble for each in told.hosts):
        console.print(f"Nothing was to do: every host has it; {told.seconds:.1f} s in all")
    else:
        console.print(f"{told.seconds:.1f} s in all")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _fail(sentences: Sequence[str]) -> None:
    if sentences:
        raise ClusterError(" ".join(sentences))


@env.command()
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="A name in models/, or a folder."
)
@format_option
@click.pass_obj
def verify(inventory: Path, model: str, format_: str) -> None:
    """Check each copy of the environment: every file, and what a run imports.

    The copies are those that `push` has unpacked, and on YARN's hosts those that executors get.
    """
    found = Inventory.load(inventory)
    with Fleet(found) as fleet, HostProgress() as progress:
        copies = verify_copies(fleet, found, model=Model.locate(model), tell=progress.tell)
    if format_ == "json":
        told = [{"sound": each.sound, **asdict(each)} for each in copies]
        click.echo(json.dumps({"copies": told}, indent=2))
    else:
        _show_verified(copies)
    _fail([each.sentence for each in copies if not each.sound])


def _show_verified(copies: Sequence[Copy]) -> None:
    table = Table()
    for title in ("host", "copy"):
        table.add_column(title, overflow="fold")
    for title in ("files, s", "imports, s"):
        table.add_column(title, justify="right")
    table.add_column("", overflow="fold")
    for each in copies:
        said = f"{len(each.damaged)} damaged files" if each.damaged else "does not run"
        times = _seconds(each.files_s), _seconds(each.imports_s)
        table.add_row(each.host, each.kind, *times, "as built" if each.sound else said)
    console.print(table)


@env.command()
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    help="What was used in the last so many days stays.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing, and say what would be.")
@format_option
@click.pass_obj
def gc(inventory: Path, keep_days: float, dry_run: bool, format_: str) -> None:
    """Remove environments and jars that no run used lately: on HDFS, on hosts, and here.

    What requirements/env.lock describes now stays, and so does what a running application or
    process uses.
    """
    found = Inventory.load(inventory)
    with Fleet(found) as fleet, HostProgress() as progress:
        told = collect(fleet, found, keep_days=keep_days, dry_run=dry_run, tell=progress.tell)
    if format_ == "json":
        click.echo(json.dumps({"dry_run": dry_run, **asdict(told)}, indent=2))
    else:
        _show_gc(told.judged, dry_run=dry_run)
    if told.failed:
        raise ClusterError(" ".join(told.failed))


def _show_gc(judged: Sequence[Judged], *, dry_run: bool) -> None:
    table = Table()
    for title in ("where", "what", "last used", ""):
        table.add_column(title, overflow="fold")
    table.add_column("MB", justify="right")
    word = "would be dropped" if dry_run else "dropped"
    for each in judged:
        used = time.strftime("%Y-%m-%d", time.localtime(each.used_at))
        said = word if each.dropped else f"stays: {each.why}"
        table.add_row(each.where, Path(each.name).name, used, said, f"{each.bytes / MEGABYTE:.0f}")
    console.print(table)
    megabytes = sum(each.bytes for each in judged if each.dropped) / MEGABYTE
    count = sum(each.dropped for each in judged)
    console.print(f"{count} of {len(judged)} {word}: {megabytes:.0f} MB")


class HostProgress:
    """How hosts get on: a bar for each on a terminal, a line for each new step elsewhere."""

    def __init__(self) -> None:
        own = Console(stderr=True, highlight=False)
        self._plain = not own.is_terminal
        self._bars = Progress(
            TextColumn("{task.fields[host]}"),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            console=own,
            transient=True,
            disable=self._plain,
        )
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, host: str, step: str, done: int, total: int) -> None:
        """A host has come so far with a step."""
        if self._plain:
            if self._steps.get(host) != step:
                tell_step(f"{host}: {step}")
                self._steps[host] = step
            return
        if host not in self._tasks:
            self._tasks[host] = self._bars.add_task("", host=host)
        self._bars.update(self._tasks[host], description=step, completed=done, total=total or None)
