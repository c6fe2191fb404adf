"""Hands a command the path that ``cluster -i`` gives."""

from pathlib import Path

import click

# Decorates a command's function, whose first argument becomes the inventory's path, as given.
pass_inventory = click.make_pass_decorator(Path)
