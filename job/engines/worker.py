"""What an engine tells of the worker process that holds its model."""

import os
from dataclasses import dataclass, field

from job.host import executor_id, hostname


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One loaded model; ``None`` where the engine does not say."""

    threads: int
    streams: int | None
    requests: int | None
    model_load_started_at: float
    model_load_ms: float
    host: str = field(default_factory=hostname)
    executor_id: str = field(default_factory=executor_id)
    worker_pid: int = field(default_factory=os.getpid)

    @property
    def loaded_at(self) -> float:
        """When the model was ready, in seconds since the epoch."""
        return self.model_load_started_at + self.model_load_ms / 1e3
