"""Why a host's tasks take longer, as far as an event log can tell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from job.stragglers.tasks import TaskHost
from job.stragglers.wording import percent

BUSY = 0.5  # of the run time: peers whose JVM computes less do their work in Python, or wait


@dataclass(frozen=True, kw_only=True)
class Cause:
    """``kind`` for programs; ``text`` is the evidence, ``action`` what to do about it.

    Kinds: gc, fetch_wait, shuffle_write, cpu_wait (it gets less CPU), cpu_slow (the same work takes
    it more CPU time), held (an attempt did not come back), unknown; of a run of our own see
    ``findings.py``. One that is no ``straggler`` keeps nobody waiting by being slow.
    """

    kind: str
    text: str
    action: str
    straggler: bool = True


_WAITS = (
    (
        "gc",
        "garbage collection takes",
        "give its executors more memory (spark.executor.memory) or fewer cores each",
    ),
    (
        "fetch_wait",
        "waiting for shuffle blocks takes",
        "measure its network link, and those of the hosts it fetches from",
    ),
    (
        "shuffle_write",
        "writing shuffle files takes",
        "look at the disk there that spark.local.dir is on",
    ),
)


def cause(host: TaskHost, hosts: Sequence[TaskHost]) -> Cause:
    """Of a slow host, or one that held tasks up, among all ``hosts``.

    What its tasks wait for counts where it explains half of the extra time.
    """
    if not host.slow:
        return _held(host)
    assert host.factor is not None
    extra = 1 - 1 / host.factor
    for kind, takes, action in _WAITS:
        own, usual = host.shares[kind] or 0.0, _peers(host, hosts, kind)
        if own - usual > extra / 2:
            text = f"{takes} {percent(own)} of its tasks' time, {percent(usual)} on its peers"
            return Cause(kind=kind, text=text, action=action)
    own, usual = host.shares["cpu"] or 0.0, _peers(host, hosts, "cpu")
    if usual < BUSY:
        return Cause(
            kind="unknown",
            text="the event log does not tell why",
            action="collect its CPU, disk and network counters while a job runs, or look at it"
            " with `cluster doctor`",
        )
    if host.factor * own / usual > 1 + (host.factor - 1) / 2:
        return Cause(
            kind="cpu_slow",
            text=f"the same work takes it {host.factor * own / usual:.2f}x the CPU time",
            action="look there for a low clock, heat, and other programs on the same cores",
        )
    return Cause(
        kind="cpu_wait",
        text=f"its tasks are on a CPU {percent(own)} of their time, {percent(usual)} on its"
        " peers: they wait for a CPU, a disk or Python",
        action="look there at the CPU quota, other programs, and the disks",
    )


def _held(host: TaskHost) -> Cause:
    if host.held is None:
        return Cause(
            kind="unknown",
            text="the event log does not tell why",
            action="look at its executors' logs, and at it with `cluster doctor`",
        )
    return Cause(
        kind="held",
        text=host.held.reason.rstrip(".") or "Spark gives no reason",
        action="see what it did at that time: frozen, cut off, or out of memory",
    )


def _peers(host: TaskHost, hosts: Sequence[TaskHost], share: str) -> float:
    others = [
        value
        for other in hosts
        if other is not host
        and other.factor is not None
        and (value := other.shares[share]) is not None
    ]
    return float(np.median(others)) if others else 0.0
