"""The stages of one image, and of one task: read, preprocess, infer, post-process, write.

An engine decides who runs the stages when (``job.engines``); what a stage does is here, once.
"""

import os
import time
import zipimport
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pyspark import TaskContext

from job.counters import Counters
from job.engines.worker import Worker
from job.host import executor_id, hostname
from job.images.decode import Pixels, decode
from job.images.preprocess import to_tensor
from job.images.source import ImageRef, Reader
from job.model import Model
from job.origins import Origin, UnreachableError
from job.overlay import write_overlay
from job.parts import PartWriter, Sink
from job.sampler import Row, of_this_host
from job.timing import ImageRecord
from job.yolact.postprocess import postprocess

Tensor = npt.NDArray[np.float32]
Payload = bytes | Pixels


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every task of a run is told; small, for it travels with each."""

    model: Model
    precision: str
    slots: int
    session: int
    origin: Origin
    sink: Sink
    overlays: Path | None
    flush_seconds: float
    instrumentation: bool
    memory_mb: int | None  # of a worker process, where it is bounded
    sampling: bool  # tasks sample their hosts; the driver does where it is the only executor
    calibration: tuple[ImageRef, ...] = ()  # what each executor does first


@dataclass(kw_only=True)
class TaskReport:
    """What a task says to the driver: how many images, between when, by which new workers.

    ``samples`` are what the host did in the seconds since the task before.
    """

    host: str = field(default_factory=hostname)
    images: int = 0
    first_emitted_at: float | None = None
    last_emitted_at: float | None = None
    started_at: float = field(default_factory=time.time)
    workers: list[Worker] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)


class Stages:
    """The stages around inference, bound to one model; safe to use from several threads."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._model = work.model
        self._priors = work.model.priors()
        # One image is one thread's work: OpenCV's own threads would only fight with inference.
        cv2.setNumThreads(1)

    def new_tensor(self) -> Tensor:
        """Memory for one network input, [1, 3, S, S]."""
        size = self._model.architecture.input_size
        return np.empty((1, 3, size, size), np.float32)

    def fetch(self, ref: ImageRef, reader: Reader) -> tuple[ImageRecord, Payload | None]:
        """Begin an image: its bytes, or None with the error in the record."""
        record = ImageRecord(image_id=ref.image_id, timed=self._work.instrumentation)
        record.timing["bytes_in"] = ref.bytes
        try:
            with record.stage("fetch"):
                return record, reader.fetch(ref)
        except UnreachableError:
            raise  # not the image's fault: another host may do better
        except Exception as error:  # one bad image is a line in errors.jsonl, whatever it was
            record.fail(error)
            return record, None

    def prepare(self, record: ImageRecord, payload: Payload, out: Tensor) -> Pixels:
        """Decode and preprocess into OUT [1, 3, S, S]; gives the decoded image."""
        with record.stage("decode"):
            pixels = decode(payload)
        record.height, record.width = pixels.shape[:2]
        record.timing["pixels"] = record.height * record.width
        with record.stage("preprocess"):
            to_tensor(
                pixels, size=out.shape[-1], mean=self._model.mean, std=self._model.std, out=out
            )
        return pixels

    def finish(self, record: ImageRecord, pixels: Pixels, outputs: Mapping[str, Tensor]) -> None:
        """Turn the network's outputs into the record's objects; draw them where asked for."""
        height, width = pixels.shape[:2]
        with record.stage("postprocess"):
            record.objects = postprocess(
                self._model, self._priors, outputs, height=height, width=width
            )
        record.timing["detections"] = len(record.objects)
        if self._work.overlays:
            names = dict(zip(self._model.category_ids, self._model.class_names, strict=True))
            write_overlay(self._work.overlays, record.image_id, pixels, record.objects, names)


def read_archives_once() -> None:
    """Let this worker process keep the directories of the ZIPs that it imports from.

    PySpark drops all import caches before each task, upon which Python reads the directory of
    pyspark.zip again, once for every package in it: 0.3 s of a CPU for a task that has ten images.
    The archives of a running worker do not change.
    """
    zipimport.zipimporter.invalidate_caches = _keep  # type: ignore[method-assign, assignment]


def _keep(_: zipimport.zipimporter) -> None:
    """Drop nothing."""


def write_parts(work: Work, records: Iterable[Worker | ImageRecord]) -> Iterator[TaskReport]:
    """The last stage of a task: complete the timing rows and write them as parts."""
    context = TaskContext.get()
    assert context is not None, "runs inside a Spark task"
    read_archives_once()
    task: dict[str, Any] = {
        "host": hostname(),
        "worker_pid": os.getpid(),
        "executor_id": executor_id(),
        "stage_id": context.stageId(),
        "task_id": context.taskAttemptId(),
        "attempt": context.attemptNumber(),
        "partition": context.partitionId(),
    }
    name = f"{work.session:03}-{task['partition']:06}-{task['task_id']}"
    writer = PartWriter(work.sink, name, seconds=work.flush_seconds)
    sampler = of_this_host() if work.sampling else None
    counters = Counters() if work.instrumentation else None
    report = TaskReport()
    for record in records:
        if isinstance(record, Worker):
            report.workers.append(record)
            continue
        record.timing.update(task)
        if counters:
            record.timing.update(counters.delta()._asdict())
        record.emitted()
        writer.add(record)
        report.images += record.is_result
        report.last_emitted_at = time.time()
        report.first_emitted_at = report.first_emitted_at or report.last_emitted_at
    writer.close()
    if counters:
        counters.close()
    if sampler:
        report.samples = sampler.drain()
    yield report
