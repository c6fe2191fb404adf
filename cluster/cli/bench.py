"""``cluster bench``: the product's own measurements, each with its targets."""

import dataclasses
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cluster.bench import accuracy as accuracy_bench
from cluster.bench import deploy as deploy_bench
from cluster.bench import makespan as makespan_bench
from cluster.bench import scale as scale_bench
from cluster.bench import startup as startup_bench
from cluster.bench import throughput as throughput_bench
from cluster.bench.result import Result
from cluster.bench.stragglers import live as live_bench
from cluster.bench.stragglers import measure as stragglers_bench
from cluster.bench.stragglers.faults import CLEAN
from cluster.bench.stragglers.faults import KINDS as FAULT_KINDS
from cluster.bench.stragglers.recipes import CPUS
from cluster.cli.output import console, format_option, tell_step
from cluster.cli.run import DEFAULT_MODEL
from cluster.cli.tables import table
from cluster.errors import ClusterError
from cluster.places import repository

TRACES = Path("tests", "traces")


@click.group()
def bench() -> None:
    """Measure speed and accuracy on this machine.

    \b
    Examples:
      cluster bench throughput
      cluster bench accuracy --format json
      cluster bench accuracy --assert
      cluster bench deploy --nodes 1 --nodes 3
      cluster bench startup --lab lab-yarn --runs 3
      cluster bench scale --nodes 1 --nodes 3
      cluster bench makespan --photos 1200
      cluster bench stragglers --trials 120
    """
    # As Ctrl-C: a lab that a bench has made goes with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


assert_option = click.option(
    "--assert", "assert_", is_flag=True, help="Exit 1 where a target is missed."
)


@bench.command()
@click.option("--model", default="seeded:0", show_default=True, help="A model; or seeded:N.")
@click.option(
    "--precision",
    type=click.Choice(["f32", "bf16"]),
    multiple=True,
    help="Repeatable; default: f32, and bf16 where the CPU has it.",
)
@click.option("--images", type=click.IntRange(min=4), default=48, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
@format_option
@assert_option
def throughput(
    model: str, precision: tuple[str, ...], images: int, runs: int, format_: str, assert_: bool
) -> None:
    """Images per second of both engines against OpenVINO's benchmark_app."""
    _show(
        throughput_bench.measure(
            model=model,
            precisions=precision,
            images=images,
            runs=runs,
            tell=tell_step,
        ),
        format_,
        assert_,
    )


@bench.command()
@click.option("--scenes", type=click.IntRange(min=1), default=200, show_default=True)
@format_option
@assert_option
def accuracy(scenes: int, format_: str, assert_: bool) -> None:
    """Mask AP of the shipped models on held-out scenes, by mask IoU and by boundary IoU."""
    _show(accuracy_bench.measure(scenes=scenes), format_, assert_)


@bench.command()
@click.option(
    "--nodes",
    type=click.IntRange(1, 20),
    multiple=True,
    default=(deploy_bench.NODES,),
    show_default=True,
    help="Machines in the lab; repeatable.",
)
@format_option
@assert_option
def deploy(nodes: tuple[int, ...], format_: str, assert_: bool) -> None:
    """Seconds from nothing to a ready cluster of nspawn machines, and for a second deployment."""
    _show(
        deploy_bench.measure(nodes=nodes, tell=tell_step),
        format_,
        assert_,
    )


@bench.command()
@click.option(
    "--lab",
    "labs",
    type=click.Choice(startup_bench.LABS),
    multiple=True,
    default=startup_bench.LABS,
    show_default=True,
    help="The inventory whose lab is made; repeatable.",
)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--images", type=click.IntRange(min=3), default=24, show_default=True)
@click.option(
    "--photos",
    type=click.IntRange(min=0),
    default=600,
    show_default=True,
    help="Those that measure the network; 0 leaves it out.",
)
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="What finds objects in the photos: a model; or seeded:N.",
)
@format_option
@assert_option
def startup(
    labs: tuple[str, ...],
    runs: int,
    images: int,
    photos: int,
    model: str,
    format_: str,
    assert_: bool,
) -> None:
    """Seconds until a job has begun on YARN, by how its environment comes to the hosts.

    Makes its own labs of nspawn machines, deploys them, and removes them at the end.
    """
    result = startup_bench.measure(
        labs=labs, runs=runs, images=images, photos=photos, model=model, tell=tell_step
    )
    _show(result, format_, assert_, tables=startup_bench.tables(result.rows))


