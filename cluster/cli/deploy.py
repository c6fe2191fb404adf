"""``cluster deploy``: brings the hosts of an inventory to what it says."""

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Self

import click
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.cli.inventory import pass_inventory
from cluster.cli.output import console, format_option
from cluster.inventory import Inventory
from cluster.lab.access import require_up
from cluster.places import repository
from cluster.playbooks import (
    FAILURES,
    Listener,
    Options,
    Outcome,
    PlaybookError,
    Task,
    TaskResult,
    run_playbook,
    tags_of,
)
from cluster.validation import require_valid
from job.errors import UsageError

PLAYBOOK = Path("playbooks", "site.yml")
# The tag of the play in it that looks for mistakes in the inventory.
INVENTORY_PLAY = "inventory"
# More hosts than these share a column.
COLUMNS = 8
SLOWEST = 5
# By the worst that happened.
COLOURS = {"unreachable": "red", "failed": "red", "changed": "yellow", "ok": "green"}


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; say what would be changed.")
@click.option("--diff", is_flag=True, help="Show what changes in files.")
@click.option("--limit", metavar="HOSTS", help="Only these hosts or groups, with commas.")
@click.option("--tags", metavar="ROLES", help="Only these roles, with commas.")
@format_option
@pass_inventory
def deploy(
    path: Path,
    /,
    check: bool,
    diff: bool,
    limit: str | None,
    tags: str | None,
    format_: str,
) -> None:
    """Install, configure and start what the inventory says: HDFS, YARN, Spark.

    Does what is missing, and restarts only what a change concerns. The same as `ansible-playbook
    playbooks/site.yml`, with progress to read; the whole output goes to a file.

    \b
    Examples:
      cluster deploy
      cluster deploy --check --diff
      cluster -i inventory/lab-hetero deploy --limit slow1
      cluster deploy --tags spark --format json
    """
    playbook = repository() / PLAYBOOK
    inventory = Inventory.load(path)
    require_valid(inventory)
    require_up(inventory)
    known = tags_of(playbook)
    if unknown := sorted(set(tags.split(",") if tags else ()) - known):
        raise UsageError(f"No role has the tag {unknown[0]}: there are {', '.join(sorted(known))}.")
    options = Options(
        check=check,
        diff=diff,
        limit=limit,
        tags=tuple(tags.split(",")) if tags else (),
        skip_tags=(INVENTORY_PLAY,),
    )
    shown = Console(stderr=True, highlight=False, quiet=format_ == "json")
    try:
        with Progress([host.name for host in inventory.hosts], shown) as progress:
            outcome = run_playbook(playbook, inventory, options, progress)
    except PlaybookError as error:
        _show(error.outcome, ok=False, check=check, format_=format_)
        raise
    _show(outcome, ok=True, check=check, format_=format_)


