"""When each host worked, how fast it was beside its peers, and when it stood still."""

from typing import Any

import numpy as np
import pyarrow as pa

from job.report.rounding import rounded
from job.report.timeline import Grid, TimeAxis, ends_of
from job.stragglers.evidence import silences, slowness
from job.stragglers.pace import covered, task_spans
from job.stragglers.work import Floats, groups, median, medians, numbers

STEPS = 72
FEWEST = 12
PER_STEP = 3  # images of a host: the median of fewer is mostly chance
TASKS = 1000  # of a run, beyond which only the share of the time with a task is kept
SILENCES = 20  # of a host, the longest
_CLASS = ("cpus_quota", "cpus_visible", "cpu_model")


def progress(
    run: dict[str, Any], axis: TimeAxis, rows: pa.Table, basis: pa.Table
) -> dict[str, Any]:
    """Every host of ``run`` or ``rows`` in equal steps along ``axis``; ``basis`` tells the pace.

    ``late_s``, ``slow_s`` and ``stood_s`` are what a host lost beside its peers: it began later
    than the median host, took longer for its images (less than 0: shorter), or was silent.
    """
    images = groups(rows, "host")
    hosts = sorted({host["host"] for host in run["hosts"]} | {host for (host,) in images})
    per_host = median(np.array([float(len(own)) for own in images.values()]))
    most = int(np.clip(np.nan_to_num(per_host) // PER_STEP, FEWEST, STEPS))
    grid = Grid.within(axis, most=most)
    classes = {host["host"]: str([host[name] for name in _CLASS]) for host in run["hosts"]}
    pace = _pace(grid, basis, slowness(basis, classes))
    finished, silent = grid.places(ends_of(rows)), silences(rows)
    tasks = task_spans(rows, axis.at(numbers(rows, "started_at")), axis.at(ends_of(rows)))
    kept = sum(map(len, tasks.values())) <= TASKS
    begin = median(np.array([own[:, 0].min() for own in tasks.values()]))
    end = max((own[:, 1].max() for own in tasks.values()), default=np.nan)
    nothing = np.zeros(len(grid.edges) - 1)
    told: list[dict[str, Any]] = []
    for host in hosts:
        own = tasks.get(host, np.zeros((0, 3)))
        still = axis.at(silent.get(host, np.zeros(0)).ravel()).reshape(-1, 2)
        still = still[np.argsort(still[:, 0] - still[:, 1])]  # the longest first
        slower = np.where(_inside(grid, still), np.nan, pace.get(host, nothing * np.nan))
        busy = covered(own[:, :2], grid.edges)
        ended = finished[images[host,]] if len(own) else finished[:0]
        told.append(
            {
                "host": host,
                "pace": rounded(slower, digits=2),
                "images": np.bincount(ended[ended >= 0], minlength=len(nothing)).tolist(),
                "busy": rounded(busy / np.diff(grid.edges), digits=2),
                "silent": [rounded(stretch) for stretch in still[:SILENCES]],
                "tasks": [rounded(task) for task in own] if kept else None,
                **dict.fromkeys(("begin_s", "end_s", "late_s", "slow_s", "stood_s", "idle_s")),
            }
        )
        if len(own):
            first, last = float(own[:, 0].min()), float(own[:, 1].max())
            told[-1] |= {
                "begin_s": rounded(first),
                "end_s": rounded(last),
                "late_s": rounded(max(first - begin, 0.0)),
                "slow_s": rounded(float(np.nansum(busy * (1 - 1 / slower)))),
                "stood_s": rounded(float(np.diff(still).sum())),
                "idle_s": rounded(float(end - last)),
            }
    return {"edges_s": rounded(grid.edges), "hosts": told}


def _pace(grid: Grid, rows: pa.Table, slower: Floats) -> dict[str, Floats]:
    """The median of ``slower`` [rows] over the images a host was at in each step [steps]."""
    steps = len(grid.edges) - 1
    first, last = grid.places(numbers(rows, "started_at")), grid.places(ends_of(rows))
    pace = {}
    for (host,), own in groups(rows, "host").items():
        timed = own[first[own] >= 0]
        lengths = last[timed] - first[timed] + 1
        image = np.repeat(timed, lengths)
        step = np.arange(len(image)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pace[host] = medians(slower[image], first[image] + step, steps)
    return pace


def _inside(grid: Grid, stretches: Floats) -> Floats:
    """True [steps] where the middle of a step lies in one of ``stretches`` [n, 2]."""
    middles = (grid.edges[1:] + grid.edges[:-1]) / 2
    inside: Floats = ((middles > stretches[:, :1]) & (middles < stretches[:, 1:])).any(axis=0)
    return inside
