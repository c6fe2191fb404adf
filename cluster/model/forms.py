"""One network in three forms (PyTorch, ONNX, OpenVINO) and the proof that they find the same."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from cluster.model.network import Yolact
from job.engines.core import core
from job.errors import JobError
from job.host import host_facts, threads_for
from job.images.decode import ImageError, decode
from job.images.preprocess import to_tensor
from job.images.source import ImageRef, Reader
from job.model import Model
from job.yolact.compare import Tolerance, differences
from job.yolact.postprocess import postprocess

Floats = npt.NDArray[np.float32]
Form = Callable[[Floats], dict[str, Floats]]

INPUT = "image"
OUTPUTS = ("loc", "conf", "mask", "proto")

# FP16 weights move scores by up to 0.01 and boxes by a pixel. A mask of few pixels can change
# beyond any bound on its IoU, so some objects may differ; many would be a fault.
TOLERANCES = {"fp32": Tolerance(), "fp16": Tolerance(score=0.02, box=2, iou=0.95)}
ALLOWED_SHARE = {"fp32": 0.0, "fp16": 0.1}  # of the objects
SHOWN = 3  # differences in the message of a failure


def torch_form(network: Yolact, threads: int) -> Form:
    """The network as written, on THREADS threads of this process."""
    torch.set_num_threads(threads)

    def run(image: Floats) -> dict[str, Floats]:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image))
        return {name: part.numpy() for name, part in zip(OUTPUTS, outputs, strict=True)}

    return run


def onnx_form(path: Path, threads: int) -> Form:
    """An ONNX file in ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(image: Floats) -> dict[str, Floats]:
        return dict(zip(OUTPUTS, session.run(OUTPUTS, {INPUT: image}), strict=True))

    return run


def openvino_form(path: Path, threads: int) -> Form:
    """An IR in OpenVINO, computed in float32 whatever the CPU prefers."""
    compiled = core().compile_model(
        path,
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads},
    )
    request = compiled.create_infer_request()

    def run(image: Floats) -> dict[str, Floats]:
        request.infer({INPUT: image})
        return {name: request.get_tensor(name).data.copy() for name in OUTPUTS}

    return run


def prove(
    network: Yolact,
    onnx: Path,
    model: Model,
    images: Sequence[ImageRef],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Send IMAGES through all three forms and compare each to PyTorch.

    ``model`` needs its IR and priors; its precision chooses what may differ. Gives, ready for
    JSON: median milliseconds of each form, one image at a time (the paper's table 1); the largest
    absolute difference of each output, and that as a share of PyTorch's largest value; how many
    objects PyTorch finds, and how many of each other form differ. Raises JobError where a form
    finds other objects than PyTorch.
    """
    facts = host_facts()
    threads = threads_for(facts.cpus_quota, 1)
    forms = {
        "PyTorch": torch_form(network, threads),
        "ONNX": onnx_form(onnx, threads),
        f"OpenVINO {model.precision.upper()}": openvino_form(model.xml, threads),
    }
    reference, *others = forms
    priors = model.priors()
    milliseconds: dict[str, list[float]] = {form: [] for form in forms}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {form: {} for form in forms}
    largest = dict.fromkeys(OUTPUTS, 0.0)
    difference = {form: dict.fromkeys(OUTPUTS, 0.0) for form in others}

    size = model.architecture.input_size
    for run in forms.values():
        run(np.zeros((1, 3, size, size), np.float32))  # the first run allocates
    for number, ref in enumerate(images, start=1):
        tell(f"Comparing the forms on image {number} of {len(images)}: {ref.image_id}")
        pixels = _pixels(ref)
        image = to_tensor(pixels, size, mean=model.mean, std=model.std)
        outputs = {}
        for form, run in forms.items():
            began = time.perf_counter()
            outputs[form] = run(image)
            milliseconds[form].append((time.perf_counter() - began) * 1000)
            height, width = pixels.shape[:2]
            found[form][ref.image_id] = postprocess(
                model, priors, outputs[form], height=height, width=width
            )
        for name in OUTPUTS:
            largest[name] = max(largest[name], float(np.abs(outputs[reference][name]).max()))
            for form in others:
                gap = float(np.abs(outputs[form][name] - outputs[reference][name]).max())
                difference[form][name] = max(difference[form][name], gap)

    counts = [len(rows) for rows in found[reference].values()]
    differing = {}
    for form, weights in zip(others, ("fp32", model.precision), strict=True):
        texts = differences(
            found[reference], found[form], model=model, tolerance=TOLERANCES[weights]
        )
        differing[form] = len(texts)
        if len(texts) > ALLOWED_SHARE[weights] * sum(counts):
            more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
            raise JobError(
                f"the {form} form finds other objects than PyTorch: "
                f"{'; '.join(texts[:SHOWN])}{more} ({sum(counts)} objects in all)"
            )
    return {
        "images": len(images),
        "cpu_model": facts.cpu_model,
        "threads": threads,
        "median_ms": {form: statistics.median(times) for form, times in milliseconds.items()},
        "differences": [
            {
                "form": form,
                "output": name,
                "absolute": difference[form][name],
                "relative": difference[form][name] / (largest[name] or 1.0),
            }
            for form in others
            for name in OUTPUTS
        ],
        "objects_median": statistics.median(counts),
        "objects_total": sum(counts),
        "objects_differing": differing,
    }


def _pixels(ref: ImageRef) -> npt.NDArray[np.uint8]:
    try:
        with closing(Reader()) as reader:
            return decode(reader.fetch(ref))
    except ImageError as error:
        raise JobError(f"{ref.path} cannot be compared: {error}") from None
