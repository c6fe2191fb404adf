"""What an event log tells, on a terminal: the verdict, and tables of its hosts and stages."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from job.report.cards import log_hosts
from job.stragglers.wording import DASH, duration, significant

ROWS = 20
NAME = 24  # characters of a stage's name


def print_log(console: Console, data: Mapping[str, Any]) -> None:
    """Print ``data``, of eventlog.schema.json: stragglers first, the stages that took most."""
    application = data["application"]
    console.print(Text(f"Verdict: {data['verdict']['text']}", style="bold"), soft_wrap=True)
    for note in data["notes"]:
        console.print(Text(f"Note: {note}"), soft_wrap=True)
    said = [application["name"], application["id"], f"Spark {application['spark_version'] or '?'}"]
    if application["seconds"] is not None:
        said.append(duration(application["seconds"]))
    console.print(Text(", ".join(filter(None, said))), soft_wrap=True)
    hosts = log_hosts(data)
    if hosts:
        console.print(_hosts(hosts[:ROWS]))
    _more(console, hosts, "hosts")
    for host in hosts[1:ROWS]:
        if cause := host["cause"]:
            console.print(Text(f"{host['host']}: {cause['text']}; {cause['action']}."))
    stages = sorted(data["stages"], key=lambda stage: -stage["seconds"])
    if stages:
        console.print(_stages(stages[:ROWS]))
    _more(console, stages, "stages")


def _more(console: Console, rows: Sequence[Any], what: str) -> None:
    if len(rows) > ROWS:
        console.print(f"... and {len(rows) - ROWS} more {what}: see --format json")


def _hosts(hosts: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("hosts: run time per task against the others; shares of their tasks' time in %")
    table.add_column("host", overflow="fold", min_width=8)
    for title in ("tasks", "factor", "95 %", "time", "GC", "fetch", "CPU"):
        table.add_column(title, justify="right", no_wrap=True)
    # What no host has would only take room.
    counts = [
        (title, name)
        for title, name in (
            ("MB spilled", "spilled_bytes"),
            ("failed", "failed"),
            ("outrun", "outrun"),
            ("lost", "executors_lost"),
        )
        if any(host[name] for host in hosts)
    ]
    for title, _ in counts:
        table.add_column(title, justify="right", no_wrap=True)
    for host in hosts:
        numbers = {name: str(host[name]) for _, name in counts}
        if "spilled_bytes" in numbers:
            numbers["spilled_bytes"] = significant(host["spilled_bytes"] / 1e6)
        table.add_row(
            Text(host["host"]),
            f"{host['tasks']:,}",
            _times(host["factor"]),
            f"{host['low']:.2f}-{host['high']:.2f}" if host["factor"] else DASH,
            *(_percent(host[f"{name}_share"]) for name in ("time", "gc", "fetch_wait", "cpu")),
            *numbers.values(),
            style="bold" if host["straggler"] else "",
        )
    return table


def _stages(stages: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("stages: seconds, with slow hosts at their peers' pace, and of tasks")
    table.add_column("stage", no_wrap=True)
    table.add_column("", overflow="fold", min_width=8)
    for title in ("tasks", "hosts", "s", "at pace", "median", "longest", "x"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for stage in stages:
        long, replay = stage["longest"], stage["what_if"]
        retry = f".{stage['attempt']}" if stage["attempt"] else ""
        table.add_row(
            f"{stage['stage']}{retry}",
            Text((stage["name"] or "")[:NAME]),
            f"{stage['tasks']:,}",
            str(stage["hosts"]),
            _seconds(stage["seconds"]),
            _seconds(replay["all_healed"] if replay else None),
            _seconds(stage["median_s"]),
            _seconds(stage["longest_s"]),
            _times(long["times"] if long else None),
            long["by"] if long else "",
        )
    return table


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def _times(factor: float | None) -> str:
    return f"{factor:.2f}" if factor else DASH


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f}"


def _seconds(value: float | None) -> str:
    return DASH if value is None else significant(value)
