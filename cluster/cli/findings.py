"""The stragglers of a run on a terminal: why, how slow, when, and what the run took otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from job.report.cards import CARDS, IDEAL, Card, Remarks, WhatIf, cards, remarks, what_if
from job.stragglers.wording import DASH, duration, sentence

ROWS = 20
REMARKS = 3  # of each kind
BAR = 24  # characters of the longest


def print_findings(console: Console, verdict: Mapping[str, Any]) -> None:
    """Print report.json's VERDICT, its line left out; nothing where nothing was found."""
    found = cards(verdict)
    if found:
        console.print(_stragglers(found[:ROWS]))
        if len(found) > ROWS:
            console.print(f"... and {len(found) - ROWS} more stragglers: see --format json")
        # The line tells of the first.
        for card in found[1:CARDS]:
            for text, action in card.told:
                console.print(Text(f"{card.host}: {text}. {sentence(action)}"), soft_wrap=True)
    if replay := what_if(verdict["what_if"]):
        console.print(_what_if(replay))
        console.print(Text(IDEAL, style="dim"))
    for group in remarks(verdict):
        _print_remarks(console, group)


def _stragglers(found: Sequence[Card]) -> Table:
    table = Table(
        title="stragglers: time per image against what it should be",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("host", overflow="fold", min_width=8)
    table.add_column("why", min_width=8)
    for title in ("factor", "95 %"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("when")
    table.add_column("cost", justify="right", no_wrap=True)
    for card in found:
        slow = card.factor is not None
        table.add_row(
            Text(card.host),
            ", ".join(card.labels),
            f"{card.factor:.2f}" if slow else DASH,
            f"{card.low:.2f}-{card.high:.2f}" if slow else DASH,
            card.when,
            DASH if card.cost_s is None else duration(card.cost_s),
        )
    return table


def _what_if(replay: WhatIf) -> Table:
    table = Table(
        title=f"what if; the replay of the run as it was takes {duration(replay.replayed_s)}",
        title_justify="left",
        box=None,
        show_header=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column(overflow="fold", min_width=8)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for bar in replay.bars:
        drawn = "█" * max(1, round(bar.share / 100 * BAR))
        table.add_row(Text(bar.label), duration(bar.seconds), drawn, bar.saved)
    return table


def _print_remarks(console: Console, group: Remarks) -> None:
    for host, text, action in group.told[:REMARKS]:
        told = f"{host}, {group.label}: {text}. {sentence(action)}"
        console.print(Text(told), soft_wrap=True)
    if len(group.told) > REMARKS:
        more = len(group.told) - REMARKS
        console.print(f"... and {more} more hosts, {group.label}: see --format json")
