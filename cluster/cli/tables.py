"""Tables of what was measured, which fit a terminal of 80 characters."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

# Of a number; one of them behind the point in any case.
DIGITS = 4


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows, which may differ in their columns, as narrow as their numbers let it be."""
    made = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [[_cell(row.get(name)) for row in rows] for name in names]
    for name, cells in zip(names, columns, strict=True):
        is_text = any(isinstance(row.get(name), str) for row in rows)
        made.add_column(
            name if is_text else _narrow(name, cells),
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold",
        )
    for line in zip(*columns, strict=True):
        made.add_row(*line)
    return made


def _narrow(heading: str, cells: Sequence[str]) -> str:
    """A heading in lines as long as the cells, or as its longest word."""
    words = heading.replace("_", " ")
    return textwrap.fill(words, max(len(each) for each in (*words.split(), *cells)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        whole = len(f"{abs(value):.0f}")
        return f"{value:.{max(1, DIGITS - whole)}f}"
    return str(value)
