"""Images one at a time in a process of their own, for a task that has ended its worker before.

An image can kill the process that works on it: a fault in a codec, or more memory than there is.
Here it kills the child alone, and is a line in errors.jsonl; the other images of its task go on.
"""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from pyspark import TaskContext

from job.images.source import ImageRef
from job.pipeline import Work
from job.timing import ImageRecord

# Hosts fail too; a task is not suspected for one failure.
FAILURES = 2
IMAGE_S = 300.0


def suspected() -> bool:
    """Whether the task that runs has failed so often that an image of it may be why."""
    context = TaskContext.get()
    return context is not None and context.attemptNumber() >= FAILURES


def process(work: Work, refs: Iterable[ImageRef]) -> Iterator[ImageRecord]:
    """A record for each image, by our own engine whatever the run's is: same detections."""
    child: _Child | None = None
    try:
        for ref in refs:
            child = child or _Child(work)
            record = child.process(ref)
            if record is None:
                record = ImageRecord(image_id=ref.image_id, timed=work.instrumentation)
                record.error = {"stage": "worker", "message": child.end()}
                child = None
            yield record
    finally:
        if child:
            child.end()


class _Child:
    """The process, and the pipe to it."""

    def __init__(self, work: Work) -> None:
        # Not forked: inference threads and Spark's sockets would not survive it.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def process(self, ref: ImageRef) -> ImageRecord | None:
        """The record of an image; None where the child has ended or stands still."""
        with suppress(OSError, EOFError):
            self._pipe.send(ref)
            if wait([self._pipe], IMAGE_S):
                record: ImageRecord = self._pipe.recv()
                return record
        return None

    def end(self) -> str:
        """End it; why it had ended, in words."""
        self._pipe.close()
        self._process.join(1.0)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
            return f"the image was not done in {IMAGE_S:g} s"
        if code < 0:
            return f"the image ended the process that worked on it ({signal.Signals(-code).name})"
        return f"the image ended the process that worked on it (exit code {code})"


def _serve(work: Work, pipe: Connection) -> None:
    from job.engines.native import NativeEngine  # noqa: PLC0415  (it imports this module)

    # The kernel, short of memory, takes this process and not the executor.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    engine = NativeEngine(work)
    with suppress(EOFError):
        while True:
            for record in engine.process([pipe.recv()]):
                pipe.send(record)
