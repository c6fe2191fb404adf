"""BigDL Orca's OpenVINO Estimator, between the same stages as our own engine.

Preparing, Orca's own iterator over the partition, and post-processing are chained in one Python
worker: each result is pulled through before the next image is handed in. predict() returns
outputs only, so what belongs to an image waits beside the chain, in the order handed in.
"""

import contextlib
import io
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from pyspark import RDD

from job.cgroup import cpu_quota
from job.engines import isolated
from job.engines.worker import Worker
from job.host import threads_for
from job.images.decode import Pixels
from job.images.source import ImageRef, Reader
from job.pipeline import Stages, Tensor, Work
from job.timing import ImageRecord


def jars() -> list[Path]:
    """BigDL's jars, which the driver and the executors need on their class path."""
    import bigdl.share  # noqa: PLC0415  only this engine needs BigDL

    return sorted(Path(bigdl.share.__path__[0]).glob("*/lib/*.jar"))


class _Chain:
    """What the two ends of one partition's chain share inside the worker process."""

    def __init__(self, work: Work) -> None:
        self.stages = Stages(work)
        self.images: deque[tuple[ImageRecord, Pixels | None, float]] = deque()
        self.asked_at = time.time()
        self.asked = time.perf_counter()
        self.worker: Worker | None = None
        self.suspected: list[ImageRef] = []


# One task at a time runs in a Python worker; its chain is begun by the end that is pulled first.
_chain: _Chain | None = None


def _prepare(work: Work, refs: Iterator[ImageRef]) -> Iterator[dict[str, Tensor]]:
    chain = _chain
    assert chain is not None, "_finish is pulled first"
    if isolated.suspected():
        chain.suspected = list(refs)
        return
    # Orca asks for its first input when it has compiled the model.
    chain.worker = Worker(
        threads=threads_for(cpu_quota(), work.slots),
        streams=None,
        requests=1,
        model_load_started_at=chain.asked_at,
        model_load_ms=(time.perf_counter() - chain.asked) * 1e3,
    )
    stages = chain.stages
    tensor = stages.new_tensor()
    with closing(Reader(work.origin)) as reader:
        for number, ref in enumerate(refs):
            record, payload = stages.fetch(ref, reader)
            pixels = None
            if payload is not None:
                try:
                    pixels = stages.prepare(record, payload, tensor)
                except Exception as error:  # a line in errors.jsonl, whatever it was
                    record.fail(error)
            record.timing["warmup"] = number == 0
            chain.images.append((record, pixels, time.perf_counter()))
            if pixels is not None:
                yield {"x": tensor}


def _finish(
    work: Work, names: list[str], results: Iterable[list[Tensor]]
) -> Iterator[Worker | ImageRecord]:
    global _chain  # noqa: PLW0603  the ends of Orca's chain have nothing else in common
    chain = _chain = _Chain(work)
    for result in results:
        if chain.worker:
            yield chain.worker
            chain.worker = None
        record, pixels, handed = chain.images.popleft()
        while pixels is None:  # those that failed on the way had no result
            yield record
            record, pixels, handed = chain.images.popleft()
        if record.timed:
            record.timing["infer_ms"] = (time.perf_counter() - handed) * 1e3
        try:
            chain.stages.finish(record, pixels, dict(zip(names, result, strict=True)))
        except Exception as error:  # a line in errors.jsonl, whatever it was
            record.fail(error)
        yield record
    for record, _, _ in chain.images:
        yield record
    yield from isolated.process(work, chain.suspected)


def records(work: Work, refs: "RDD[ImageRef]", model: Path) -> "RDD[Worker | ImageRecord]":
    """The records of REFS by Orca; needs a SparkContext that was started with ``jars()``.

    MODEL is the network as the driver sees it: Orca reads it here, and sends it along.
    """
    # Orca starts its workers with the interpreter's prefix; a venv's own is not a whole one.
    os.environ["PYTHONHOME"] = sys.base_prefix
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # Orca prints its configuration, and warns of an OpenVINO interface that we know it uses.
        warnings.simplefilter("ignore", FutureWarning)
        from bigdl.dllib.nncontext import init_nncontext  # noqa: PLC0415
        from bigdl.orca import OrcaContext  # noqa: PLC0415
        from bigdl.orca.data import SparkXShards  # noqa: PLC0415
        from bigdl.orca.learn.openvino import Estimator  # noqa: PLC0415

        init_nncontext()
        # An eager result would be computed and counted as soon as it is made.
        OrcaContext._eager_mode = False
        estimator = Estimator.from_openvino(model_path=str(model))
        threads = threads_for(cpu_quota(), work.slots)
        predicted = estimator.predict(
            SparkXShards.lazy(refs.mapPartitions(partial(_prepare, work))),
            batch_size=1,
            # A configuration replaces Orca's own, so the threads are in it too.
            config={
                "CPU_THREADS_NUM": str(threads),
                "CPU_BIND_THREAD": "NO",
                "INFERENCE_PRECISION_HINT": work.precision,
            },
        )
        names = list(estimator.output_dict)
    # Orca marks its result as cached; a cached RDD would be cut off from the stage behind it.
    predicted.rdd.unpersist()
    return predicted.rdd.mapPartitions(partial(_finish, work, names))
