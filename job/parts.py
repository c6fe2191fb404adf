"""Parts: how an executor hands over finished images while the job goes on.

Nothing here imports Arrow: its first array in a process imports pandas, which would cost every
worker a second and 60 MB.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyspark import Accumulator, AccumulatorParam, TaskContext

from job.origins import hdfs
from job.timing import ImageRecord


def write_atomically(path: Path, text: str) -> None:
    """Write TEXT so that a reader sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


class Sink(Protocol):
    """Where parts go from an executor; it travels with the work."""

    def put(self, name: str, text: str) -> None:
        """Hand over one part, whole or not at all."""


@dataclass(frozen=True)
class FolderSink:
    """A folder that the driver sees."""

    folder: Path

    def put(self, name: str, text: str) -> None:
        """Write it."""
        write_atomically(self.folder / name, text)


@dataclass(frozen=True)
class HdfsSink:
    """A folder of HDFS, by the NameNode's web address; the driver collects it from there."""

    namenode: str
    user: str
    folder: str

    def put(self, name: str, text: str) -> None:
        """Write it under a temporary name, then rename it."""
        files = hdfs(self.namenode, self.user)
        temporary = f"{self.folder}/.{name}"
        # One copy, which HDFS makes where the writer is: no other host can hold it up. Lost with
        # the host, its images are done again.
        files.write(temporary, text.encode(), replication=1, overwrite=True)
        files.rename(temporary, f"{self.folder}/{name}")


@dataclass(frozen=True)
class DriverSink:
    """The driver itself, which Spark hands the parts of a task when the task has ended well."""

    parts: "Accumulator[list[tuple[str, str]]]"

    def put(self, name: str, text: str) -> None:
        """Keep it for the task's end."""
        self.parts.add([(name, text)])


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
    """Gathers the records of one task attempt and hands them over as JSON lines."""

    def __init__(self, sink: Sink, name: str) -> None:
        """NAME is unique to the task attempt; the images of each part are counted in its name."""
        self._sink, self._name = sink, name
        self._lines: list[str] = []
        self._images = 0
        self._sequence = 0

    def add(self, record: ImageRecord) -> None:
        """Take one finished image; the sink has it once ``flush`` has returned."""
        line = {
            "timing": record.timing,
            "width": record.width,
            "height": record.height,
            "objects": record.objects,
            "error": record.error,
        }
        self._lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        self._images += record.is_result

    def flush(self) -> None:
        """Hand over what was gathered as one part."""
        if self._lines:
            name = f"{self._name}-{self._sequence:05}-n{self._images}.jsonl"
            self._sink.put(name, "".join(self._lines))
            self._lines.clear()
            self._images = 0
            self._sequence += 1
