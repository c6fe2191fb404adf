"""``cluster run``: images in; detections, timings and a verdict out."""

import json
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from cluster.cli.output import console, format_option
from cluster.cli.progress import ProgressListener
from cluster.cli.summary import print_run
from cluster.errors import FAILED, STRAGGLER_FOUND
from cluster.inventory import Inventory
from cluster.run import history, launch
from job import driver, report
from job.errors import UsageError
from job.images.source import ON_HDFS, hdfs_path
from job.model import Model
from job.rundir import RunDirectory
from job.spec import ENGINES, MODES, PRECISIONS, JobSpec

DEFAULT_MODEL = "yolact-shapes"

# Options that a resumed run takes from run.json.
NOT_WITH_RESUME = (
    *("mode", "input_", "output", "engine", "model", "precision", "executors", "executor_cores"),
    *("executor_memory_mb", "queue", "avoid", "plan_from", "partitions", "conf", "limit"),
    *("overlays", "attach"),
)


class MemorySize(click.ParamType[int]):
    """A size as Spark takes it, in MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """2g is 2048, 1536m and 1536 are 1536."""
        found = re.fullmatch(r"(\d+)([mg]?)b?", str(value).lower())
        if not found:
            self.fail(f"{value!r} is no size: write 1536m or 2g", param, ctx)
        return int(found[1]) * (1024 if found[2] == "g" else 1)


MEMORY = MemorySize()


@click.command()
@click.option("--mode", type=click.Choice(MODES), help="Where Spark runs.")
@click.option(
    "--input", "input_", metavar="PATH|GLOB", help="A folder, file, pattern, ZIP or video."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="A new folder: the run directory; on a cluster also hdfs:///PATH.",
)
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
@click.option("--executors", type=click.IntRange(min=1), help="How many hosts are to work.")
@click.option("--executor-cores", type=click.IntRange(min=1), help="Tasks at a time per executor.")
@click.option(
    "--executor-memory",
    "executor_memory_mb",
    type=MEMORY,
    metavar="SIZE",
    help="Of one executor, its JVM and Python together: 2g, 1536m.",
)
@click.option("--queue", metavar="NAME", help="YARN's queue.")
@click.option(
    "--avoid", multiple=True, metavar="HOST", help="A host that gets no work; repeatable."
)
@click.option(
    "--plan-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Expect the speeds that hosts had in this run; default: in the last healthy ones.",
)
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
@click.option(
    "--attach",
    metavar="ID",
    help="Follow a run on a cluster that was left alone, and bring its results here.",
)
@click.option(
    "--submit-from",
    type=click.Choice(["edge", "here"]),
    default="edge",
    show_default=True,
    help="Where the driver is: on the edge host, or here, on a machine inside the network.",
)
@format_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    submit_from: str,
    fail_on: str | None,
    resume_: Path | None,
    attach: str | None,
    format_: str,
    **options: Any,
) -> None:
    """Find object instances in images and say where the time went.

    \b
    Examples:
      cluster run --mode local --input photos/ --output runs/photos
      cluster run --mode local --input 'shots/**/*.png' --output runs/shots --engine orca
      cluster run --mode local --input film.mp4 --output runs/film --overlays --limit 100
      cluster run --mode yarn --input photos/ --output runs/photos
      cluster run --mode standalone --input photos/ --output runs/photos --executors 2
      cluster run --mode yarn --input photos/ --output runs/again --avoid node3
      cluster run --mode yarn --input photos/ --output runs/again --plan-from runs/photos
      cluster run --resume runs/photos
      cluster run --attach photos-20261126-101500-3f2a
      cluster run --mode yarn --input photos/ --output runs/photos --submit-from here
    """
    listener = ProgressListener(quiet=format_ == "json")
    here = submit_from == "here"
    publish = ""
    with listener:
        if resume_ is not None:
            for name in NOT_WITH_RESUME:
                if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
                    option = name.rstrip("_").replace("_", "-")
                    raise UsageError(f"--{option} cannot be given with --resume: run.json has it")
            path = resume_.absolute()
            result = _resume(ctx.obj, path, listener, here=here)
        elif attach is not None:
            inventory, output = Inventory.load(ctx.obj), _absolute(options["output"])
            path, result = launch.attach(inventory, attach, output, listener, here=here)
        else:
            publish = _on_hdfs(options["mode"], options["output"])
            if publish:
                # Brought here to be shown, and gone then.
                options["output"] = Path(ctx.with_resource(TemporaryDirectory()), "run")
            spec = _spec(**options)
            path = spec.output
            if spec.mode == "local":
                result = driver.run(spec, listener)
            else:
                inventory = Inventory.load(ctx.obj)
                result = launch.start(inventory, spec, listener, publish=publish, here=here)
        listener.step("Writing the report")
        found = report.write(path)
    history.remember(ctx.obj, path, result, found.verdict)
    shown = f"{ON_HDFS}//{publish}" if publish else str(path)
    if format_ == "json":
        click.echo(json.dumps({"run": shown, "counts": result["counts"], **found.data["verdict"]}))
    else:
        print_run(console, path, result, found.data, shown=shown)
    if result["counts"]["missing"]:
        sys.exit(FAILED)
    if fail_on and found.verdict.straggler:
        sys.exit(STRAGGLER_FOUND)


def _resume(
    inventory: Path, path: Path, listener: driver.Listener, *, here: bool
) -> dict[str, Any]:
    if RunDirectory(path).read()["mode"] == "local":
        return driver.resume(path, listener)
    return launch.resume(Inventory.load(inventory), path, listener, here=here)


def _on_hdfs(mode: str | None, output: Path | None) -> str:
    """The path of an --output on HDFS; empty where it is a folder of this machine."""
    if not str(output).startswith(ON_HDFS):
        return ""
    if mode == "local":
        raise UsageError(f"--output {output}: a run of --mode local writes to this machine")
    return hdfs_path(str(output))


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


def _spec(
    *,
    mode: str | None,
    input_: str | None,
    output: Path | None,
    model: str,
    conf: tuple[str, ...],
    plan_from: Path | None,
    **options: Any,
) -> JobSpec:
    for option, value in (("mode", mode), ("input", input_), ("output", output)):
        if value is None:
            raise UsageError(f"--{option} is missing: see `cluster run --help` for examples")
    assert mode is not None and input_ is not None and output is not None
    if mode == "local":
        for option in ("executors", "executor_memory_mb", "queue", "avoid"):
            if options[option]:
                name = option.removesuffix("_mb").replace("_", "-")
                raise UsageError(f"--{name} is for a cluster: --mode local has one executor")
    settings = {}
    for pair in conf:
        key, separator, value = pair.partition("=")
        if not separator or not key.startswith("spark."):
            raise UsageError(f"--conf {pair}: write spark.KEY=VALUE")
        settings[key] = value
    return JobSpec(
        mode=mode,
        input=input_ if input_.startswith(ON_HDFS) else str(Path(input_).absolute()),
        output=output.absolute(),
        model=Model.locate(model),
        conf=settings,
        speeds=history.speeds_of(plan_from) if plan_from else {},
        **options,
    )
