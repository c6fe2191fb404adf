"""The command ``cluster``: one file for each of its commands."""

import sys
from pathlib import Path
from typing import Any

import click

from cluster.cli.bench import bench
from cluster.cli.deploy import deploy
from cluster.cli.doctor import doctor
from cluster.cli.env import env
from cluster.cli.lab import lab
from cluster.cli.model import model
from cluster.cli.report import report
from cluster.cli.run import run
from cluster.cli.status import status
from cluster.errors import FAILED, exit_code
from cluster.inventory import DEFAULT, VARIABLE
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
        except KeyboardInterrupt as interrupt:
            click.echo(" ".join(["Stopped.", *map(str, interrupt.args)]), err=True)
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
@click.option(
    "-i",
    "--inventory",
    type=click.Path(path_type=Path),
    default=DEFAULT,
    show_default=True,
    envvar=VARIABLE,
    show_envvar=True,
    help="The Ansible inventory of the cluster.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def main(ctx: click.Context, /, inventory: Path, debug: bool) -> None:
    """Run instance segmentation on Spark, and see where the time went.

    \b
    Examples:
      cluster lab up
      cluster deploy
      cluster status
      cluster doctor
      cluster env push
      cluster run --mode yarn --input photos/ --output runs/photos
      cluster run --mode local --input photos/ --output runs/photos
      cluster report runs/photos
      cluster model info yolact-shapes
      cluster bench throughput
    """
    ctx.obj = inventory


for command in (lab, deploy, status, doctor, env, run, report, model, bench):
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
