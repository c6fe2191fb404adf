"""What every command shows things with."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])

console = Console(highlight=False)


def _format_option(help_: str, *formats: str) -> Callable[[Command], Command]:
    return click.option(
        "--format",
        "format_",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help=help_,
    )


format_option = _format_option("Tables to read, or one JSON object.", "text", "json")
page_option = _format_option(
    "Tables to read, one JSON object, or a page in one file that opens offline.",
    *("text", "json", "html"),
)


def tell_step(line: str) -> None:
    """Say on standard error what begins now, so that results can be piped."""
    click.echo(f"{line} ...", err=True)


def print_page(page: str) -> None:
    """To standard output, in UTF-8 as it says of itself, whatever the terminal's encoding is."""
    click.echo(page.encode(), nl=False)
