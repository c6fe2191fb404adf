"""What is the matter with each host of a run, and why: the image-level analysis."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from job.stragglers import why
from job.stragglers.causes import Cause
from job.stragglers.expected import Expected, expected
from job.stragglers.lines import Lines, costs, hosts_of, lines
from job.stragglers.model import Factor
from job.stragglers.silence import frozen
from job.stragglers.skewed import SkewedTask, skewed
from job.stragglers.starts import Start, cold
from job.stragglers.stretches import (
    LEAST_IMAGES,
    Paces,
    Stretch,
    factor_of,
    level,
    measured,
    search,
    slow_stretches,
)
from job.stragglers.wording import count, duration, significant
from job.stragglers.work import Floats

# How often chance may make a healthy host that slow in a run. The less a counter is seen on healthy
# hosts, the more it says by itself.
ALARMS = {"cpu-neighbour": 0.03, "cpu-quota": 1.0, "link": 0.15, "memory": 0.5, "disk": 0.15}
SAME_WORK = ("cpu-quota", "link", "disk")  # with these, images take no more CPU time than else
CPU_ERROR = 0.02  # log
SAME = 3.0  # errors
ALARMS_UNLIKE = 0.1  # of a quota beside hosts of other classes: it holds back as it should
MOST = 0.1  # of the hosts
# Without a cause the pace alone must say it, of more images than a few odd ones.
UNTOLD_Z, UNTOLD_FROM, UNTOLD_IMAGES = 8.0, 1.25, 12.0
LEAST_Z, DOUBTFUL_PARTIAL, HINTED_Z = 1.0, 2.0, 2.0
# Of the time that a host worked: for a CPU anybody waits for a moment, and any pace wanders.
LEAST_LOST = {"cpu-neighbour": 0.05, "": 0.05}
FREEZE, SKEW, COLD, WEAK, MISCONFIGURED = "freeze", "skew", "cold", "weak", "misconfigured"
FREEZE_ALSO_S = 5.0  # a host that is short of all may miss samples
WEAK_BELOW = 0.75  # of the median host's pace
THREADS_ABOVE = 2.0  # times the CPUs


@dataclass(frozen=True, kw_only=True)
class HostFactor(Factor):
    """One host of a run, and the ``findings`` about it, the weightiest first.

    ``factor`` is how many times as long an image takes it as it should beside its peers: while it
    was slow, from ``since`` to ``until`` (epoch s; None from the start, to the end), or over the
    run. None for one host alone, or with fewer images than tell. ``stood`` are the stretches, from
    and to in epoch s, in which it stood still; ``lost_s`` the seconds that being slow cost it.
    """

    images: int
    findings: tuple[Cause, ...] = ()
    since: float | None = None
    until: float | None = None
    stood: tuple[tuple[float, float], ...] = ()
    lost_s: float = 0.0

    @property
    def slow(self) -> bool:
        """It takes longer than it should, beyond doubt."""
        return any(finding.straggler and finding.kind != FREEZE for finding in self.findings)

    @property
    def still(self) -> bool:
        """It stood still for a while."""
        return any(finding.kind == FREEZE for finding in self.findings)

    @property
    def straggler(self) -> bool:
        """It kept others waiting: by its pace, or standing still."""
        return self.slow or self.still


def worst_first(hosts: Iterable[HostFactor]) -> list[HostFactor]:
    """The slow ones by what it cost them, then those that stood still, then the others."""
    return sorted(
        hosts,
        key=lambda host: (not host.slow, not host.still, -host.lost_s, -(host.factor or 0)),
    )


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """``hosts`` by name, and what a replay needs: ``stretches`` by host, what was ``expected``.

    ``cost`` [rows] is what each image costs, in usual images.
    """

    hosts: tuple[HostFactor, ...]
    seen: Lines
    cost: Floats
    expected: Expected
    stretches: Mapping[str, Stretch]
    away: Mapping[str, Floats]


class _Slow(NamedTuple):
    stretch: Stretch
    causes: tuple[Cause, ...]


def analyse(
    timings: pa.Table,
    samples: pa.Table,
    record: Mapping[str, Any],
    speeds: Mapping[str, float],
) -> Analysis:
    """What the tables of a run and its run.json tell; ``speeds`` are images/s of earlier runs.

    ``timings`` with calibration rows or without. ``samples``, ``record`` and ``speeds`` may be
    empty: less is told then.
    """
    away = frozen(timings, samples)
    names, _ = hosts_of(timings)
    known = expected(names, record, speeds)
    cost = costs(timings, known.threads)
    seen = lines(timings, samples, cost, lanes=known.lanes, away=away)
    starts = cold(record, dict(zip(names, known.paces.tolist(), strict=True)), known.cpus)
    slow, paces = _slow(seen, known)
    slow = {
        number: each
        for number, each in slow.items()
        if seen.hosts[number] not in starts or not _warms_up(each, seen)
    }
    tasks = skewed(timings, cost)
    threads = _threads(record)
    usual = float(np.median(known.paces)) if names else 1.0
    hosts = []
    for number, name in enumerate(seen.hosts):
        stretch, causes = slow.get(number, (None, ()))
        findings = list(causes)
        if name in away and (not causes or _seconds(away[name]) > FREEZE_ALSO_S):
            findings.append(_frozen(name, away[name]))
        if name in tasks:
            findings.append(_skewed(tasks[name]))
        if not causes and name in starts:
            findings.append(_cold(starts[name]))
        if known.paces[number] < WEAK_BELOW * usual:
            findings.append(_weak(name, known.paces[number] / usual, known))
        findings += _misconfigured(threads.get(name, ()), known.cpus.get(name))
        stood = tuple((float(begin), float(end)) for begin, end in away.get(name, ()))
        factor = _factor(number, seen, paces, stretch)
        hosts.append(replace(factor, findings=tuple(findings), stood=stood))
    return Analysis(
        hosts=tuple(hosts),
        seen=seen,
        cost=cost,
        expected=known,
        stretches={seen.hosts[number]: each.stretch for number, each in slow.items()},
        away=away,
    )


def _slow(seen: Lines, known: Expected) -> tuple[dict[int, "_Slow"], Paces]:
    """The slow stretch of each slow host, with its causes; a host without is not slow."""
    found, paces = slow_stretches(seen, known.paces, known.spreads)
    doubtful = search(paces, LEAST_Z, partial=DOUBTFUL_PARTIAL)
    candidates = {each.host: each for each in doubtful} | found
    accounts = why.Accounts(seen, known, found)
    slow: dict[int, _Slow] = {}
    for stretch in [*candidates.values(), *_hinted(seen, known, paces)]:
        host = stretch.host
        if host in slow:
            continue
        account = accounts.of(stretch)
        kinds = why.kinds(account)
        if stretch.z < _needed(seen, stretch, account, kinds):
            continue
        kind = kinds[0] if kinds else ""
        first, last = why.lasting(seen, stretch, kind)
        lasting = replace(stretch, first=first, last=last)
        size = factor_of(lasting, seen, known.paces, paces)
        if _lost_s(seen, lasting, size) <= LEAST_LOST.get(kind, 0.0) * seen.busy[host].sum():
            continue
        if kind in SAME_WORK:
            whole = account if lasting == stretch else accounts.of(lasting)
            size = _with_cpu(size, lasting.error, whole)
        name = seen.hosts[host]
        causes = tuple(
            why.told(account, kind, host=name, cpus=known.cpus.get(name)) for kind in kinds or ("",)
        )
        slow[host] = _Slow(replace(lasting, size=size), causes)
    return slow, paces


def _lost_s(seen: Lines, stretch: Stretch, size: float) -> float:
    """What a host lost of its time that was slow in a stretch by so much (log)."""
    inside = float(seen.busy[stretch.host, stretch.first : stretch.last].sum())
    return inside * (1 - math.exp(-size))


def _warms_up(slow: "_Slow", seen: Lines) -> bool:
    """What a host does first waits for its disk, and what it does later does not: so it began cold.

    Until they are in memory, a cold host reads its programs from the disk.
    """
    if [each.kind for each in slow.causes] != ["disk"]:
        return False
    host, first, last = slow.stretch.host, slow.stretch.first, slow.stretch.last
    images, waited = seen.images[host], np.nan_to_num(seen.sampled["psi_io"][host])
    early = images[:first].sum() == 0 and images[:last].sum() < images[last:].sum()
    return early and float(waited[last:].mean()) < why.LOUD["psi_io"]


def _hinted(seen: Lines, known: Expected, paces: Paces) -> list[Stretch]:
    """Stretches in which counters say that a host is slow, the surest first."""
    found = [measured(paces, *where) for where in why.hinted(seen, known)]
    sure = [each for each in found if each and each.z > HINTED_Z]
    return sorted(sure, key=lambda each: -each.z)


def _needed(seen: Lines, stretch: Stretch, account: why.Account, kinds: tuple[str, ...]) -> float:
    """How sure (z) it must be that a host is slow in a stretch, for what its counters tell."""
    if not kinds:
        images = float(seen.images[stretch.host, stretch.first : stretch.last].sum())
        clear = stretch.size > math.log(UNTOLD_FROM) and images >= UNTOLD_IMAGES
        return UNTOLD_Z if clear else math.inf
    unlike = kinds[0] == "cpu-quota" and not account.alike
    alarms = ALARMS_UNLIKE if unlike else ALARMS[kinds[0]]
    return NormalDist().inv_cdf(1 - min(MOST, alarms / len(seen.hosts)))


def _with_cpu(size: float, error: float, account: why.Account) -> float:
    """SIZE (log, +- ERROR) beside what the CPU time tells.

    Whatever keeps a host from computing, it does as much less as it gets less CPU time: that says
    nothing of what was expected of it, which errs.
    """
    told = math.log(account.then["cpus"] / account.now["cpus"])
    # What is further apart, or was not measured, tells of something else.
    if not account.alike or not abs(told - size) < SAME * error:
        return size
    sure, other = 1 / CPU_ERROR**2, 1 / error**2
    return (told * sure + size * other) / (sure + other)


def _factor(number: int, seen: Lines, paces: Paces, stretch: Stretch | None) -> HostFactor:
    images = round(float(seen.images[number].sum()))
    name = seen.hosts[number]
    if stretch is None:
        size, error = level(paces, number)
    else:
        size, error = stretch.size, stretch.error
    if len(seen.hosts) < 2 or images < LEAST_IMAGES or not np.isfinite(size + error):
        return HostFactor(host=name, images=images)
    steps = seen.busy.shape[1]
    return HostFactor(
        host=name,
        images=images,
        factor=math.exp(size),
        low=math.exp(size - 1.96 * error),
        high=math.exp(size + 1.96 * error),
        since=float(seen.edges[stretch.first]) if stretch and stretch.first > 0 else None,
        until=float(seen.edges[stretch.last]) if stretch and stretch.last < steps else None,
        lost_s=_lost_s(seen, stretch, size) if stretch else 0.0,
    )


def _seconds(away: Floats) -> float:
    return float(np.diff(away, axis=1).sum())


def _frozen(host: str, away: Floats) -> Cause:
    seconds = _seconds(away)
    times = "" if len(away) == 1 else f", {count(len(away), 'time')}"
    return Cause(
        kind=FREEZE,
        text=f"it stood still for {duration(seconds)}{times}: no image and no sample of it",
        action=f"see what it did then: `cluster lab ssh {host} journalctl`, its hypervisor's log",
    )


def _skewed(task: SkewedTask) -> Cause:
    return Cause(
        kind=SKEW,
        straggler=False,
        text=f"its part of the data is costly: the {count(task.images, 'image')} of partition"
        f" {task.partition} cost {significant(task.times)}x the usual each,"
        f" {duration(task.extra_s)} in all; it is not slow",
        action="give such images tasks of their own: more --partitions",
    )


def _cold(start: Start) -> Cause:
    phase = start.phase.replace("_", " ")
    return Cause(
        kind=COLD,
        straggler=False,
        text=f"at its start {phase} took {duration(start.seconds)}, {duration(start.usual)} on"
        " its peers",
        action="warm the hosts beforehand: `cluster env warm`",
    )


def _weak(host: str, share: float, known: Expected) -> Cause:
    cpus = known.cpus.get(host)
    has = f", with {significant(cpus)} CPUs" if cpus else ""
    return Cause(
        kind=WEAK,
        straggler=False,
        text=f"it is expected to do {significant(share)}x what the median host does{has}",
        action="nothing to mend: the planner gives it less work",
    )


def _threads(record: Mapping[str, Any]) -> dict[str, list[int]]:
    """The threads of each worker, by host."""
    found: dict[str, list[int]] = {}
    for worker in record.get("workers", ()):
        found.setdefault(worker["host"], []).append(worker.get("threads") or 0)
    return found


def _misconfigured(threads: Sequence[int], cpus: float | None) -> list[Cause]:
    if not cpus or sum(threads) <= THREADS_ABOVE * max(1.0, cpus):
        return []
    each = f" in {count(len(threads), 'worker')}" if len(threads) > 1 else ""
    return [
        Cause(
            kind=MISCONFIGURED,
            straggler=False,
            text=f"it computes with {count(sum(threads), 'thread')}{each} on"
            f" {significant(cpus)} CPUs",
            action="leave the threads to the engine: no --executor-cores beyond the host's CPUs",
        )
    ]
