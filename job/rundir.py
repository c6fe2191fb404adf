"""The run directory: what a run leaves behind, the same in every mode.

While the job runs, executors write *parts*: JSON lines, each a whole image (timing row, objects
or error), in files that have a temporary name first. A part that is there is complete, so the
parts tell the progress, survive a kill, and are what a resumed run skips. ``merge`` makes the
files of the contract from them.
"""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from job.errors import JobError, UsageError
from job.parts import write_atomically
from job.schemas import DETECTION_SCHEMA, HOST_SCHEMA, TIMING_SCHEMA

SCHEMA_VERSION = 1
# A COCO file is read whole by pycocotools: above this many images it is written on request only.
COCO_IMAGES = 100_000


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Images of a run directory by what became of them, and the objects found."""

    done: int
    errors: int
    detections: int


class RunDirectory:
    """The driver's side of ``--output``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts = path / "_parts"
        self.events = path / "spark-events"
        self.scratch = path / "_scratch"
        self.overlays = path / "overlays"

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """Make a new, empty run directory; raises UsageError where something lies already."""
        cls.check_new(path)
        run = cls(path)
        try:
            run.parts.mkdir(parents=True)
            run.events.mkdir()
        except OSError as error:
            raise JobError(f"--output {path} cannot be made: {error.strerror}") from None
        return run

    @staticmethod
    def check_new(path: Path) -> None:
        """Raise UsageError where PATH is something else than an empty folder, or nothing."""
        if (path / "run.json").exists():
            raise UsageError(
                f"--output {path} holds another run: name another folder,"
                f" or finish that run with `cluster run --resume {path}`"
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"--output {path} is not an empty folder: name a new one")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; raises UsageError while another process runs in it."""
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(f"{self.path} belongs to a run that is going on") from None
            yield

    def read(self) -> dict[str, Any]:
        """run.json; raises UsageError where PATH holds no run that this version can read."""
        path = self.path / "run.json"
        try:
            run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{self.path} holds no run: there is no run.json in it") from None
        except ValueError as error:
            raise UsageError(f"{path} is damaged: {error}") from None
        if (version := run.get("schema_version")) != SCHEMA_VERSION:
            raise UsageError(
                f"{path} has schema_version {version}, this program reads {SCHEMA_VERSION}"
            )
        return run

    def write(self, run: dict[str, Any]) -> None:
        """Replace run.json."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **run}, indent=2, default=str)
        write_atomically(self.path / "run.json", text + "\n")

    def part_files(self) -> list[Path]:
        """Complete parts, in the order of their names."""
        return sorted(self.parts.glob("[!.]*.jsonl"))

    def progress(self) -> int:
        """Images in complete parts, read off the names alone."""
        return sum(int(path.stem.rpartition("-n")[2]) for path in self.part_files())

    def processed(self) -> set[str]:
        """image_ids that have a result or an error already."""
        timings = (line["timing"] for line in self._lines())
        return {timing["image_id"] for timing in timings if timing["kind"] == "image"}

    def _lines(self) -> Iterator[dict[str, Any]]:
        for path in self.part_files():
            with path.open(encoding="utf-8") as part:
                yield from map(json.loads, part)

    def next_session(self) -> int:
        """A number for the parts of a resumed run that no earlier part has."""
        return max((int(path.name.split("-")[0]) for path in self.part_files()), default=-1) + 1

    def tidy(self, *, keep_parts: bool) -> None:
        """Remove what only a run going on needs; the parts stay while images are missing."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        if not keep_parts:
            shutil.rmtree(self.parts)

    def add_host_samples(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write hosts.parquet; samples of the sessions before stay in front."""
        path = self.path / "hosts.parquet"
        samples = pa.Table.from_pylist(rows, schema=HOST_SCHEMA)
        if path.exists():
            samples = pa.concat_tables([pq.read_table(path), samples])
        temporary = path.with_name(f".{path.name}.tmp")
        pq.write_table(samples, temporary)
        temporary.replace(path)

    def merge(self, categories: Sequence[Mapping[str, Any]], *, coco: bool | None = None) -> Counts:
        """Make the contract's files from the parts, each image's result taken once.

        Reads line by line: the driver's memory grows with the image names alone. ``coco`` asks for
        detections.json, or against it; None writes it up to 100,000 images.
        """
        if coco is None:
            coco = self.progress() <= COCO_IMAGES
        seen: set[str] = set()
        errors = detections = 0
        with contextlib.ExitStack() as stack:
            timings = stack.enter_context(_ParquetFile(self.path, "timings", TIMING_SCHEMA))
            objects = stack.enter_context(_ParquetFile(self.path, "detections", DETECTION_SCHEMA))
            failed = stack.enter_context(_replacing(self.path / "errors.jsonl"))
            document = (
                stack.enter_context(_coco(self.path / "detections.json", categories))
                if coco
                else None
            )
            for line in self._lines():
                timing, error = line["timing"], line["error"]
                if error is None:
                    timings.add(timing)
                image_id = timing["image_id"]
                if timing["kind"] != "image" or image_id in seen:
                    continue
                seen.add(image_id)
                if error:
                    errors += 1
                    text = json.dumps({"image": image_id, **error}, ensure_ascii=False)
                    failed.write(text + "\n")
                    continue
                detections += len(line["objects"])
                for found in line["objects"]:
                    objects.add({"image_id": image_id, **found})
                if document:
                    document.add(line)
        return Counts(done=len(seen) - errors, errors=errors, detections=detections)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        yield file
    temporary.replace(path)


class _ParquetFile:
    """A Parquet file written in large row groups, and put in place when it is whole."""

    ROW_GROUP = 20_000

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._path = folder / f"{name}.parquet"
        self._temporary = folder / f".{name}.parquet.tmp"
        self._schema = schema
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> "_ParquetFile":
        self._writer = pq.ParquetWriter(self._temporary, self._schema)
        return self

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == self.ROW_GROUP:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._write()
        self._writer.close()
        if error is None:
            self._temporary.replace(self._path)


class _Coco:
    """One COCO file: annotations as they come, the images, fewer and smaller, at the end."""

    def __init__(self, file: TextIO, categories: Sequence[Mapping[str, Any]]) -> None:
        self._file = file
        self.images: list[dict[str, Any]] = []
        self._annotations = 0
        file.write(f'{{"categories": {json.dumps(list(categories))},\n"annotations": [')

    def add(self, line: Mapping[str, Any]) -> None:
        number = len(self.images) + 1
        self.images.append(
            {
                "id": number,
                "file_name": line["timing"]["image_id"],
                "width": line["width"],
                "height": line["height"],
            }
        )
        for found in line["objects"]:
            self._annotations += 1
            annotation = {"id": self._annotations, "image_id": number, **found, "iscrowd": 0}
            self._file.write("," * (self._annotations > 1) + "\n" + json.dumps(annotation))


@contextlib.contextmanager
def _coco(path: Path, categories: Sequence[Mapping[str, Any]]) -> Iterator[_Coco]:
    with _replacing(path) as file:
        document = _Coco(file, categories)
        yield document
        file.write(f'],\n"images": {json.dumps(document.images)}}}\n')
