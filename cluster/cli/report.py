"""``cluster report``: a run's report written anew, two runs, or what any Spark event log tells."""

import json
from pathlib import Path

import click

from cluster.cli.log_tables import print_log
from cluster.cli.output import console, page_option, print_page
from cluster.cli.summary import print_comparison, print_run
from cluster.env.store import hdfs, namenode
from cluster.inventory import EDGE, Inventory
from cluster.ssh import Fleet
from job import eventlog
from job import report as reports
from job.errors import UsageError
from job.images.source import ON_HDFS, hdfs_path
from job.report.eventlog import assemble
from job.rundir import RunDirectory


@click.command()
@click.argument("what", metavar="RUN|EVENTLOG")
@click.argument("later", metavar="[LATER]", type=click.Path(path_type=Path), required=False)
@page_option
@click.pass_obj
def report(inventory: Path, what: str, later: Path | None, format_: str) -> None:
    """Say which host was slow in RUN, a run directory, or in EVENTLOG, of any Spark application.

    Of a run directory, report.html and report.json are written anew. An event log is a file, a
    rolling log's folder, or a folder with one log in it; compressed or not, finished or not; here
    or, through the edge host of the inventory (-i), on HDFS.

    With LATER, another run directory, say what has changed since RUN, and write nothing.

    --format html writes a page to standard output, one file that opens offline.

    \b
    Examples:
      cluster report runs/photos
      cluster report runs/photos --format json
      cluster report runs/photos runs/again
      cluster report runs/photos runs/again --format html > comparison.html
      cluster report application_1795705718353_0007.zstd
      cluster report eventlog_v2_application_1795705718353_0007/
      cluster -i inventory/lab-yarn report hdfs:///spark-events/application_1795705718353_0007
      cluster report <(ssh node1 hdfs dfs -cat /spark-events/application_1795705718353_0007)
    """
    if later is not None:
        _tell_changes(Path(what), later, format_)
    elif what.startswith(ON_HDFS):
        found = Inventory.load(inventory)
        if namenode(found) is None:
            raise UsageError(f"{what}: {inventory} has no host in hdfs_namenode, so no HDFS.")
        with Fleet(found) as fleet:
            # HDFS lets a user at what the account on the edge host may read.
            user = fleet.run(found.first(EDGE), "id -un").check().stdout.strip()
            files = hdfs(fleet, found, user)
            assert files is not None
            _tell_log(eventlog.OnHdfs(files), hdfs_path(what), format_)
    elif (Path(what) / "run.json").exists():
        _tell_run(Path(what).absolute(), format_)
    else:
        _tell_log(eventlog.Here(), what, format_)


def _tell_run(path: Path, format_: str) -> None:
    found = reports.write(path)
    if format_ == "json":
        click.echo(json.dumps(found.data))
    elif format_ == "html":
        print_page((path / "report.html").read_text(encoding="utf-8"))
    else:
        print_run(console, path, RunDirectory(path).read(), found.data)


def _tell_changes(run: Path, later: Path, format_: str) -> None:
    changes = reports.compare(run, later)
    if format_ == "json":
        click.echo(json.dumps(changes, allow_nan=False))
    elif format_ == "html":
        print_page(reports.render_comparison(changes))
    else:
        print_comparison(console, changes)


def _tell_log(storage: eventlog.Storage, path: str, format_: str) -> None:
    data = assemble(eventlog.read(storage, eventlog.find(storage, path)))
    if format_ == "json":
        click.echo(json.dumps(data, allow_nan=False))
    elif format_ == "html":
        print_page(reports.render_log(data))
    else:
        print_log(console, data)
