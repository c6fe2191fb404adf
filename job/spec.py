"""What one run was asked to do; kept in run.json, so that a resumed run asks for the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job.errors import UsageError
from job.modes import MODES

ENGINES = ("native", "orca")
PRECISIONS = ("f32", "bf16", "auto")


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A run as the user asked for it; ``None`` leaves the choice to the planner.

    ``model`` is a folder, ``input`` a path or a pattern; both absolute. ``executor_cores`` counts
    Spark's slots of one executor: tasks, each a worker with a model, at the same time.
    """

    mode: str
    engine: str = "native"
    precision: str = "f32"
    model: Path
    input: str
    output: Path
    executor_cores: int | None = None
    partitions: int | None = None
    conf: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    overlays: bool = False
    flush_seconds: float = 2.0
    instrumentation: bool = True

    def __post_init__(self) -> None:
        for option, choices in (("mode", MODES), ("engine", ENGINES), ("precision", PRECISIONS)):
            if (value := getattr(self, option)) not in choices:
                raise UsageError(f"--{option} {value}: choose one of {', '.join(choices)}")
        for option in ("executor_cores", "partitions", "limit"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise UsageError(f"--{option.replace('_', '-')} {value}: give 1 or more")

    def options(self) -> dict[str, Any]:
        """What run.json keeps as ``options``: all that a resumed run needs again."""
        names = (
            *("executor_cores", "partitions", "limit", "overlays"),
            *("flush_seconds", "instrumentation"),
        )
        return {"conf": dict(self.conf), **{name: getattr(self, name) for name in names}}
