"""What a slow host cost: a stage's tasks dealt out again to the slots it had."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from job.stragglers.attempts import at_once
from job.stragglers.tasks import Comparison
from job.stragglers.work import Floats


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """A stage's seconds: as it was, as the replay has it, and as it could have been.

    ``healed`` is with the host at its peers' pace, ``without`` without its slots (None where there
    are no others), by host; ``all_healed`` with all of them at their peers' pace.
    """

    actual: float
    replayed: float
    healed: Mapping[str, float]
    without: Mapping[str, float | None]
    all_healed: float


def makespan(seconds: Floats, free: Floats, pace: Floats) -> float:
    """When the last of tasks [tasks] ends that are dealt out in order, each to the next free slot.

    ``seconds`` is a task's time at a pace of 1; ``free`` [slots] says when a slot is free first,
    ``pace`` [slots] how many times as long it takes.
    """
    slots = list(zip(free.tolist(), pace.tolist(), strict=True))
    heapq.heapify(slots)
    last = 0.0
    for task in seconds.tolist():
        at, slow = slots[0]
        end = at + task * slow
        heapq.heapreplace(slots, (end, slow))
        last = max(last, end)
    return last


def what_if(compared: Comparison, stage: int, hosts: Sequence[str]) -> WhatIf:
    """Replay the stage of that number by list scheduling, with each of the hosts otherwise.

    Tasks that were done alone are dealt out, in the order of their launch, to the slots that were
    used: as many of an executor as it ran at once, free from its first launch on.
    """
    a = compared.attempts
    rows = a.done_in(stage)
    start = float(a.launched[rows].min())
    executor, place = np.unique(a.executor[rows], return_inverse=True)
    count = at_once(place, a.launched[rows], a.worked_until[rows], len(executor))
    begins = np.full(len(executor), np.inf)
    np.minimum.at(begins, place, a.launched[rows] - start)
    home = np.zeros(len(executor), dtype=np.int64)
    home[place] = a.host[rows]
    slot_host, free = np.repeat(home, count), np.repeat(begins, count)
    base = a.seconds[rows] / compared.pace[a.host[rows]]

    def run(pace: Floats, kept: Sequence[int] | None = None) -> float | None:
        used = slice(None) if kept is None else np.isin(slot_host, kept)
        if not len(slot_host[used]):
            return None
        return makespan(base, free[used], pace[slot_host[used]])

    def healed(*names: str) -> Floats:
        pace = compared.pace.copy()
        for host in map(a.hosts.index, names):
            pace[host] /= compared.factors[host].factor or 1
        return pace

    every = set(slot_host.tolist())
    return WhatIf(
        actual=float(a.finished[rows].max()) - start,
        replayed=run(compared.pace) or 0.0,
        healed={name: run(healed(name)) or 0.0 for name in hosts},
        without={name: run(compared.pace, sorted(every - {a.hosts.index(name)})) for name in hosts},
        all_healed=run(healed(*hosts)) or 0.0,
    )
