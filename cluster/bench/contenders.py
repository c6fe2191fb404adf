"""What is timed against OpenVINO's benchmark_app, each in a process of its own.

``python -m cluster.bench.contenders NAME JSON`` prints one JSON object: images per second from
the loaded model to the last result, and for those that find objects how many in a median image.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from job import driver
from job.engines.core import core
from job.engines.native import InferenceQueue, Lane
from job.images.preprocess import to_tensor
from job.model import Model
from job.origins import ThisMachine
from job.parts import FolderSink
from job.pipeline import Stages, Work
from job.spec import JobSpec
from job.timing import ImageRecord
from job.yolact.postprocess import postprocess


def native_inference(*, model: str, precision: str, images: int) -> dict[str, Any]:
    """Our engine's inference queue alone, on tensors that are there already."""
    work = Work(
        model=Model.load(Path(model)),
        precision=precision,
        slots=1,
        session=0,
        origin=ThisMachine(),
        sink=FolderSink(Path()),
        overlays=None,
        flush_seconds=0,
        instrumentation=True,
        memory_mb=None,
        sampling=False,
    )
    stages, queue = Stages(work), InferenceQueue(work)
    lanes = [queue.lane(stages.new_tensor()) for _ in range(queue.lanes)]
    for lane in lanes:
        lane.tensor[:] = np.random.default_rng(0).standard_normal(lane.tensor.shape)

    def infer(lane: Lane, numbers: Iterator[int]) -> None:
        for number in numbers:
            queue.infer(ImageRecord(image_id=str(number)), lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(infer, lanes, map(iter, [[0]] * len(lanes))))  # as benchmark_app warms up
        began = time.perf_counter()
        # One iterator for all: whichever lane is free takes the next.
        list(pool.map(infer, lanes, [iter(range(images))] * len(lanes)))
        return {"images_per_second": images / (time.perf_counter() - began)}


def spark_job(*, output: str, model: str, input: str, **options: Any) -> dict[str, Any]:
    """``cluster run --mode local``, from JPEG to masks."""
    spec = JobSpec(mode="local", output=Path(output), model=Path(model), input=input, **options)
    run = driver.run(spec)
    if run["counts"]["errors"]:
        raise SystemExit(f"errors in {output}/errors.jsonl")
    found = pq.read_table(spec.output / "detections.parquet", columns=["image_id"])["image_id"]
    counts = [entry["counts"] for entry in found.value_counts().to_pylist()]
    counts += [0] * (run["counts"]["done"] - len(counts))
    return {
        "images_per_second": run["images_per_second"],
        "detections": statistics.median(counts),
    }


def plain_loop(*, model: str, precision: str, input: str) -> dict[str, Any]:
    """One image after the other, as most people would write it."""
    found = Model.load(Path(model))
    priors = found.priors()
    config = {"INFERENCE_PRECISION_HINT": precision}
    compiled = core().compile_model(found.xml, "CPU", config)
    paths = sorted(Path(input).iterdir())
    counts = []
    began = time.perf_counter()
    for path in paths:
        pixels = cv2.imread(str(path))
        height, width = pixels.shape[:2]
        size = found.architecture.input_size
        result = compiled(to_tensor(pixels, size=size, mean=found.mean, std=found.std))
        outputs = {output.get_any_name(): result[output] for output in compiled.outputs}
        counts.append(len(postprocess(found, priors, outputs, height=height, width=width)))
    seconds = time.perf_counter() - began
    return {"images_per_second": len(paths) / seconds, "detections": statistics.median(counts)}


CONTENDERS = {
    contender.__name__: contender for contender in (native_inference, spark_job, plain_loop)
}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](**json.loads(sys.argv[2]))))
