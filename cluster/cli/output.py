"""What every command shows things with."""

import click
from rich.console import Console

console = Console(highlight=False)

format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Tables to read, or one JSON object.",
)


def tell_step(line: str) -> None:
    """Say on standard error what begins now, so that results can be piped."""
    click.echo(f"{line} ...", err=True)
