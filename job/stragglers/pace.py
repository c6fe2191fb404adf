"""How fast each host works while it has work."""

import numpy as np
import pyarrow as pa

from job.stragglers.work import Floats, groups, image_rows, numbers, warm


def speeds(timings: pa.Table) -> dict[str, float]:
    """Images per second of every host outside warm-up, by name.

    The seconds are those in which it had a task, from the task's first image to its last: a host
    that waits for a task is not slow. A host whose rows tell no time is left out.
    """
    rows = image_rows(timings)
    starts = numbers(rows, "started_at")
    ends = starts + numbers(rows, "total_ms") / 1000
    usable = warm(rows) & ~np.isnan(ends)
    tasks: dict[str, list[tuple[float, float, int]]] = {}
    for (host, _), indices in groups(rows, "host", "task_id").items():
        own = indices[usable[indices]]
        if len(own):
            task = float(starts[own].min()), float(ends[own].max()), len(own)
            tasks.setdefault(host, []).append(task)
    found = {}
    for host, own_tasks in tasks.items():
        spans = np.array(sorted(own_tasks))
        seconds = _covered(spans[:, 0], spans[:, 1])
        if seconds > 0:
            found[host] = float(spans[:, 2].sum() / seconds)
    return found


def _covered(starts: Floats, ends: Floats) -> float:
    """Length of the union of intervals [n], given in the order of their starts."""
    reached = np.maximum.accumulate(ends)
    before = np.concatenate(([starts[0]], reached[:-1]))
    return float(np.maximum(reached - np.maximum(starts, before), 0).sum())
