"""``cluster bench accuracy``: the shipped models on scenes that training never saw."""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cluster.bench.boundary import BoundaryEval
from cluster.bench.result import Result
from cluster.model.scenes import HELD_OUT_SEEDS, coco, scene
from job.engines.core import core
from job.host import host_facts
from job.images.preprocess import to_tensor
from job.model import Model
from job.yolact.postprocess import postprocess

Floats = npt.NDArray[np.float32]
Network = Callable[[Floats], Mapping[str, Floats]]

TARGETS = {"mask_ap": (">=", 0.5), "mask_ap50": (">=", 0.8)}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A shipped model and what OpenVINO computes it in; ``suffix`` ends its figures' names."""

    suffix: str
    model: str
    precision: str


CONTENDERS = (
    Contender(suffix="fp32", model="yolact-shapes", precision="f32"),
    Contender(suffix="fp16", model="yolact-shapes-fp16", precision="f32"),
    Contender(suffix="bf16", model="yolact-shapes", precision="bf16"),
)


def measure(*, scenes: int = len(HELD_OUT_SEEDS)) -> Result:
    """Average precision of the shipped models on the first SCENES held-out scenes.

    As in COCO's evaluation no score threshold applies, and up to 100 objects of a picture count.
    """
    seeds = HELD_OUT_SEEDS[:scenes]
    truth = coco(seeds)
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    notes = [f"{len(seeds)} scenes, {len(truth['annotations'])} objects"]
    for contender in CONTENDERS:
        if contender.precision == "bf16" and not host_facts().bf16:
            notes.append("bf16 is not measured: this CPU does not compute in it")
            continue
        model = Model.find(contender.model)
        network = compiled(model, contender.precision)
        scores = average_precision(truth, list(detections(model, network, seeds)))
        rows.append(
            {
                "model": model.name,
                "weights": model.precision,
                "computed in": contender.precision,
                **scores,
            }
        )
        figures |= {f"{name}_{contender.suffix}": value for name, value in scores.items()}
    targets = {
        f"{name}_{contender.suffix}": target
        for contender in CONTENDERS
        for name, target in TARGETS.items()
    }
    return Result(
        bench="accuracy",
        rows=rows,
        figures=figures,
        targets={name: target for name, target in targets.items() if name in figures},
        notes=notes,
    )


def compiled(model: Model, precision: str) -> Network:
    """MODEL on this CPU, computed in PRECISION (f32 or bf16)."""
    network = core().compile_model(model.xml, "CPU", {"INFERENCE_PRECISION_HINT": precision})

    def infer(tensor: Floats) -> dict[str, Floats]:
        return {port.any_name: value for port, value in network([tensor]).items()}

    return infer


def detections(model: Model, network: Network, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What NETWORK finds in the scenes of SEEDS, however low its score: COCO rows."""
    model = dataclasses.replace(model, score_threshold=0.0)
    priors = model.priors()
    for index, seed in enumerate(seeds):
        image = scene(seed).image
        tensor = to_tensor(image, model.architecture.input_size, mean=model.mean, std=model.std)
        height, width = image.shape[:2]
        for row in postprocess(model, priors, network(tensor), height=height, width=width):
            yield {"image_id": index + 1, **row}


def average_precision(
    truth: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """mask_ap, mask_ap50 and boundary_ap, 0 to 1, averaged as COCO's evaluation does."""
    if not rows:
        return {"mask_ap": 0.0, "mask_ap50": 0.0, "boundary_ap": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells its progress
        expected = COCO()
        expected.dataset = truth
        expected.createIndex()
        found = expected.loadRes([dict(row) for row in rows])
        masks = _averages(COCOeval, expected, found)
        boundaries = _averages(BoundaryEval, expected, found)
    return {"mask_ap": masks[0], "mask_ap50": masks[1], "boundary_ap": boundaries[0]}


def _averages(evaluation: Any, expected: COCO, found: COCO) -> list[float]:
    evaluator = evaluation(expected, found, "segm")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return [float(value) for value in evaluator.stats[:2]]
