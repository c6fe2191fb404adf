"""Our engine: one compiled model for each worker process, kept from task to task.

A few lanes, each a thread with an infer request of its own, carry one image at a time from bytes
to masks; OpenVINO computes as many at once as it has streams. So decoding and post-processing of
some images overlap the inference of others, and an image is copied nowhere: preprocessing writes
into the request's input, post-processing reads its outputs.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import openvino as ov
from pyspark import RDD

from job import memory
from job.cgroup import cpu_quota
from job.engines import isolated
from job.engines.core import core
from job.engines.worker import Worker
from job.errors import JobError
from job.host import threads_for
from job.images.source import ImageRef, Reader
from job.pipeline import Payload, Stages, Tensor, Work
from job.timing import ImageRecord

# Lanes beyond the streams: while these decode or post-process, every stream has an image.
SPARE_LANES = 1
# Requests for images under way on a network, and images that wait with their bytes.
FETCHERS = 4
# In the folder that an executor of a cluster has to itself.
CALIBRATED = Path("calibrated")


@dataclass
class Lane:
    """One infer request and the memory of its input."""

    request: Any
    tensor: Tensor
    used: bool = False


class InferenceQueue:
    """A compiled model and the right to run on one of its streams."""

    def __init__(self, work: Work) -> None:
        started_at, began = time.time(), time.perf_counter()
        quota = cpu_quota()
        threads = threads_for(quota, work.slots)
        config = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": work.precision,
            # Some 5 % faster where the host is all ours; two workers that pin their threads, or
            # two hosts of a lab on one machine, would land on the same cores.
            "ENABLE_CPU_PINNING": work.slots == 1 and quota == os.cpu_count(),
        }
        self._model = core().compile_model(work.model.xml, "CPU", config)
        computed = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if computed != work.precision:
            raise JobError(f"OpenVINO computes in {computed}, not in {work.precision} as asked")
        streams = self._model.get_property("NUM_STREAMS")
        self.lanes = streams + SPARE_LANES
        self._streams = threading.BoundedSemaphore(streams)
        self.worker = Worker(
            threads=threads,
            streams=streams,
            requests=self.lanes,
            model_load_started_at=started_at,
            model_load_ms=(time.perf_counter() - began) * 1e3,
        )

    def lane(self, tensor: Tensor) -> Lane:
        """A request that takes its input from TENSOR."""
        request = self._model.create_infer_request()
        request.set_input_tensor(ov.Tensor(tensor, shared_memory=True))
        return Lane(request, tensor)

    def infer(self, record: ImageRecord, lane: Lane) -> dict[str, Tensor]:
        """Run LANE's input; the outputs stay valid until the lane's next image."""
        record.timing["warmup"] = not lane.used
        with record.stage("wait"):
            self._streams.acquire()
        try:
            with record.stage("infer"):
                lane.request.start_async()
                lane.request.wait()
        finally:
            self._streams.release()
        lane.used = True
        return {
            output.get_any_name(): lane.request.get_tensor(output).data
            for output in self._model.outputs
        }


class NativeEngine:
    """The lanes of one worker process."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._stages = Stages(work)
        self._queue = InferenceQueue(work)
        self.worker = self._queue.worker
        if work.memory_mb:
            memory.bound(work.memory_mb)
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(self._queue.lanes, thread_name_prefix="lane")

    def process(self, refs: Iterable[ImageRef]) -> Iterator[ImageRecord]:
        """Give a record for each image, as they finish; twice the lanes' number are under way."""
        finished: SimpleQueue[ImageRecord] = SimpleQueue()
        under_way = 0
        for record, payload in self._fetched(refs):
            self._pool.submit(lambda *image: finished.put(self._run(*image)), record, payload)
            under_way += 1
            while under_way == 2 * self._queue.lanes or not finished.empty():
                yield finished.get()
                under_way -= 1
        for _ in range(under_way):
            yield finished.get()

    def _fetched(self, refs: Iterable[ImageRef]) -> Iterator[tuple[ImageRecord, Payload | None]]:
        """The images with their bytes, in order.

        One at a time where they are near, so that a video is read without seeking; a network's
        answers are awaited several at once.
        """
        with closing(Reader(self._work.origin)) as reader:
            if self._work.origin.near:
                yield from (self._stages.fetch(ref, reader) for ref in refs)
                return
            ahead: deque[Future[tuple[ImageRecord, Payload | None]]] = deque()
            with ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch") as pool:
                for ref in refs:
                    if ref.member is not None or ref.frame is not None:  # the reader's open file
                        wait(ahead)
                    ahead.append(pool.submit(self._stages.fetch, ref, reader))
                    if len(ahead) > FETCHERS:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()

    def _run(self, record: ImageRecord, payload: Payload | None) -> ImageRecord:
        record.charge("wait")  # for a lane: a free request
        if payload is None:
            return record
        try:
            lane: Lane | None = getattr(self._local, "lane", None)
            if lane is None:
                lane = self._local.lane = self._queue.lane(self._stages.new_tensor())
            pixels = self._stages.prepare(record, payload, lane.tensor)
            outputs = self._queue.infer(record, lane)
            self._stages.finish(record, pixels, outputs)
        except Exception as error:  # one bad image is a line in errors.jsonl, whatever it was
            record.fail(error)
        return record


_engines: dict[tuple[str, str, int], NativeEngine] = {}


def _process(work: Work, refs: Iterator[ImageRef]) -> Iterator[Worker | ImageRecord]:
    """One task: the process's engine, loaded by its first task and kept for the next."""
    if isolated.suspected():
        yield from isolated.process(work, refs)
        return
    key = (work.model.digest, work.precision, work.slots)
    if key not in _engines:
        _engines[key] = NativeEngine(work)
        yield _engines[key].worker
        yield from _calibrated(_engines[key], work)
    yield from _engines[key].process(refs)


def _calibrated(engine: NativeEngine, work: Work) -> Iterator[ImageRecord]:
    """The rows of the calibration images, once for an executor.

    Once, also where one of them ends the process: the next worker does not try again.
    """
    if not work.calibration or CALIBRATED.exists():
        return
    CALIBRATED.touch()
    for record in engine.process(work.calibration):
        record.timing["kind"] = "calibration"
        yield record


def records(work: Work, refs: "RDD[ImageRef]", _: Path) -> "RDD[Worker | ImageRecord]":
    """The records of REFS, worked on where its partitions are."""
    return refs.mapPartitions(partial(_process, work))
