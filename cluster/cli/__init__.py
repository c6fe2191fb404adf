"""The command ``cluster``: one file for each of its commands."""

import sys
from typing import Any

import click

from cluster.cli.bench import bench
from cluster.cli.model import model
from cluster.cli.report import report
from cluster.cli.run import run
from cluster.errors import FAILED, exit_code
from job.errors import JobError


class Commands(click.Group):
    """Turns an error into one sentence and its exit code; a traceback only with ``--debug``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except JobError as error:
            if ctx.params["debug"]:
                raise
            click.echo(f"Error: {error}", err=True)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            ctx.exit(FAILED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            where = f"{type(error).__name__}: {error}".splitlines()[0]
            click.echo(f"Error: {where} (a defect; run again with --debug to see where)", err=True)
            ctx.exit(FAILED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="yarn-cluster-toolkit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Run instance segmentation on Spark, and see where the time went.

    \b
    Examples:
      cluster run --mode local --input photos/ --output runs/photos
      cluster report runs/photos
      cluster model info yolact-shapes
      cluster bench throughput
    """


for command in (run, report, model, bench):
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
