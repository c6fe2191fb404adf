"""A finished run on a terminal: images with their objects and milliseconds, and the verdict."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

STAGES = ("fetch", "decode", "preprocess", "wait", "infer", "postprocess", "emit")
ROWS = 30


def print_run(console: Console, path: Path, run: Mapping[str, Any], verdict: str) -> None:
    """Print the run in PATH: the first images, the errors, the places, the verdict line."""
    columns = ["image_id", "kind", *(f"{stage}_ms" for stage in STAGES), "total_ms"]
    timings = pq.read_table(path / "timings.parquet", columns=columns)
    timings = timings.filter(pc.equal(timings["kind"], "image")).sort_by("image_id")
    if timings.num_rows:
        console.print(_images(path, run, timings))
    if timings.num_rows > ROWS:
        console.print(f"... and {timings.num_rows - ROWS} more in timings.parquet")
    _print_errors(console, path / "errors.jsonl", run["counts"]["errors"])
    if missing := run["counts"]["missing"]:
        console.print(
            f"{missing} images are missing: finish them with `cluster run --resume {path}`"
        )
    console.print(Text(f"Run directory: {path}"), soft_wrap=True)
    console.print(Text(f"Report:        {path / 'report.html'}"), soft_wrap=True)
    console.print(Text(f"Verdict:       {verdict}", style="bold"), soft_wrap=True)


def _images(path: Path, run: Mapping[str, Any], timings: Any) -> Table:
    table = Table(
        title=f"{run['model']['name']}, {run['engine']} engine, {run['precision']}; milliseconds",
        title_justify="left",
    )
    table.add_column("image", overflow="fold")
    table.add_column("objects found")
    for stage in (*STAGES, "total"):
        table.add_column(stage, justify="right")
    rows = timings.slice(0, ROWS).to_pylist()
    names = _found(path, run, [row["image_id"] for row in rows])
    for row in rows:
        figures = (row[f"{stage}_ms"] for stage in (*STAGES, "total"))
        table.add_row(
            Text(row["image_id"]),
            names.get(row["image_id"], "none"),
            *("-" if figure is None else f"{figure:.1f}" for figure in figures),
        )
    return table


def _found(path: Path, run: Mapping[str, Any], image_ids: list[str]) -> dict[str, str]:
    """For each image what was found, as "2 circle, 1 star"."""
    categories = {entry["id"]: entry["name"] for entry in run["model"]["categories"]}
    found = pq.read_table(
        path / "detections.parquet",
        columns=["image_id", "category_id"],
        filters=[("image_id", "in", image_ids)],
    ).to_pylist()
    counts: dict[str, Counter[str]] = {}
    for row in found:
        counts.setdefault(row["image_id"], Counter())[categories[row["category_id"]]] += 1
    return {
        image_id: ", ".join(f"{n} {name}" for name, n in counter.most_common())
        for image_id, counter in counts.items()
    }


def _print_errors(console: Console, path: Path, count: int) -> None:
    if not count:
        return
    console.print(f"{count} images could not be processed (errors.jsonl):")
    with path.open(encoding="utf-8") as lines:
        for line, _ in zip(lines, range(10), strict=False):
            error = json.loads(line)
            console.print(Text(f"  {error['image']}: {error['stage']}: {error['message']}"))
