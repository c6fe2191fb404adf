"""``cluster report``: writes a run's report anew and says its verdict, or compares two runs."""

import json
from pathlib import Path

import click

from cluster.cli.output import console, format_option
from cluster.cli.summary import print_comparison, print_run
from job import report as reports
from job.rundir import RunDirectory


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("later", type=click.Path(path_type=Path), required=False)
@format_option
def report(run: Path, later: Path | None, format_: str) -> None:
    """Write report.html and report.json of RUN, a run directory, and print its verdict.

    With LATER, another run directory, say what has changed since RUN, and write nothing.

    \b
    Examples:
      cluster report runs/photos
      cluster report runs/photos --format json
      cluster report runs/photos runs/again
    """
    if later is not None:
        changes = reports.compare(run, later)
        if format_ == "json":
            click.echo(json.dumps(changes))
        else:
            print_comparison(console, changes)
        return
    path = run.absolute()
    found = reports.write(path)
    if format_ == "json":
        click.echo(json.dumps(found.data))
    else:
        print_run(console, path, RunDirectory(path).read(), found.text)
