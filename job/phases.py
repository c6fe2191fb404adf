"""The phases of a run, each a bar in the report, from what the tasks told the driver."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from job.pipeline import TaskReport

Phase = dict[str, Any]


def phase(
    name: str,
    started_at: float,
    ended_at: float,
    *,
    host: str | None = None,
    worker_pid: int | None = None,
    note: str | None = None,
) -> Phase:
    """One phase as run.json has it; times in seconds since the epoch."""
    return {
        "name": name,
        "host": host,
        "worker_pid": worker_pid,
        "started_at": started_at,
        "seconds": max(0.0, ended_at - started_at),
        "note": note,
    }


def of_tasks(
    reports: Sequence[TaskReport], submitted_at: float, came: Mapping[str, float]
) -> Iterator[Phase]:
    """Executor start, model load, first image and steady, host by host.

    CAME tells when each host's executor was there; without, its start ends with its first task.
    Localisation, where there is one, is told by the cluster, not by tasks.
    """
    for host in sorted({report.host for report in reports}):
        tasks = [report for report in reports if report.host == host]
        first_task = min(report.started_at for report in tasks)
        yield phase("executor_start", submitted_at, came.get(host, first_task), host=host)
        loads = [(report, worker) for report in tasks for worker in report.workers]
        for report, worker in loads:
            yield phase(
                "model_load",
                worker.model_load_started_at,
                worker.loaded_at,
                host=host,
                worker_pid=worker.worker_pid,
            )
            if report.first_emitted_at is not None:
                yield phase(
                    "first_image",
                    worker.loaded_at,
                    report.first_emitted_at,
                    host=host,
                    worker_pid=worker.worker_pid,
                )
        emitted = [r.first_emitted_at for r in tasks if r.first_emitted_at is not None]
        ended = [r.last_emitted_at for r in tasks if r.last_emitted_at is not None]
        if emitted and ended:
            yield phase("steady", min(emitted), max(ended), host=host)
