"""``cluster model``: exports networks to OpenVINO, and tells what a model is."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from cluster.cli.output import console, format_option
from cluster.model.export import SCORE_THRESHOLD, export_model
from job.engines.core import core
from job.model import FILES, Model

MEBIBYTE = 2**20


@click.group()
def model() -> None:
    """Export networks to OpenVINO, and see what a model is.

    \b
    Examples:
      cluster model export --weights yolact_resnet50_54_800000.pth --output ~/models/yolact
      cluster model info yolact-shapes
    """


@model.command()
@click.option(
    "--weights",
    required=True,
    metavar="FILE|seeded:N",
    help="YOLACT's published .pth, a checkpoint of ours, or random weights of seed N.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the stored weights; fp16 halves the file.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="A new folder: the model."
)
@click.option("--name", help="What reports call the model; default: the folder's name.")
@click.option(
    "--images", metavar="PATH|GLOB", help="Compare the forms on these; default: 8 of the samples."
)
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    default=SCORE_THRESHOLD,
    show_default=True,
    help="A run reports objects above it.",
)
@format_option
def export(
    weights: str,
    precision: str,
    output: Path,
    name: str | None,
    images: str | None,
    score_threshold: float,
    format_: str,
) -> None:
    """Convert a network: PyTorch to ONNX to OpenVINO, and prove that it finds the same objects.

    The same images go through all three forms. Where a form finds other objects, nothing is
    written. The first use needs `make export-env`, which installs PyTorch.

    \b
    Examples:
      cluster model export --weights yolact_resnet50_54_800000.pth --output ~/models/yolact
      cluster model export --weights checkpoint.pt --precision fp16 --output ~/models/mine-fp16
      cluster model export --weights seeded:0 --output .cache/models/yolact-resnet50
    """
    made = export_model(
        weights=weights,
        precision=precision,
        output=output,
        name=name,
        images=images,
        score_threshold=score_threshold,
    )
    _show(made, format_)


@model.command()
@click.argument("model", metavar="MODEL")
@format_option
def info(model: str, format_: str) -> None:
    """Show what MODEL is and how it was made: a name in models/, or a folder.

    \b
    Examples:
      cluster model info yolact-shapes
      cluster model info ~/models/yolact --format json
    """
    _show(Model.find(model), format_)


def _show(model: Model, format_: str) -> None:
    network = core().read_model(model.xml)
    description = {
        **json.loads((model.folder / "model.json").read_text(encoding="utf-8")),
        "folder": str(model.folder),
        "files": {name: (model.folder / name).stat().st_size for name in FILES},
        "inputs": {port.any_name: list(port.shape) for port in network.inputs},
        "outputs": {port.any_name: list(port.shape) for port in network.outputs},
    }
    if format_ == "json":
        click.echo(json.dumps(description))
        return
    console.print(_facts(model, description))
    if proof := model.made.get("proof"):
        console.print(_forms(proof))
        console.print(
            f"Over {proof['images']} images, one at a time, {proof['threads']} threads of"
            f" {proof['cpu_model']}, computed in f32."
        )
        console.print(
            f"PyTorch finds {proof['objects_total']} objects, {proof['objects_median']:g} in the"
            " median image; differing: "
            + ", ".join(f"{form} {count}" for form, count in proof["objects_differing"].items())
        )


def _facts(model: Model, description: dict[str, Any]) -> Table:
    shape, made = model.architecture, dict(model.made)
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "model": f"{model.name}, {model.precision} weights",
        "folder": description["folder"],
        "network": f"YOLACT {shape.backbone}, {shape.input_size} px,"
        f" {made.get('parameters', 0):,} parameters, {len(model.priors()):,} priors",
        "classes": f"{shape.num_classes}: {', '.join(model.class_names)}",
        "thresholds": f"score {model.score_threshold:g}, confidence {model.conf_threshold:g},"
        f" NMS {model.nms_threshold:g}, at most {model.top_k} objects",
        "inputs": _ports(description["inputs"]),
        "outputs": _ports(description["outputs"]),
        "files": ", ".join(
            f"{name} {size / MEBIBYTE:.1f} MiB" for name, size in description["files"].items()
        ),
        "digest": f"{model.digest} (matches the files)",
        "weights": _weights(made),
        "made with": ", ".join(f"{tool} {v}" for tool, v in made.get("versions", {}).items())
        + f", ONNX opset {made.get('opset', '?')}",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _ports(ports: dict[str, list[int]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in ports.items())


def _weights(made: dict[str, Any]) -> str:
    if made.get("sha256") is None:
        return f"{made.get('weights', 'unknown')} (random, not trained)"
    kind = "the published file" if made["published"] else "not the published file"
    return f"{made['weights']}, {kind}, sha256 {made['sha256']}"


def _forms(proof: dict[str, Any]) -> Table:
    outputs = list(dict.fromkeys(row["output"] for row in proof["differences"]))
    table = Table(
        title="Largest difference to PyTorch, and as a share of the output's largest value",
        title_justify="left",
    )
    table.add_column("form")
    table.add_column("median ms", justify="right")
    for output in outputs:
        table.add_column(output)
    cells = {
        (row["form"], row["output"]): f"{row['absolute']:.2g} ({row['relative']:.2g})"
        for row in proof["differences"]
    }
    for form, milliseconds in proof["median_ms"].items():
        table.add_row(
            form, f"{milliseconds:.0f}", *(cells.get((form, name), "-") for name in outputs)
        )
    return table
