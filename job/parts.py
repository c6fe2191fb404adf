"""Parts: how an executor hands over finished images while the job goes on.

Nothing here imports Arrow: its first array in a process imports pandas, which would cost every
worker a second and 60 MB.
"""

import json
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyspark import Accumulator, AccumulatorParam, TaskContext

from job.origins import hdfs
from job.timing import ImageRecord

# Spark sends results of tasks up to a MiB with the word that they have ended.
RESULT_CHARACTERS = 700_000
# Of a task's time, at most so much goes by while parts are handed over.
HANDING_OVER_SHARE = 0.1


def write_atomically(path: Path, text: str) -> None:
    """Write TEXT so that a reader sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


class Sink(Protocol):
    """Where parts go from an executor; it travels with the work."""

    def put(self, name: str, text: str) -> None:
        """Hand over one part, whole or not at all."""

    def last(self, name: str, text: str) -> None:
        """The same for what is left at the end of a task."""


@dataclass(frozen=True)
class FolderSink:
    """A folder that the driver sees."""

    folder: Path

    def put(self, name: str, text: str) -> None:
        """Write it."""
        write_atomically(self.folder / name, text)

    last = put


@dataclass(frozen=True)
class HdfsSink:
    """A folder of HDFS, by the NameNode's web address; the driver collects it from there.

    What is left at a task's end goes with its result to the ``driver``, where it is small: two
    requests to HDFS would keep a host of half a CPU from its next task for a second.
    """

    namenode: str
    user: str
    folder: str
    driver: "DriverSink"

    def put(self, name: str, text: str) -> None:
        """Write it under a temporary name, then rename it."""
        files = hdfs(self.namenode, self.user)
        temporary = f"{self.folder}/.{name}"
        # One copy, which HDFS makes where the writer is: no other host can hold it up. Lost with
        # the host, its images are done again.
        files.write(temporary, text.encode(), replication=1, overwrite=True)
        files.rename(temporary, f"{self.folder}/{name}")

    def last(self, name: str, text: str) -> None:
        """Write it, or leave it to the driver."""
        (self.driver if len(text) <= RESULT_CHARACTERS else self).put(name, text)


@dataclass(frozen=True)
class DriverSink:
    """The driver itself, which Spark hands the parts of a task when the task has ended well."""

    parts: "Accumulator[list[tuple[str, str]]]"

    def put(self, name: str, text: str) -> None:
        """Keep it for the task's end."""
        self.parts.add([(name, text)])

    last = put


class WrittenParts(AccumulatorParam):  # type: ignore[misc]
    """Parts (name, text): gathered in a task, written into FOLDER where the driver is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def zero(self, value: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """None so far."""
        return []

    def addInPlace(  # noqa: N802  (Spark's name)
        self, value1: list[tuple[str, str]], value2: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Gather in a task; in the driver, write: it is told of each task once."""
        if TaskContext.get() is not None:
            return value1 + value2
        for name, text in value2:
            write_atomically(self._folder / name, text)
        return value1


class PartWriter:
    """Gathers the records of one task attempt and hands them over as JSON lines.

    Parts on the way are handed over in the background: HDFS takes half a second of a small host for
    each, in which the images behind it would wait.
    """

    def __init__(self, sink: Sink, name: str, *, seconds: float = math.inf) -> None:
        """NAME is unique to the task attempt; the images of each part are counted in its name.

        A part is handed over after so many SECONDS, or as many more as keep it cheap.
        """
        self._sink, self._name, self._seconds = sink, name, seconds
        self._lines: list[str] = []
        self._images = 0
        self._sequence = 0
        self._due = time.monotonic() + seconds
        self._background = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._handing_over: Future[None] | None = None

    def add(self, record: ImageRecord) -> None:
        """Take one finished image; the sink has it once ``close`` has returned.

        Raises what the sink raised for a part before.
        """
        line = {
            "timing": record.timing,
            "width": record.width,
            "height": record.height,
            "objects": record.objects,
            "error": record.error,
        }
        self._lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        self._images += record.is_result
        if self._handing_over and self._handing_over.done():
            self._handing_over.result()
            self._handing_over = None
        if not self._handing_over and time.monotonic() >= self._due:
            self._handing_over = self._background.submit(self._put, *self._take())

    def close(self) -> None:
        """Hand over what is left as the last part of the task; raises as ``add`` does."""
        with self._background:
            if self._handing_over:
                self._handing_over.result()
            if self._lines:
                self._sink.last(*self._take())

    def _put(self, name: str, text: str) -> None:
        began = time.monotonic()
        self._sink.put(name, text)
        ended = time.monotonic()
        self._due = ended + max(self._seconds, (ended - began) / HANDING_OVER_SHARE)

    def _take(self) -> tuple[str, str]:
        part = f"{self._name}-{self._sequence:05}-n{self._images}.jsonl", "".join(self._lines)
        self._lines.clear()
        self._images = 0
        self._sequence += 1
        return part
