"""``python -m cluster.artifacts``: make or find what hosts get. Playbooks run it."""

import json
import sys
from pathlib import Path

import click

from cluster.artifacts import Artifact, hadoop, spark
from cluster.errors import exit_code
from job.errors import JobError


@click.group()
def main() -> None:
    """Make or find what hosts get; each command prints {path, digest, version, changed}.

    \b
    Examples:
      python -m cluster.artifacts hadoop
      CLUSTER_OFFLINE=/media/usb python -m cluster.artifacts hadoop --way archive
      python -m cluster.artifacts spark
      python -m cluster.artifacts lock
    """


@main.command("hadoop")
@click.option(
    "--way",
    type=click.Choice(["maven", "archive"]),
    default="maven",
    show_default=True,
    help="Jars by Maven coordinates, or the official release; hosts get the same layout.",
)
@click.option(
    "--archive",
    "at",
    type=click.Path(path_type=Path),
    help="The official release, where it is here already.",
)
def hadoop_(way: hadoop.Way, at: Path | None) -> None:
    """Hadoop: daemons, clients, launchers."""
    tell(*hadoop.ensure(hadoop.Sources.load(), way=way, at=at))


@main.command("spark")
def spark_() -> None:
    """Spark, from the PySpark that is installed here."""
    tell(*spark.ensure())


@main.command()
def lock() -> None:
    """Write ansible/hadoop/jars.lock anew, after a change of pom.xml or of the version."""
    sources = hadoop.Sources.load()
    click.echo(f"{sources.lock}: {hadoop.lock(sources)} jars")


def tell(artifact: Artifact, changed: bool) -> None:
    """Print what playbooks read."""
    told = {"path": str(artifact.path), "digest": artifact.digest, "version": artifact.version}
    click.echo(json.dumps({**told, "changed": changed}))


if __name__ == "__main__":
    try:
        main()
    except JobError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(exit_code(error))
