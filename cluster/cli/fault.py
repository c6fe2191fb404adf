"""``cluster lab fault``: faults to order, of a lab's machines and of an input."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from cluster.cli.inventory import pass_inventory
from cluster.cli.output import console, format_option
from cluster.inventory import Inventory
from cluster.lab.faults import record
from cluster.lab.faults.kinds import DEFAULT_S, KINDS, MAX_FACTOR, MAX_S, Kind, Order, Truth
from cluster.lab.faults.order import Ordered, folder
from cluster.lab.faults.skew import skew as make_skewed

FACTOR = f"How much slower: above 1, {MAX_FACTOR:g} at most."


@click.group()
def fault() -> None:
    """Make a machine of the lab slow, for a while, in a way that is known.

    A fault ends after --for, by Ctrl-C, when its command is killed, by `clear`, and by `lab down`.
    A host may have several kinds at once. Each fault leaves a line of ground truth: kind, host,
    factor, what was set, from and to in seconds since the epoch. `list` shows these.

    \b
    Examples:
      cluster lab fault cpu-quota node2 --factor 3 --for 120
      cluster lab fault link node3 --mbit 10 --loss 1
      cluster lab fault freeze node2 --for 30 --background
      cluster lab fault list --format json
      cluster lab fault clear
    """


@fault.command()
@format_option
@pass_inventory
def clear(path: Path, format_: str) -> None:
    """Take away all faults of the lab, also those whose command crashed."""
    _show(record.clear(folder(path)), format_, "There was no fault.")


@fault.command("list")
@format_option
@pass_inventory
def list_(path: Path, format_: str) -> None:
    """Show the faults of the lab since it is up, as they ended; then those that go on."""
    _show(record.truths(folder(path)), format_, "There was no fault.")


@fault.command()
@click.option("--input", "source", type=click.Path(path_type=Path), required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--factor", type=float, default=9.0, show_default=True, help=FACTOR)
@click.option("--share", type=float, default=0.25, show_default=True, help="Of the images.")
@format_option
def skew(source: Path, output: Path, factor: float, share: float, format_: str) -> None:
    """Make an input whose work is spread unevenly: its last images have FACTOR times the pixels.

    \b
    Example:
      cluster lab fault skew --input photos/ --output photos-skewed/ --factor 16
    """
    _show([make_skewed(source, output, factor=factor, share=share)], format_)


def _command(name: str, kind: Kind) -> click.Command:
    """The command that orders a kind."""
    params: list[click.Parameter] = [click.Argument(["host"])]
    if kind.factor is not None:
        where = ", where no other option says what to do" if kind.options else ""
        shown = f"{FACTOR}  [default: {kind.factor:g}{where}]"
        params.append(click.Option(["--factor"], type=float, help=shown))
    params += [
        click.Option([f"--{option}"], type=float, help=about.what)
        for option, about in kind.options.items()
    ]
    if not kind.at_once:
        most = f"How long, in s; {MAX_S:g} at most."
        params.append(
            click.Option(
                ["--for", "seconds"], type=float, default=DEFAULT_S, show_default=True, help=most
            )
        )
        alone = "Return once it is there; it ends after --for, or by `clear`."
        params.append(click.Option(["--background"], is_flag=True, help=alone))

    @format_option
    @pass_inventory
    def run(
        path: Path,
        /,
        host: str,
        format_: str,
        factor: float | None = None,
        seconds: float = DEFAULT_S,
        background: bool = False,
        **options: float | None,
    ) -> None:
        order = Order(
            kind=name,
            host=host,
            factor=factor,
            seconds=seconds,
            options={key: value for key, value in options.items() if value is not None},
            background=background,
        )
        # As Ctrl-C does: the fault is taken away and shown before the command ends.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        ordered = Ordered(Inventory.load(path), order)
        try:
            if not (background or kind.at_once):
                _wait(ordered, order)
        finally:
            if not background:
                ordered.end()
            _show([ordered.truth], format_)

    text = f"{kind.what}\n\n\b\nExample:\n  {kind.example}"
    return click.command(name, params=params, help=text)(run)


for _name, _kind in KINDS.items():
    fault.add_command(_command(_name, _kind))


def _wait(ordered: Ordered, order: Order) -> None:
    """Until the fault is over, with a line that counts down on a terminal."""
    over = time.monotonic() + order.seconds
    shown = f"{order.host} has the fault {order.kind}; Ctrl-C ends it"
    live = sys.stderr.isatty()
    if not live:
        click.echo(f"{shown}, {order.seconds:g} s at most.", err=True)
    try:
        while not ordered.wait(1.0):
            if live:
                left = max(0.0, over - time.monotonic())
                click.echo(f"\r{shown}, {left:.0f} s left. ", err=True, nl=False)
    finally:
        if live:
            click.echo(f"\r{' ' * (len(shown) + 20)}\r", err=True, nl=False)


def _show(truths: Sequence[Truth], format_: str, none: str = "") -> None:
    if format_ == "json":
        for truth in truths:
            click.echo(json.dumps(truth.row()))
        return
    if not truths:
        click.echo(none, err=True)
        return
    table = Table()
    for heading in ("fault", "host", "factor", "set", "from", "seconds"):
        table.add_column(heading, justify="right" if heading in ("factor", "seconds") else "left")
    for truth in truths:
        table.add_row(
            truth.kind,
            truth.host or "",
            "" if truth.factor is None else f"{truth.factor:g}",
            ", ".join(f"{name} {value}" for name, value in truth.details.items()),
            time.strftime("%F %T", time.localtime(truth.began)),
            "goes on" if truth.ended is None else f"{truth.ended - truth.began:.1f}",
        )
    console.print(table)
