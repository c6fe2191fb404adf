"""Tasks that took long for what was in them, not for where they ran."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from job.stragglers.lines import Tasks, hosts_of
from job.stragglers.work import Floats, numbers

SKEWED_FROM = 1.4
LEAST_IMAGES = 5
LEAST_SHARE = 0.02  # of the run
SKEWED_TIMES = 2.0  # what the others bear of it


@dataclass(frozen=True, kw_only=True)
class SkewedTask:
    """A task of ``images`` that each cost ``times`` as much as those of the median task.

    It took its host ``extra_s`` longer than as many usual ones.
    """

    partition: int
    images: int
    times: float
    extra_s: float


def skewed(timings: pa.Table, cost: Floats) -> dict[str, SkewedTask]:
    """The most costly task of each host that had one of these, by host.

    ``cost`` [rows] is what each image costs, in usual images. Where the others got as much of what
    is costly, none is told: nobody waits for it.
    """
    tasks = Tasks.of(timings)
    if not len(tasks.rows):
        return {}
    images = np.bincount(tasks.task)
    mean = np.bincount(tasks.task, cost[tasks.rows]) / images
    typical = float(np.median(mean[images >= min(LEAST_IMAGES, int(images.max()))]))
    extra = (tasks.ended - tasks.began) * (1 - typical / mean)
    run = float(tasks.ended.max() - tasks.began.min())
    names, host = hosts_of(timings)
    found: dict[str, SkewedTask] = {}
    there = (mean > SKEWED_FROM * typical) & (images >= LEAST_IMAGES) & (extra > LEAST_SHARE * run)
    partition = numbers(timings, "partition")
    host = host[tasks.first]
    borne = np.bincount(host[there], extra[there], len(names))
    for task in np.flatnonzero(there):
        others = np.delete(borne, host[task])
        if len(others) and borne[host[task]] < SKEWED_TIMES * np.median(others):
            continue
        name = names[host[task]]
        if name not in found or found[name].extra_s < extra[task]:
            found[name] = SkewedTask(
                partition=int(partition[tasks.first[task]]),
                images=int(images[task]),
                times=float(mean[task] / typical),
                extra_s=float(extra[task]),
            )
    return found
