"""``cluster report``: writes a run's report anew and says its verdict."""

import json
from pathlib import Path

import click

from cluster.cli.output import console, format_option
from cluster.cli.summary import print_run
from job import report as reports
from job.rundir import RunDirectory


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@format_option
def report(run: Path, format_: str) -> None:
    """Write report.html and report.json of RUN, a run directory, and print its verdict.

    \b
    Examples:
      cluster report runs/photos
      cluster report runs/photos --format json
    """
    path = run.absolute()
    found = reports.write(path)
    if format_ == "json":
        click.echo(json.dumps(found.data))
    else:
        print_run(console, path, RunDirectory(path).read(), found.text)
