"""How fast each host works while it has work."""

import numpy as np
import pyarrow as pa

from job.stragglers.work import Floats, ended_at, groups, image_rows, numbers, warm


def speeds(timings: pa.Table) -> dict[str, float]:
    """Images per second of every host outside warm-up, by name.

    The seconds are those in which it had a task, from the task's first image to its last: a host
    that waits for a task is not slow. A host whose rows tell no time is left out.
    """
    rows = image_rows(timings)
    starts = numbers(rows, "started_at")
    ends = ended_at(rows)
    usable = warm(rows) & ~np.isnan(ends)
    found = {}
    for host, tasks in task_spans(rows, starts, np.where(usable, ends, np.nan)).items():
        whole = np.array([tasks[0, 0], tasks[:, 1].max()])
        seconds = float(covered(tasks[:, :2], whole).sum())
        if seconds > 0:
            found[host] = float(tasks[:, 2].sum() / seconds)
    return found


def task_spans(rows: pa.Table, starts: Floats, ends: Floats) -> dict[str, Floats]:
    """The tasks of each host in order [n, 3]: from its first image to its last, and how many.

    ``starts`` and ``ends`` are those of ``rows``; images without an end are left out.
    """
    tasks: dict[str, list[tuple[float, float, int]]] = {}
    for (host, _), own in groups(rows, "host", "task_id").items():
        timed = own[~np.isnan(ends[own])]
        if len(timed):
            task = float(starts[timed].min()), float(ends[timed].max()), len(timed)
            tasks.setdefault(host, []).append(task)
    return {host: np.array(sorted(own)) for host, own in tasks.items()}


def covered(spans: Floats, edges: Floats) -> Floats:
    """Seconds [steps] of each step between ``edges`` that ``spans`` [n, 2], by start, cover."""
    before = np.concatenate([[-np.inf], np.maximum.accumulate(spans[:, 1])])[:-1]
    starts = np.maximum(spans[:, 0], before)[:, None]
    lengths = np.maximum(spans[:, 1:2] - starts, 0)
    seconds: Floats = np.diff(np.clip(edges - starts, 0, lengths).sum(axis=0))
    return seconds