class Progress(Listener):
    """A table of roles and hosts on a terminal, and a line for each change.

    A context manager. ``shown`` is best standard error, so that results can be piped.
    """

    def __init__(self, hosts: list[str], shown: Console) -> None:
        self._hosts = hosts
        self._shown = shown
        self._begun = time.monotonic()
        self._counts: dict[str, Counter[tuple[str, str]]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._running: set[str] = set()
        self._task: Task | None = None
        self._since = self._begun
        self._live = Live(console=shown, get_renderable=self.table, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._shown.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._next(None)
        self._live.stop()

    def task_started(self, task: Task) -> None:
        """Shows its role as the one that runs."""
        if not self._shown.is_terminal and (self._task is None or self._task.step != task.step):
            self._say(f"{task.step} ...")
        self._next(task)
        self._counts.setdefault(task.step, Counter())

    def host_started(self, task: Task, host: str) -> None:
        """Shows the host as busy."""
        self._running.add(host)

    def result(self, result: TaskResult) -> None:
        """Counts it, and says what was changed or failed."""
        self._running.discard(result.host)
        self._counts[result.task.step][result.host, result.outcome] += 1
        if result.outcome == "changed":
            self._say(f"{result.host} changed  {result.task}")
        elif result.outcome in FAILURES and not result.ignored:
            self._say(f"{result.host} {result.outcome}  {result.task}: {result.message}")

    def diff(self, text: str) -> None:
        """Shows it as Ansible prints it."""
        # Ansible prints an empty one for a file that is as it should be.
        if text.strip():
            self._shown.print(text.strip("\n"), markup=False, soft_wrap=True)

    def stopping(self) -> None:
        """Says so."""
        self._say("stopping Ansible ...")

    def _say(self, text: str) -> None:
        line = f"{time.monotonic() - self._begun:6.1f} s  {text}"
        self._shown.print(line, markup=False, soft_wrap=True)

    def _next(self, task: Task | None) -> None:
        now = time.monotonic()
        if self._task is not None:
            self._seconds[self._task.step] += now - self._since
        self._task, self._since = task, now
        self._running.clear()

    def table(self) -> Table:
        """What every host has done of every role by now."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("role")
        together = len(self._hosts) > COLUMNS
        for name in ("hosts",) if together else self._hosts:
            table.add_column(name, min_width=len("12 changed"))
        table.add_column("s", justify="right")
        # A copy, for Live draws from a thread of its own.
        for step, counts in list(self._counts.items()):
            runs = self._task is not None and self._task.step == step
            if not runs and all(outcome == "skipped" for _, outcome in list(counts)):
                continue
            cells = [self._cell(counts, host, runs=runs) for host in self._hosts]
            now = time.monotonic() - self._since if runs else 0.0
            seconds = f"{self._seconds[step] + now:.1f}"
            table.add_row(step, *([_together(cells)] if together else cells), seconds)
        if self._task is not None:
            table.caption, table.caption_justify = str(self._task), "left"
        return table

    def _cell(self, counts: Counter[tuple[str, str]], host: str, *, runs: bool) -> Text:
        found = next((each for each in COLOURS if counts[host, each]), None)
        if found not in FAILURES and runs and host in self._running:
            return Text("running", style="cyan")
        if found is None:
            return Text("-", style="dim")
        number = f"{counts[host, found]} " if found == "changed" else ""
        return Text(f"{number}{found}", style=COLOURS[found])


def _together(cells: list[Text]) -> Text:
    """Of many hosts, how many are how far."""
    kinds = Counter(cell.plain.split()[-1] for cell in cells)
    return Text(", ".join(f"{number} {kind}" for kind, number in kinds.items() if kind != "-"))


def _show(outcome: Outcome, *, ok: bool, check: bool, format_: str) -> None:
    if format_ == "json":
        click.echo(json.dumps({"ok": ok, "check": check, **_summary(outcome)}))
        return
    would = "would be " if check else ""
    console.print(
        f"Hosts: {len(outcome.hosts)}, {would}changed: {len(outcome.changed)} tasks, failed:"
        f" {len(outcome.failed)} hosts, {outcome.seconds:.1f} s; the log is {outcome.log}",
        soft_wrap=True,
    )
    slowest = sorted(outcome.step_seconds.items(), key=lambda item: -item[1])[:SLOWEST]
    if slowest:
        console.print("Slowest: " + ", ".join(f"{step} {took:.1f} s" for step, took in slowest))


def _summary(outcome: Outcome) -> dict[str, Any]:
    """What --format json prints; seconds are of wall time."""
    return {
        "seconds": round(outcome.seconds, 3),
        "hosts": outcome.hosts,
        "changed": [{"host": r.host, **_of(r.task)} for r in outcome.changed],
        "failed": [
            {"host": r.host, **_of(r.task), "outcome": r.outcome, "message": r.message}
            for r in outcome.failed
        ],
        "roles": [
            {"role": step, "seconds": round(took, 3)} for step, took in outcome.step_seconds.items()
        ],
        "tasks": [
            {**_of(task), "seconds": round(took, 3)} for task, took in outcome.task_seconds.items()
        ],
        "log": str(outcome.log),
    }


def _of(task: Task) -> dict[str, str]:
    return {"role": task.step, "task": task.name}
