"""The timing row: where the time of one image went, measured where the image was."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from job.images.decode import ImageError


@dataclass(kw_only=True)
class ImageRecord:
    """One image on its way through the stages: its timing fields, and its objects or its error.

    With ``timed`` off no clock is read and the fields stay null: the benchmark's comparison.
    """

    image_id: str
    timed: bool = True
    timing: dict[str, Any] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    objects: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, str] | None = None
    _stage: str = ""
    _began: float = 0.0
    _ended: float = 0.0  # when the last stage began or ended

    def __post_init__(self) -> None:
        self.timing.update(image_id=self.image_id, kind="image")
        if self.timed:
            self.timing["started_at"] = time.time()
            self._began = self._ended = time.perf_counter()

    @property
    def is_result(self) -> bool:
        """An image of the run, and not one that only calibrates."""
        return bool(self.timing["kind"] == "image")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage into ``NAME_ms``; an error inside is charged to it by ``fail``."""
        self._stage = name
        if self.timed:
            self._ended = time.perf_counter()
        yield
        self.charge(name)

    def charge(self, name: str) -> None:
        """Add the time since the last stage's beginning or end to ``NAME_ms``."""
        if self.timed:
            now = time.perf_counter()
            field_name = f"{name}_ms"
            self.timing[field_name] = self.timing.get(field_name, 0.0) + (now - self._ended) * 1e3
            self._ended = now

    def fail(self, error: Exception) -> None:
        """End as a line in errors.jsonl: the stage that was going on, and why it failed."""
        if isinstance(error, ImageError):
            self.error = {"stage": error.stage, "message": str(error)}
        else:
            self.error = {"stage": self._stage, "message": f"{type(error).__name__}: {error}"}

    def emitted(self) -> None:
        """Close the row as the image leaves the pipeline: emit_ms and total_ms."""
        self.charge("emit")
        if self.timed:
            self.timing["total_ms"] = (self._ended - self._began) * 1e3
