"""Each stage by its tasks, and why its longest one is so long."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from job.stragglers.attempts import Attempts
from job.stragglers.tasks import Comparison
from job.stragglers.work import medians

LONG_TASK = 3.0  # times the stage's median: DataFlint asks for 10, which hides most

Reason = Literal["data", "host", "start", "task"]


@dataclass(frozen=True, kw_only=True)
class LongTask:
    """A stage's longest task, ``times`` its median.

    ``by`` is what explains more than half of that (in logs): "data" what it read and wrote, which
    alone would make it ``size_times`` as long; "host" a slow host. "start" is a first task of its
    executor, which is long everywhere; "task" none of these.
    """

    partition: int
    host: str
    seconds: float
    times: float
    size_times: float
    by: Reason


@dataclass(frozen=True, kw_only=True)
class StageTasks:
    """A stage attempt: ``tasks`` of it are done, by ``hosts``; run times in seconds.

    ``started`` and ``seconds`` are from the first launch to the last end; ``longest`` is None
    where no task is ``LONG_TASK`` times the median, or its stage too short to be compared.
    """

    stage: int
    attempt: int
    tasks: int
    hosts: int
    failed: int
    killed: int
    speculative: int
    started: float
    seconds: float
    run_s: float
    median_s: float | None
    longest_s: float | None
    longest: LongTask | None


def stage_tasks(compared: Comparison) -> tuple[StageTasks, ...]:
    """Every stage attempt that had tasks, in order."""
    a = compared.attempts
    count = len(a.stages)
    cells = np.unique(a.stage * len(a.hosts) + a.host)
    hosts = np.bincount(cells // max(len(a.hosts), 1), minlength=count)
    speculative = a.of("speculative") > 0
    done, failed, killed, copies = (
        np.bincount(a.stage[flags], minlength=count)
        for flags in (a.done, a.failed, a.killed, speculative)
    )
    run = np.bincount(a.stage[a.done], a.run_ms[a.done], count) / 1000
    starts, ends = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(starts, a.stage, a.launched)
    np.maximum.at(ends, a.stage, a.finished)
    most = np.zeros(count)
    np.maximum.at(most, a.stage[a.done], a.run_ms[a.done])
    long = _longest(compared)
    return tuple(
        StageTasks(
            stage=stage,
            attempt=attempt,
            tasks=int(done[at]),
            hosts=int(hosts[at]),
            failed=int(failed[at]),
            killed=int(killed[at]),
            speculative=int(copies[at]),
            started=float(starts[at]),
            seconds=float(ends[at] - starts[at]),
            run_s=float(run[at]),
            median_s=float(a.stage_median_ms[at]) / 1000 if done[at] else None,
            longest_s=float(most[at]) / 1000 if done[at] else None,
            longest=long.get(at),
        )
        for at, (stage, attempt) in enumerate(a.stages)
    )


def _longest(compared: Comparison) -> dict[int, LongTask]:
    a, rows = compared.attempts, compared.rows
    if not len(rows):
        return {}
    times = a.run_ms[rows] / a.stage_median_ms[a.stage[rows]]
    # By stage, the longest last.
    order = np.lexsort((times, a.stage[rows]))
    last = order[np.flatnonzero(np.diff(a.stage[rows][order], append=-1))]
    typical = medians(compared.size, a.stage[rows], len(a.stages))
    found = {}
    for at in last[times[last] >= LONG_TASK]:
        row = int(rows[at])
        size = float(compared.size[at] - typical[a.stage[row]])
        found[int(a.stage[row])] = LongTask(
            partition=int(a.partition[row]),
            host=a.hosts[a.host[row]],
            seconds=float(a.run_ms[row]) / 1000,
            times=float(times[at]),
            size_times=float(np.exp(size)),
            by=_why(a, compared, row=row, times=float(times[at]), size=size),
        )
    return found


def _why(a: Attempts, compared: Comparison, *, row: int, times: float, size: float) -> Reason:
    if size > np.log(times) / 2:
        return "data"
    found = compared.factors.get(int(a.host[row]))
    if found and found.slow and np.log(found.factor or 1) > np.log(times) / 2:
        return "host"
    return "start" if a.first[row] else "task"
