"""``cluster run``: images in; detections, timings and a verdict out."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from cluster.cli.output import console, format_option
from cluster.cli.progress import ProgressListener
from cluster.cli.summary import print_run
from cluster.errors import FAILED, STRAGGLER_FOUND
from job import driver, report
from job.errors import UsageError
from job.model import Model
from job.modes import MODES
from job.spec import ENGINES, PRECISIONS, JobSpec

DEFAULT_MODEL = "yolact-shapes"

# Options that a resumed run takes from run.json.
NOT_WITH_RESUME = (
    *("mode", "input_", "output", "engine", "model", "precision", "executor_cores"),
    *("partitions", "conf", "limit", "overlays"),
)


@click.command()
@click.option("--mode", type=click.Choice(MODES), help="Where Spark runs.")
@click.option(
    "--input", "input_", metavar="PATH|GLOB", help="A folder, file, pattern, ZIP or video."
)
@click.option("--output", type=click.Path(path_type=Path), help="A new folder: the run directory.")
@click.option("--engine", type=click.Choice(ENGINES), default="native", show_default=True)
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="A name in models/, or a folder."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="f32",
    show_default=True,
    help="What the CPU computes in; bf16 is faster and less exact, auto takes it where all can.",
)
@click.option("--executor-cores", type=click.IntRange(min=1), help="Tasks at a time per executor.")
@click.option("--partitions", type=click.IntRange(min=1), help="How many tasks in all.")
@click.option("--conf", multiple=True, metavar="KEY=VALUE", help="A Spark setting; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N images only.")
@click.option("--overlays", is_flag=True, help="Draw what was found into OUTPUT/overlays/.")
@click.option(
    "--fail-on", type=click.Choice(["straggler"]), help="Exit 3 where a host was a straggler."
)
@click.option(
    "--resume",
    "resume_",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Finish the run in this run directory; its run.json has the other options.",
)
@format_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    fail_on: str | None,
    resume_: Path | None,
    format_: str,
    **options: Any,
) -> None:
    """Find object instances in images and say where the time went.

    \b
    Examples:
      cluster run --mode local --input photos/ --output runs/photos
      cluster run --mode local --input 'shots/**/*.png' --output runs/shots --engine orca
      cluster run --mode local --input film.mp4 --output runs/film --overlays --limit 100
      cluster run --resume runs/photos
    """
    listener = ProgressListener(quiet=format_ == "json")
    with listener:
        if resume_ is not None:
            for name in NOT_WITH_RESUME:
                if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
                    option = name.rstrip("_").replace("_", "-")
                    raise UsageError(f"--{option} goes not with --resume: run.json has it")
            path = resume_.absolute()
            result = driver.resume(path, listener)
        else:
            spec = _spec(**options)
            path = spec.output
            result = driver.run(spec, listener)
        listener.step("Writing the report")
        found = report.write(path)
    if format_ == "json":
        click.echo(
            json.dumps({"run": str(path), "counts": result["counts"], **found.data["verdict"]})
        )
    else:
        print_run(console, path, result, found.text)
    if result["counts"]["missing"]:
        sys.exit(FAILED)
    if fail_on and found.verdict.straggler:
        sys.exit(STRAGGLER_FOUND)


def _spec(
    *,
    mode: str | None,
    input_: str | None,
    output: Path | None,
    model: str,
    conf: tuple[str, ...],
    **options: Any,
) -> JobSpec:
    for option, value in (("mode", mode), ("input", input_), ("output", output)):
        if value is None:
            raise UsageError(f"--{option} is missing: see `cluster run --help` for examples")
    assert mode is not None and input_ is not None and output is not None
    settings = {}
    for pair in conf:
        key, separator, value = pair.partition("=")
        if not separator or not key.startswith("spark."):
            raise UsageError(f"--conf {pair}: write spark.KEY=VALUE")
        settings[key] = value
    return JobSpec(
        mode=mode,
        input=str(Path(input_).absolute()),
        output=output.absolute(),
        model=Model.locate(model),
        conf=settings,
        **options,
    )
