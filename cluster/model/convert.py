"""PyTorch -> ONNX -> OpenVINO IR, with proof. Runs in the export environment, as a program.

``cluster.model.export`` starts it. Progress goes to standard error; standard output carries
nothing but the sentence of an error.
"""

import argparse
import dataclasses
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxsim
import openvino
import torch

from cluster.errors import exit_code
from cluster.model.forms import INPUT, OUTPUTS, prove
from cluster.model.network import Yolact
from cluster.model.weights import MEAN, STD, Weights, load_weights
from job.errors import JobError
from job.images.source import ImageRef, list_images
from job.model import SHIPPED, Model, digest
from job.yolact.priors import make_priors

OPSET = 11  # the paper's
SAMPLES = 8  # of the shipped images; those of --images are taken all
TOOLS = ("torch", "onnx", "onnxsim", "onnxruntime", "openvino")

Tell = Callable[[str], None]


def convert(
    *,
    weights: str,
    precision: str,
    output: Path,
    name: str,
    images: str | None,
    score_threshold: float,
    tell: Tell,
) -> None:
    """Export WEIGHTS into OUTPUT, a new or empty folder; all or nothing.

    Raises UsageError for what was asked wrongly, JobError where the forms find other objects or
    OUTPUT cannot be written.
    """
    listed = list_images(str(SHIPPED / "images") if images is None else images).images
    if images is None:
        listed = listed[:: max(1, len(listed) // SAMPLES)][:SAMPLES]

    tell(f"Loading {weights}")
    loaded = load_weights(weights)
    if loaded.sha256 is not None:
        kind = "the file that YOLACT's authors published" if loaded.published else "another file"
        tell(f"sha256 {loaded.sha256}: {kind}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as folder:
            made = Path(folder) / "model"
            made.mkdir()
            _fill(made, loaded, precision, name, score_threshold, listed, tell)
            made.rename(output)
    except OSError as error:
        raise JobError(f"{output} cannot be written: {error.strerror or error}") from None


def _fill(
    folder: Path,
    loaded: Weights,
    precision: str,
    name: str,
    score_threshold: float,
    images: Sequence[ImageRef],
    tell: Tell,
) -> None:
    """Write the model into FOLDER, and its ONNX form beside it for the proof."""
    graph = folder.with_name("model.onnx")
    tell(f"Converting to ONNX opset {OPSET}")
    write_onnx(loaded.network, graph)
    tell(f"Converting to OpenVINO IR, {precision} weights")
    _write_ir(graph, folder / "model.xml", precision)
    np.save(folder / "priors.npy", make_priors(loaded.architecture))
    model = _model(loaded, folder, precision, name, score_threshold)
    proof = prove(loaded.network, graph, model, images, tell)
    dataclasses.replace(model, made={**model.made, "proof": proof}).save()


def write_onnx(network: Yolact, path: Path) -> None:
    """Write NETWORK's simplified ONNX graph: input ``image``, outputs loc, conf, mask, proto."""
    size = network.architecture.input_size
    with warnings.catch_warnings():
        # The legacy exporter is deprecated, and the only one that writes opset 11.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, size, size),),
            str(path),
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamo=False,
        )
    simplified, same = onnxsim.simplify(onnx.load(path))
    if not same:
        raise JobError("onnxsim changed what the network computes: report it with its version")
    del simplified.metadata_props[:]  # onnxsim's log of its work, which the IR would inherit
    onnx.save(simplified, path)


def _write_ir(graph: Path, path: Path, precision: str) -> None:
    model = openvino.convert_model(graph)
    openvino.save_model(model, path, compress_to_fp16=precision == "fp16")


def _model(
    loaded: Weights, folder: Path, precision: str, name: str, score_threshold: float
) -> Model:
    used = sum(
        parameter.numel()
        for key, parameter in loaded.network.named_parameters()
        if not key.startswith("semantic_seg_conv.")
    )
    made: dict[str, Any] = {
        "weights": Path(loaded.source).name,
        "sha256": loaded.sha256,
        "published": loaded.published,
        "parameters": used,
        "opset": OPSET,
        "versions": {tool: version(tool) for tool in TOOLS},
    }
    return Model(
        folder=folder,
        name=name,
        architecture=loaded.architecture,
        precision=precision,
        class_names=loaded.class_names,
        category_ids=loaded.category_ids,
        mean=MEAN,
        std=STD,
        conf_threshold=0.05,
        nms_threshold=0.5,
        top_k=100,
        score_threshold=score_threshold,
        digest=digest(folder),
        made=made,
    )


def main() -> int:
    """Parse the options that ``cluster.model.export`` gives; the exit code tells the outcome."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--precision", choices=["fp32", "fp16"], required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--images")
    parser.add_argument("--score-threshold", type=float, required=True)
    options = parser.parse_args()

    # What libraries print must not mix with the sentence of an error.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that temporary files go
    try:
        convert(**vars(options), tell=lambda line: print(line, file=sys.stderr, flush=True))
    except JobError as error:
        print(error, file=answer, flush=True)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
