"""From the tables of an event log to a verdict a person can act on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from job.stragglers.attempts import Attempts
from job.stragglers.causes import Cause, cause
from job.stragglers.replay import WhatIf, what_if
from job.stragglers.skew import StageTasks, stage_tasks
from job.stragglers.tasks import MIN_MS, MIN_TASKS, Comparison, TaskHost
from job.stragglers.verdict import NAMED, none_slow, slow_hosts
from job.stragglers.wording import count, duration, significant

Kind = Literal["slow", "held", "uncertain", "none", "cannot_tell"]

SKEW_SHARE = 0.1  # of the application's time: less of a long task is not worth the first line


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What an event log tells of its hosts.

    ``kind``: slow (hosts whose tasks take longer), held (hosts that did not bring tasks back),
    uncertain, none, cannot_tell. ``causes`` and ``cost_s`` are of the stragglers, by host: cost is
    the seconds that its stages would take less with it at its peers' pace. ``what_if`` is by the
    place of a stage in ``stages``.
    """

    kind: Kind
    text: str
    hosts: tuple[TaskHost, ...]
    stages: tuple[StageTasks, ...]
    causes: Mapping[str, Cause]
    cost_s: Mapping[str, float]
    what_if: Mapping[int, WhatIf]

    @property
    def straggler(self) -> bool:
        """A host is slow, or holds tasks up."""
        return self.kind in ("slow", "held")


def diagnose(tasks: pa.Table, executors: pa.Table, *, seconds: float | None = None) -> Diagnosis:
    """Say what ``tasks`` and ``executors``, tables as in ``attempts``, tell.

    ``seconds`` is how long the application took; without, its stages say it.
    """
    compared = Comparison(Attempts(tasks), executors)
    hosts, stages = compared.hosts, stage_tasks(compared)
    found = sorted(
        (host for host in hosts if host.straggler),
        key=lambda host: (not host.slow, -(host.factor or 0) if host.slow else -host.outrun),
    )
    replays = _replays(compared, stages, found)
    causes = {host.host: cause(host, hosts) for host in found}
    costs = {host.host: _cost(host, stages, replays) for host in found[:NAMED]}
    if seconds is None and stages:
        last = max(stage.started + stage.seconds for stage in stages)
        seconds = last - min(stage.started for stage in stages)
    kind, text = _verdict(hosts, compared)
    if found:
        first = found[0]
        kind = "slow" if first.slow else "held"
        headline = _slow(found, hosts) if first.slow else _held(first)
        why, cost = causes[first.host], costs[first.host]
        lost = f"; it cost {duration(cost)} of {duration(seconds or 0)}" if cost >= 1 else ""
        text = f"{headline}: {why.text}{lost}. {why.action[0].upper()}{why.action[1:]}"
    elif kind != "cannot_tell":
        text += f"; {_did(compared.attempts, seconds)}"
    return Diagnosis(
        kind=kind,
        text=f"{text}.{'' if found else _skew(stages, seconds)}",
        hosts=hosts,
        stages=stages,
        causes=causes,
        cost_s=costs,
        what_if=replays,
    )


def _replays(
    compared: Comparison, stages: Sequence[StageTasks], found: Sequence[TaskHost]
) -> dict[int, WhatIf]:
    """Of each stage that the first stragglers worked in."""
    a = compared.attempts
    slow = [a.hosts.index(host.host) for host in found[:NAMED] if host.slow]
    held = {host.held.stage for host in found[:NAMED] if host.held}
    replays = {}
    for place, stage in enumerate(stages):
        there = set(a.host[a.done_in(place)].tolist()) if found else set()
        concerned = [a.hosts[number] for number in slow if number in there]
        if stage.tasks and (concerned or stage.stage in held):
            replays[place] = what_if(compared, place, concerned)
    return replays


def _cost(host: TaskHost, stages: Sequence[StageTasks], replays: Mapping[int, WhatIf]) -> float:
    """Seconds: what its pace costs by the replays, and what a held task did at the most."""
    cost = 0.0
    for place, replay in replays.items():
        if host.host in replay.healed:
            cost += max(replay.replayed - replay.healed[host.host], 0)
        if host.held and stages[place].stage == host.held.stage:
            lost = host.held.seconds - host.held.elsewhere_s
            cost += min(max(stages[place].seconds - replay.replayed, 0), lost)
    return cost


def _verdict(hosts: Sequence[TaskHost], compared: Comparison) -> tuple[Kind, str]:
    """Without a straggler."""
    a = compared.attempts
    judged = [host for host in hosts if host.factor is not None]
    if judged:
        worst = max(judged, key=lambda host: host.factor or 0)
        what = count(worst.compared, "task")
        return "uncertain" if worst.suspect else "none", none_slow(worst, per="task", what=what)
    enough = (
        f"a comparison takes {MIN_TASKS} tasks a host, in stages that another host works in, too,"
        f" and whose median task takes {MIN_MS:g} ms"
    )
    if not a.done.any():
        why = "no task was finished"
    elif len(hosts) == 1:
        why = f"all {count(int(a.done.sum()), 'task')} ran on one host, {hosts[0].host}"
        enough = "run it with executors on two hosts or more, and give that log"
    elif not len(compared.rows):
        why = f"the median task of every stage takes less than {MIN_MS:g} ms"
    elif compared.compared.max() < MIN_TASKS:
        why = f"no host has {MIN_TASKS} tasks in stages that another host worked in, too"
    else:
        why = "no two hosts have enough tasks in the same stages"
    return "cannot_tell", f"Cannot tell whether a host is slow: {why}; {enough}"


def _did(a: Attempts, seconds: float | None) -> str:
    stages = len(np.unique(a.stage[a.done]))
    did = f"{count(len(a.hosts), 'host')} finished {count(int(a.done.sum()), 'task')}"
    return f"{did} of {count(stages, 'stage')}" + (f" in {duration(seconds)}" if seconds else "")


def _slow(found: Sequence[TaskHost], hosts: Sequence[TaskHost]) -> str:
    first = found[0]
    judged = [host.host for host in hosts if host.factor is not None]
    detail = f", {count(first.compared, 'task')}, most of it in stage {first.stage}"
    return slow_hosts([host for host in found if host.slow], judged, detail=detail)


def _held(host: TaskHost) -> str:
    if host.held:
        return (
            f"{host.host} held task {host.held.partition} of stage {host.held.stage} for "
            f"{duration(host.held.seconds)} and did not finish it; {host.held.elsewhere} then took "
            f"{duration(host.held.elsewhere_s)}"
        )
    return (
        f"{host.host} had {count(host.outrun, 'attempt')} overtaken on other hosts, more than "
        "chance would have"
    )


def _skew(stages: Sequence[StageTasks], seconds: float | None) -> str:
    """The stage that waits longest for one task, where that is a part of the whole."""
    long = [stage for stage in stages if stage.longest and stage.longest.by != "start"]
    worst = max(long, key=_waited, default=None)
    if worst is None or _waited(worst) < SKEW_SHARE * (seconds or 0):
        return ""
    task = worst.longest
    assert task is not None
    said = (
        f" The longest task of stage {worst.stage}, partition {task.partition} on {task.host}, "
        f"took {duration(task.seconds)}, {significant(task.times)}x the median"
    )
    if task.by == "data":
        return f"{said}, and so its data let expect ({significant(task.size_times)}x): split it."
    return f"{said}; neither its data nor its host explains that: see what is in that partition."


def _waited(stage: StageTasks) -> float:
    return (stage.longest.seconds if stage.longest else 0.0) - (stage.median_s or 0)
