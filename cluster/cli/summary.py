"""A finished run on a terminal: images with their objects and milliseconds, and the verdict."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.cli.findings import print_findings

STAGES = ("fetch", "decode", "preprocess", "wait", "infer", "postprocess", "emit")
SHORT = {"decode": "dec", "preprocess": "prep", "postprocess": "post"}
ROWS = 30


def print_run(
    console: Console,
    path: Path,
    run: Mapping[str, Any],
    report: Mapping[str, Any],
    *,
    shown: str | None = None,
) -> None:
    """Print the run in PATH: the first images, the errors, the places, what was found, the verdict.

    REPORT is the data of report.json. SHOWN is where the run lies for the user, where that is not
    PATH.
    """
    shown = shown or str(path)
    columns = ["image_id", "kind", *(f"{stage}_ms" for stage in STAGES), "total_ms"]
    timings = pq.read_table(path / "timings.parquet", columns=columns)
    timings = timings.filter(pc.equal(timings["kind"], "image")).sort_by("image_id")
    if timings.num_rows:
        console.print(_images(path, run, timings, wide=console.width >= 120))
    if timings.num_rows > ROWS:
        console.print(f"... and {timings.num_rows - ROWS} more in timings.parquet")
    _print_errors(console, path / "errors.jsonl", run["counts"]["errors"])
    if missing := run["counts"]["missing"]:
        console.print(
            f"{missing} images are missing: finish them with `cluster run --resume {path}`"
        )
    console.print(Text(f"Run directory: {shown}"), soft_wrap=True)
    console.print(Text(f"Report:        {shown}/report.html"), soft_wrap=True)
    print_findings(console, report["verdict"])
    console.print(Text(f"Verdict:       {report['verdict']['text']}", style="bold"), soft_wrap=True)


def print_comparison(console: Console, changes: Mapping[str, Any]) -> None:
    """Print what ``job.report.compare`` gives: hosts, stages and settings side by side."""
    first, second = (Path(run["run"]).name for run in changes["runs"])
    hosts = _side_by_side(
        "host", first, second, "images/s at work", "time per image", "95 % interval"
    )
    for host in changes["hosts"]:
        factor = "-" if host["factor"] is None else f"{host['factor']:.2f}x"
        interval = "-" if host["low"] is None else f"{host['low']:.2f} to {host['high']:.2f}"
        hosts.add_row(
            Text(host["host"], style="bold" if host["changed"] else ""),
            *map(_milliseconds, host["images_per_second"]),
            factor,
            interval,
        )
    stages = _side_by_side("stage", first, second, "median ms")
    for stage in changes["stages"]:
        stages.add_row(stage["stage"], *map(_milliseconds, stage["median_ms"]))
    settings = _side_by_side("setting", first, second, "")
    for setting in changes["configuration"]:
        settings.add_row(setting["name"], *(json.dumps(value) for value in setting["values"]))
    for table in (hosts, stages, settings):
        if table.row_count:
            console.print(table)
    for note in changes["notes"]:
        console.print(Text(note), soft_wrap=True)
    console.print(Text(changes["text"], style="bold"), soft_wrap=True)


def _side_by_side(what: str, first: str, second: str, unit: str, *more: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(what, overflow="fold")
    for name in (first, second):
        table.add_column(f"{name}{', ' * bool(unit)}{unit}", justify="right" if unit else "left")
    for name in more:
        table.add_column(name, justify="right")
    return table


def _images(path: Path, run: Mapping[str, Any], timings: Any, *, wide: bool) -> Table:
    """The first rows; the classes of the objects too where the terminal is wide."""
    table = Table(
        title=f"{run['model']['name']}, {run['engine']} engine, {run['precision']}; milliseconds",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("image", overflow="fold")
    table.add_column("found", justify="left" if wide else "right")
    for stage in (*STAGES, "total"):
        table.add_column(SHORT.get(stage, stage), justify="right", no_wrap=True)
    rows = timings.slice(0, ROWS).to_pylist()
    found = _found(path, run, [row["image_id"] for row in rows])
    for row in rows:
        counter = found.get(row["image_id"], Counter())
        names = ", ".join(f"{n} {name}" for name, n in counter.most_common())
        objects = f"{counter.total()}: {names}" if wide and names else str(counter.total())
        figures = (row[f"{stage}_ms"] for stage in (*STAGES, "total"))
        table.add_row(Text(row["image_id"]), objects, *map(_milliseconds, figures))
    return table


def _milliseconds(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:.1f}" if figure < 100 else f"{figure:.0f}"


def _found(path: Path, run: Mapping[str, Any], image_ids: list[str]) -> dict[str, Counter[str]]:
    """For each image how many objects of which class."""
    categories = {entry["id"]: entry["name"] for entry in run["model"]["categories"]}
    found = pq.read_table(
        path / "detections.parquet",
        columns=["image_id", "category_id"],
        filters=[("image_id", "in", image_ids)],
    ).to_pylist()
    counts: dict[str, Counter[str]] = {}
    for row in found:
        counts.setdefault(row["image_id"], Counter())[categories[row["category_id"]]] += 1
    return counts


def _print_errors(console: Console, path: Path, count: int) -> None:
    if not count:
        return
    console.print(f"{count} images could not be processed (errors.jsonl):")
    with path.open(encoding="utf-8") as lines:
        for line, _ in zip(lines, range(10), strict=False):
            error = json.loads(line)
            console.print(Text(f"  {error['image']}: {error['stage']}: {error['message']}"))
