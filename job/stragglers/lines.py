"""Hosts' work over time: what each did in each step of a run, as arrays [hosts, steps]."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from job.stragglers.work import (
    STAGES,
    Floats,
    Ints,
    ended_at,
    median,
    numbers,
    stage_ms,
    warm,
)

STEP_IMAGES = 5  # of a host, on average: fewer say little
MOST_STEPS, MOST_STEPS_LARGE, LARGE = 48, 24, 500
LEAST_STEPS = 6
COMPUTED = slice(STAGES.index("decode"), STAGES.index("postprocess") + 1)
_COMPUTED = STAGES[COMPUTED]
COUNTED = ("cpu_ms", "run_delay_ms", "throttled_ms", "fetch_ms", "work_ms")
HUBER, ROUNDS = 2.0, 8
LEAST_COST = 0.2
FILLED_IMAGES = 6.0
LATE, LATE_MS = 5.0, 50.0  # times what is usual, and at least
LEAST_TASK = 6
STEP_S = 2.0  # samples are of a second, quotas of a tenth: in less there is chance
PIXELS_POWER, OBJECTS_SLOPE, SLOPE_ROWS = 1.0, 0.5, 1.0
# An image is odd that took so many times as long as so many before and after it.
AROUND, ODD = 5, 2.5


@dataclass(frozen=True, kw_only=True)
class Lines:
    """``busy`` seconds, ``images`` and their ``cost`` (in usual images) of each host and step.

    ``counted`` holds sums of the rows' counters (``COUNTED``, ms), ``sampled`` means of the host
    samples; each [hosts, steps], NaN where there is none. ``edges`` [steps + 1] are epoch seconds.
    """

    hosts: tuple[str, ...]
    edges: Floats
    busy: Floats
    images: Floats
    cost: Floats
    counted: Mapping[str, Floats]
    sampled: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class _Turns:
    """From one image's end to the next one's in a task, or from a task's start to the first ends.

    Each field [turns]; ``counted`` [turns] by the names of ``COUNTED``. An image may have been
    under way before its turn: ``fetched`` is since when.
    """

    host: Ints
    fetched: Floats
    began: Floats
    ended: Floats
    images: Floats
    cost: Floats
    counted: Mapping[str, Floats]

    def those(self, chosen: npt.NDArray[np.bool_]) -> "_Turns":
        return _Turns(
            host=self.host[chosen],
            fetched=self.fetched[chosen],
            began=self.began[chosen],
            ended=self.ended[chosen],
            images=self.images[chosen],
            cost=self.cost[chosen],
            counted={name: values[chosen] for name, values in self.counted.items()},
        )


def lines(
    timings: pa.Table,
    samples: pa.Table,
    cost: Floats,
    *,
    lanes: Mapping[str, int],
    away: Mapping[str, Floats],
) -> Lines:
    """Steps of a run, from its tables and what each image costs [rows].

    An image's time is from the end of the one before it in its task; those that a host begins a
    task with, as many as it has under way at once (``lanes``, by host), are taken together. Of one
    that took far longer than those around it a part counts. Warm-up is left out, and so is what a
    host had under way in a stretch of ``away`` [n, 2], by host, in which it stood still.
    """
    hosts, codes = hosts_of(timings)
    at_once = np.array([lanes.get(name, 2) for name in hosts], dtype=np.int64)
    turns = _turns(timings, codes, cost, at_once)
    for number, name in enumerate(hosts):
        for since, until in away.get(name, ()):
            met = (turns.host == number) & (turns.ended > since) & (turns.fetched < until)
            turns = turns.those(~met)
    took = turns.ended - turns.began
    most = turns.cost * _at_most(took / turns.cost, turns.host)
    odd = (took > most) & ~_late(turns)
    turns = replace(turns, began=np.where(odd, turns.ended - most, turns.began))
    edges = _edges(turns, len(hosts))
    over_steps = _Spread(turns, edges, len(hosts)).total
    return Lines(
        hosts=hosts,
        edges=edges,
        busy=over_steps(turns.ended - turns.began),
        images=over_steps(turns.images),
        cost=over_steps(turns.cost),
        counted={name: over_steps(values) for name, values in turns.counted.items()},
        sampled=_sampled(samples, hosts, edges),
    )


class _Spread:
    """Sums over steps of what turns hold, each spread evenly over its time."""

    def __init__(self, turns: _Turns, edges: Floats, hosts: int) -> None:
        self._shape = hosts, len(edges) - 1
        last_step = len(edges) - 2
        first = np.clip(np.searchsorted(edges, turns.began, "right") - 1, 0, last_step)
        last = np.clip(np.searchsorted(edges, turns.ended, "left") - 1, first, last_step)
        count = last - first + 1
        self._turn = np.repeat(np.arange(len(first)), count)
        step = np.arange(len(self._turn)) - np.repeat(np.cumsum(count) - count - first, count)
        began, ended = turns.began[self._turn], turns.ended[self._turn]
        inside = np.minimum(ended, edges[step + 1]) - np.maximum(began, edges[step])
        inside = np.where(count[self._turn] == 1, ended - began, np.maximum(inside, 0))
        self._share = inside / np.maximum(ended - began, 1e-9)
        self._cell = turns.host[self._turn] * self._shape[1] + step

    def total(self, values: Floats) -> Floats:
        """Sums [hosts, steps] of VALUES [turns]."""
        cells = self._shape[0] * self._shape[1]
        sums = np.bincount(self._cell, values[self._turn] * self._share, cells)
        return np.asarray(sums.reshape(self._shape))


def hosts_of(timings: pa.Table) -> tuple[tuple[str, ...], Ints]:
    """The hosts by name, and which of them each row is of [rows]; a null reads as "?"."""
    encoded = timings["host"].fill_null("?").combine_chunks().dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names, kind="stable")
    return tuple(names[order].tolist()), np.argsort(order)[encoded.indices.to_numpy()]


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """Tasks of the ``rows`` [n] whose times are known, and the ``task`` [n] of each, from 0 on.

    Of each task, by host and id [tasks]: its ``first`` row, when it ``began`` and ``ended``.
    """

    rows: Ints
    task: Ints
    first: Ints
    began: Floats
    ended: Floats

    @classmethod
    def of(cls, timings: pa.Table) -> "Tasks":
        """Those of TIMINGS; of rows without times, none."""
        ends = ended_at(timings)
        rows = np.flatnonzero(~np.isnan(ends))
        _, host = hosts_of(timings)
        ids = np.column_stack([host, numbers(timings, "task_id")])[rows]
        _, first, task = np.unique(ids, axis=0, return_index=True, return_inverse=True)
        task = task.ravel()
        began, ended = np.full(len(first), np.inf), np.full(len(first), -np.inf)
        np.minimum.at(began, task, numbers(timings, "started_at")[rows])
        np.maximum.at(ended, task, ends[rows])
        return cls(rows=rows, task=task, first=rows[first], began=began, ended=ended)


def costs(timings: pa.Table, threads: Mapping[str, float]) -> Floats:
    """What each image costs by its looks [rows], in usual images.

    Inference keeps so many ``threads`` busy, by host, other stages one.

    Decoding and preprocessing grow with a power of the pixels, post-processing with the objects;
    how much each does is fitted to the stages' times. Inference takes the same for all: its input
    has one size.
    """
    stages = stage_ms(timings)[:, COMPUTED]
    hosts, codes = hosts_of(timings)
    stages[:, _COMPUTED.index("infer")] *= np.array([threads.get(each, 1.0) for each in hosts])[
        codes
    ]
    stages[~warm(timings) | ~(stages > 0).all(axis=1)] = np.nan
    if np.isnan(stages).all():
        return np.ones(timings.num_rows)
    shares = np.nanmedian(stages / stages.sum(axis=1, keepdims=True), axis=0)
    share = shares / shares.sum()
    # Beside inference of the same image: so neither host nor moment counts.
    relative: Floats = stages / stages[:, [_COMPUTED.index("infer")]]
    relative /= np.nanmedian(relative, axis=0)
    with np.errstate(divide="ignore"):
        pixels = np.log(numbers(timings, "pixels"))
    pixels = np.nan_to_num(pixels - median(pixels), nan=0.0, posinf=0.0, neginf=0.0)
    objects = numbers(timings, "detections")
    typical = max(float(np.nan_to_num(median(objects))), 1.0)
    objects = np.asarray(np.where(np.isnan(objects), typical, objects) / typical - 1)
    cost = np.full(timings.num_rows, 1.0)
    for name in ("decode", "preprocess"):
        at = _COMPUTED.index(name)
        power = _slope(pixels, np.log(relative[:, at]), prior=PIXELS_POWER)
        cost += share[at] * (np.exp(power * pixels) - 1)
    at = _COMPUTED.index("postprocess")
    cost += share[at] * _slope(objects, relative[:, at] - 1, prior=OBJECTS_SLOPE) * objects
    return np.asarray(np.maximum(LEAST_COST, cost))


def _slope(x: Floats, y: Floats, *, prior: float) -> float:
    """The robust slope of Y on X [rows], between 0 and 1.5; ``prior`` where X hardly varies."""
    known = np.isfinite(y)
    if not known.any():
        return 0.0
    x, y = x[known] - np.median(x[known]), y[known] - np.median(y[known])
    weight, slope = np.ones(len(x)), prior
    for _ in range(ROUNDS):
        pull = SLOPE_ROWS * float(np.var(y)) + 1e-9
        slope = float((np.sum(weight * x * y) + pull * prior) / (np.sum(weight * x * x) + pull))
        off = np.abs(y - slope * x)
        weight = np.minimum(1, HUBER * 1.4826 * np.median(off) / np.maximum(off, 1e-12))
    return min(max(slope, 0.0), 1.5)


def _turns(timings: pa.Table, codes: Ints, cost: Floats, lanes: Ints) -> _Turns:
    """The turns of all tasks, by host and time."""
    starts, task = numbers(timings, "started_at"), numbers(timings, "task_id")
    ends = ended_at(timings)
    order = np.lexsort((ends, task, codes))
    order = order[~np.isnan(ends[order])]
    host, end = codes[order], ends[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (host[1:] != host[:-1]) | (task[order][1:] != task[order][:-1])
    first = np.flatnonzero(new)
    sizes = np.diff(np.append(first, len(order)))
    place = np.arange(len(order)) - np.repeat(first, sizes)
    filled = lanes[host]
    begun = np.minimum.reduceat(starts[order], first) if len(first) else np.zeros(0)
    earliest = np.full(len(lanes), np.inf)
    np.minimum.at(earliest, host[first], begun)
    begins = np.repeat(begun == earliest[host[first]], sizes)
    # A task of few images is all beginning and end; not so a host's first, which has just begun.
    least = np.where(begins, filled, np.maximum(LEAST_TASK, filled))
    kept = np.flatnonzero((place >= filled - 1) & (np.repeat(sizes, sizes) >= least))
    opening = place[kept] == filled[kept] - 1
    group = np.where(opening, filled[kept], 1)
    began = np.where(opening, np.repeat(begun, sizes)[kept], end[np.maximum(kept - 1, 0)])

    def sums(values: Floats) -> Floats:
        upto = np.concatenate(([0.0], np.cumsum(np.nan_to_num(values[order]))))
        return np.asarray(upto[kept + 1] - upto[kept + 1 - group])

    stages = np.nansum(stage_ms(timings)[:, COMPUTED], axis=1)
    turns = _Turns(
        host=host[kept],
        fetched=np.minimum(began, starts[order][kept]),
        began=began,
        ended=end[kept],
        images=group.astype(float),
        cost=sums(cost),
        counted={
            name: sums(stages if name == "work_ms" else numbers(timings, name)) for name in COUNTED
        },
    )
    cold = sums((~warm(timings)).astype(float)) > 0
    task_of = np.repeat(np.arange(len(first)), sizes)[kept]
    for number in np.unique(lanes):
        alike = lanes[turns.host] == number
        turns.cost[opening & alike] += _filling(turns.those(alike), opening[alike], task_of[alike])
    usable = ~cold & (turns.ended > turns.began)
    ordered = np.lexsort((turns.ended, turns.host))
    return turns.those(ordered[usable[ordered]])


def _filling(turns: _Turns, opening: npt.NDArray[np.bool_], task: Ints) -> float:
    """What it costs to begin a task, in usual images, beside the images: from tasks long enough."""
    count = int(task.max(initial=-1)) + 1
    took = turns.ended - turns.began
    later = ~opening
    cost = np.bincount(task[later], turns.cost[later], count)
    seconds = np.bincount(task[later], took[later], count)
    begun = np.flatnonzero(opening)
    own = task[begun]
    long = cost[own] >= FILLED_IMAGES
    if not long.any():
        return 0.0
    pace = cost[own][long] / np.maximum(seconds[own][long], 1e-9)
    return max(0.0, float(np.median(took[begun][long] * pace - turns.cost[begun][long])))


def _late(turns: _Turns) -> npt.NDArray[np.bool_]:
    """True for those whose bytes came late: that is a link or a disk, and no odd image."""
    took = turns.ended - turns.began
    fetch_ms = turns.counted["fetch_ms"]
    usual_ms = float(np.median(fetch_ms)) if len(fetch_ms) else 0.0
    return np.asarray(fetch_ms > np.minimum(500 * took, max(LATE_MS, LATE * usual_ms)))


def _at_most(stretch: Floats, host: Ints) -> Floats:
    """For how long an image may count, of which those before and after it took so long.

    ``stretch`` is each one's time for its cost, in order. What a single image took longer says
    nothing of its host: it was odd, or something held the host for a moment.
    """
    upto = np.concatenate(([0.0], np.cumsum(stretch)))
    at = np.arange(len(stretch))
    first = np.searchsorted(host, host, "left")
    last = np.searchsorted(host, host, "right")
    low, high = np.maximum(first, at - AROUND), np.minimum(last, at + 1 + AROUND)
    before = (upto[at] - upto[low]) / np.maximum(at - low, 1)
    after = (upto[high] - upto[at + 1]) / np.maximum(high - at - 1, 1)
    return np.where(last - first > 2 * AROUND, ODD * np.maximum(before, after), np.inf)


def _edges(turns: _Turns, hosts: int) -> Floats:
    """Steps in which equally many images ended."""
    if not len(turns.host):
        return np.array([0.0, 1.0])
    most = MOST_STEPS if hosts < LARGE else MOST_STEPS_LARGE
    images = float(turns.images.sum())
    long_enough = float(turns.ended.max() - turns.began.min()) / STEP_S
    wanted = min(images / max(hosts, 1) / STEP_IMAGES, long_enough)
    steps = int(np.clip(wanted, LEAST_STEPS, most))
    edges = np.quantile(turns.ended, np.linspace(0, 1, steps + 1))
    edges[0] = min(edges[0], float(turns.began.min()))
    return np.asarray(np.maximum.accumulate(edges + 1e-9 * np.arange(steps + 1)))


def _sampled(samples: pa.Table, hosts: tuple[str, ...], edges: Floats) -> dict[str, Floats]:
    steps = len(edges) - 1
    index = {name: number for number, name in enumerate(hosts)}
    codes = np.array([index.get(name, -1) for name in samples["host"].to_pylist()], dtype=np.int64)
    at = numbers(samples, "at") - 0.5
    step = np.searchsorted(edges, at, "right") - 1
    usable = (codes >= 0) & (step >= 0) & (step < steps)
    found = {}
    for name in samples.column_names:
        if name in ("host", "at", "source"):
            continue
        values = numbers(samples, name)
        known = usable & ~np.isnan(values)
        cell = codes[known] * steps + step[known]
        count = np.bincount(cell, minlength=len(hosts) * steps)
        sums = np.bincount(cell, values[known], len(hosts) * steps)
        with np.errstate(invalid="ignore"):
            found[name] = (sums / np.where(count, count, np.nan)).reshape(-1, steps)
    return found