@bench.command()
@click.option(
    "--nodes",
    type=click.IntRange(1, 20),
    multiple=True,
    default=(1, 2, 3, 5),
    show_default=True,
    help="Machines in the lab; repeatable, a lab for each.",
)
@click.option("--photos", type=click.IntRange(min=10), default=300, show_default=True)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A name, or a folder.")
@format_option
@assert_option
def scale(nodes: tuple[int, ...], photos: int, model: str, format_: str, assert_: bool) -> None:
    """What push, warm-up and run take on labs of several sizes, and what on 1000 hosts.

    Makes a lab of small nspawn machines for each size, and removes it.
    """
    result = scale_bench.measure(nodes=nodes, photos=photos, model=model, tell=tell_step)
    _show(result, format_, assert_, tables=scale_bench.tables(result.rows))


@bench.command()
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=1200,
    show_default=True,
    help="Runs to simulate.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=os.cpu_count(),
    show_default="the CPUs",
    help="So many runs at a time.",
)
@click.option(
    "--traces",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="tests/traces",
    help="The folder of recorded runs.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Record runs on labs first, which takes hours; those that the folder has are left out.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="With --live: how many times each fault.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([*FAULT_KINDS, CLEAN]),
    multiple=True,
    help="With --live: runs with this fault only; repeatable.",
)
@click.option(
    "--cluster",
    "clusters",
    type=click.Choice([*CPUS]),
    multiple=True,
    help="With --live: runs on this cluster only; repeatable.",
)
@format_option
@assert_option
def stragglers(
    trials: int,
    seed: int,
    processes: int,
    traces: Path | None,
    format_: str,
    assert_: bool,
    **recording: Any,
) -> None:
    """How right the verdict on stragglers is, beside others' rules.

    On simulated clusters, and on recorded runs of labs with real faults. To record more of them,
    --live makes two labs of nspawn machines, deploys them, and removes them at the end.

    \b
    Examples:
      cluster bench stragglers --trials 120
      cluster bench stragglers --live --rounds 1 --kind link --kind clean --traces my-traces
    """
    folder = traces or repository() / TRACES
    if recording.pop("live"):
        live_bench.record(folder, **recording, model=DEFAULT_MODEL, tell=tell_step)
    result = stragglers_bench.measure(
        trials=trials, seed=seed, processes=processes, traces=folder, tell=tell_step
    )
    _show(result, format_, assert_, tables=stragglers_bench.tables(result.rows))


@bench.command()
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--photos", type=click.IntRange(min=200), default=1200, show_default=True)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A name, or a folder.")
@format_option
@assert_option
def makespan(runs: int, photos: int, model: str, format_: str, assert_: bool) -> None:
    """How long unequal hosts take for a run against the ideal, by how its work is parted.

    Makes the lab of inventory/lab-hetero, where hosts are as fast as 4, 2 and 1, and removes it.
    """
    result = makespan_bench.measure(runs=runs, photos=photos, model=model, tell=tell_step)
    _show(result, format_, assert_)


def _show(
    result: Result, format_: str, assert_: bool, *, tables: Sequence[Any] | None = None
) -> None:
    """Print a result; TABLES are its rows as text shows them, where it shows others."""
    if format_ == "json":
        click.echo(json.dumps(dataclasses.asdict(result)))
    else:
        machine = result.machine
        console.print(f"{machine['cpu_model']}, {machine['cpus_quota']:g} CPUs\n")
        for rows in [result.rows] if tables is None else tables:
            console.print(table(rows), "")
        for name, figure in result.figures.items():
            sign, bound = result.targets.get(name, ("", 0.0))
            goal = f"  (to reach {sign} {bound:g})" if sign else ""
            console.print(f"{name:32} {figure:.3f}{goal}")
        for note in result.notes:
            console.print(note)
    if assert_ and (missed := result.missed()):
        raise ClusterError("; ".join(missed))
