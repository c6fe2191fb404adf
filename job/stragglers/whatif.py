"""What a run would have taken otherwise: its tasks dealt out again, from the rows."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from job.stragglers.additive import total
from job.stragglers.findings import Analysis
from job.stragglers.lines import Tasks, hosts_of
from job.stragglers.work import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """Seconds from the first task's start to the last one's end.

    ``actual`` as it was, ``replayed`` as the replay has it; by host ``healed``, with it at its
    peers' pace all along, and ``without`` it (None where there are no others); ``all_healed`` with
    all of them; ``ideal``, work / sum of speeds, with all healed and nobody ever waiting.
    """

    actual: float
    replayed: float
    healed: Mapping[str, float]
    without: Mapping[str, float | None]
    all_healed: float
    ideal: float

    def cost_s(self, host: str) -> float:
        """What the host's slowness cost the run."""
        return max(0.0, self.replayed - self.healed[host])


@dataclass(frozen=True, kw_only=True)
class _Tasks:
    """In the order in which they were given out: ``cost`` in usual images, and who did them."""

    host: Ints
    start: Floats
    end: Floats
    cost: Floats


def what_if(timings: pa.Table, analysis: Analysis, hosts: Iterable[str]) -> WhatIf | None:
    """Replay the run with each of HOSTS otherwise; None where its rows tell no time.

    A task goes to the host that is free first, as Spark does it. What a host does in a second is
    what it did, in and outside of its slow stretch; between tasks it rests as long as it did.
    """
    tasks = _tasks(timings, analysis)
    if tasks is None:
        return None
    replay = _Replay(tasks, analysis)
    names = list(hosts)
    every = set(range(len(analysis.seen.hosts)))
    place = {name: number for number, name in enumerate(analysis.seen.hosts)}
    return WhatIf(
        actual=float(tasks.end.max() - tasks.start.min()),
        replayed=replay.run(()) or 0.0,
        healed={name: replay.run((place[name],)) or 0.0 for name in names},
        without={name: replay.run((), every - {place[name]}) for name in names},
        all_healed=replay.run([place[name] for name in names]) or 0.0,
        ideal=replay.ideal([place[name] for name in names]),
    )


def _tasks(timings: pa.Table, analysis: Analysis) -> _Tasks | None:
    tasks = Tasks.of(timings)
    if not len(tasks.rows):
        return None
    _, host = hosts_of(timings)
    order = np.argsort(tasks.began, kind="stable")
    return _Tasks(
        host=host[tasks.first][order],
        start=tasks.began[order],
        end=tasks.ended[order],
        cost=total(analysis.cost[tasks.rows], tasks.task, len(tasks.first))[order],
    )


class _Replay:
    """Tasks, and what each host does of them in a second: by then, as it was or healed."""

    def __init__(self, tasks: _Tasks, analysis: Analysis) -> None:
        self._tasks = tasks
        origin = float(tasks.start.min())
        hosts = analysis.seen.hosts
        self._factor = np.ones(len(hosts))
        self._slow = np.full((len(hosts), 2), np.inf)
        self._still: list[Floats] = [np.zeros((0, 2)) for _ in hosts]
        edges = analysis.seen.edges
        for number, name in enumerate(hosts):
            if stretch := analysis.stretches.get(name):
                self._factor[number] = np.exp(stretch.size)
                last = len(edges) - 1
                self._slow[number] = (
                    -np.inf if stretch.first == 0 else edges[stretch.first] - origin,
                    np.inf if stretch.last == last else edges[stretch.last] - origin,
                )
            if name in analysis.away:
                self._still[number] = analysis.away[name] - origin
        self._free, self._rest, self._pace = self._measured(origin)

    def _measured(self, origin: float) -> tuple[Floats, Floats, Floats]:
        """Of each host [hosts]: when it began, how long it rests between tasks, its healthy pace.

        The pace is such that the host's tasks take in all as long as they did.
        """
        tasks = self._tasks
        count = len(self._factor)
        free, rest = np.full(count, np.inf), np.zeros(count)
        pace = np.full(count, np.nan)
        for host in np.unique(tasks.host):
            own = np.flatnonzero(tasks.host == host)
            begun, ended = tasks.start[own] - origin, tasks.end[own] - origin
            free[host] = begun[0]
            if len(own) > 1:
                gaps = begun[1:] - ended[:-1]
                rest[host] = max(0.0, float(np.median(gaps)))
            healthy = sum(
                self._worked(host, first, last) for first, last in zip(begun, ended, strict=True)
            )
            pace[host] = tasks.cost[own].sum() / max(healthy, 1e-9)
        return free, rest, pace

    def _worked(self, host: int, first: float, last: float) -> float:
        """Seconds at the healthy pace that are worth those from FIRST to LAST."""
        still = self._still[host]
        stood = np.clip(np.minimum(last, still[:, 1]) - np.maximum(first, still[:, 0]), 0, None)
        slow = max(0.0, min(last, self._slow[host, 1]) - max(first, self._slow[host, 0]))
        seconds = last - first - float(stood.sum())
        return float(max(seconds - slow * (1 - 1 / self._factor[host]), 1e-9))

    def _until(self, host: int, at: float, seconds: float, healed: bool) -> float:
        """When SECONDS of work at the healthy pace are done that began AT."""
        if healed:
            return at + seconds
        begin, end = self._slow[host]
        factor = self._factor[host]
        time = at
        if time < begin:
            before = min(seconds, begin - time)
            time, seconds = time + before, seconds - before
        if seconds > 0 and time < end:
            during = min(seconds, (end - time) / factor)
            time, seconds = time + during * factor, seconds - during
        time += seconds
        for since, until in self._still[host]:
            if since < time and until > at:
                time += until - max(since, at)
        return time

    def run(self, healed: Iterable[int], kept: set[int] | None = None) -> float | None:
        """Seconds with the hosts in HEALED at their peers' pace, on those KEPT (None: on all)."""
        well = set(healed)
        slots = [
            (float(self._free[host]), int(host))
            for host in np.flatnonzero(np.isfinite(self._free))
            if kept is None or int(host) in kept
        ]
        if not slots:
            return None
        heapq.heapify(slots)
        last = 0.0
        for cost in self._tasks.cost.tolist():
            at, host = slots[0]
            end = self._until(host, at, cost / self._pace[host], host in well)
            heapq.heapreplace(slots, (end + float(self._rest[host]), host))
            last = max(last, end)
        return last

    def ideal(self, healed: Iterable[int]) -> float:
        """Seconds in which all hosts, with those HEALED, do the work if none ever waits."""
        well = set(healed)
        paces = [
            pace if host in well else pace / self._factor[host]
            for host, pace in enumerate(self._pace)
            if not np.isnan(pace)
        ]
        return float(self._tasks.cost.sum() / sum(paces))
