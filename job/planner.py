"""Which task gets which images, in which order, and why."""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from job.host import HostFacts
from job.images.source import ImageRef

# A task boundary drains the native engine's queue: the last images finish alone while the next
# task has not begun. Measured in image times by `cluster bench throughput` (docs/performance.md).
DRAIN_IMAGES = 1.0
DRAIN_SHARE = 0.02
# On a cluster a task costs its host so many seconds of a CPU, to be launched and to hand over
# results (docs/performance.md); where an image's are not known, as much as so many images.
TASK_CPU_S = 0.09
TASK_IMAGES = 4.0
# Of the work that is left, what a task may take the slowest host of the others' time: a half lets
# a host that is twice as slow as expected still end with them.
GUIDED_SHARE = 0.5
# What is given to hosts beforehand, each its part in one task, where their speeds are known: the
# rest makes up for one that is not as fast as it was, and no part takes longer than OWN_S, for a
# host that is lost loses its task. The rest is dealt out with more trust.
OWN_SHARE, OWN_S, KNOWN_SHARE = 0.5, 30.0, 0.7
# Orca's least task on a cluster: as many images as hide that it compiles the model again.
ORCA_IMAGES = 16
CALIBRATION_IMAGES = 4
CALIBRATION_SHARE = 0.01
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Tasks in the order Spark is to launch them, and the reasons in words.

    ``places`` says of each task which host should have it; None of one that is for any.
    """

    tasks: tuple[tuple[ImageRef, ...], ...]
    places: tuple[str | None, ...]
    slots: int
    images_per_task: int
    order: str
    reasons: tuple[str, ...]


def plan(
    images: Sequence[ImageRef],
    *,
    slots: int,
    engine: str,
    partitions: int | None = None,
    speeds: Sequence[float] = (1.0,),
    hosts: Sequence[str] = (),
    price: float = TASK_IMAGES,
) -> Plan:
    """Spread IMAGES over tasks.

    Costly images come first and the order inside a cost class is shuffled, so that cost and time
    are not confounded; frames of one video stay together, so that a task seeks once.

    Args:
        images: what is left to do, in any order.
        slots: tasks that run at the same time on a host.
        engine: ``native`` or ``orca``; Orca compiles the model once for each task.
        partitions: how many tasks the user wants; None for the planner's choice.
        speeds: what each host can do, in any unit.
        hosts: their names, where the speeds are those of earlier runs, in images/s.
        price: what a task costs a host of a cluster beside its images, in images.
    """
    reasons = []
    fewest = 1
    drained = math.ceil(DRAIN_IMAGES / DRAIN_SHARE)
    share = 1.0
    if partitions is not None:
        size = math.ceil(len(images) / partitions)
        reasons.append(f"{partitions} partitions were asked for")
    elif len(speeds) > 1:
        size = math.ceil(price / DRAIN_SHARE)
        slowest = min(speeds) / (sum(speeds) * slots)
        share = (KNOWN_SHARE if hosts else GUIDED_SHARE) * slowest
        guided = math.ceil(len(images) * (1 - OWN_SHARE if hosts else 1))
        fewest = _fewest(guided, share, slowest, price)
        if hosts:
            reasons.append(
                f"{OWN_SHARE:.0%} of the images, or what takes {OWN_S:g} s, are given to the hosts"
                " first, to each its part by its speed in earlier runs"
            )
        reasons.append(
            f"a task takes at most {share:.1%} of the images left, and {size}: the slowest of"
            f" {len(speeds)} hosts has {min(speeds) / sum(speeds):.0%} of their speed, and none is"
            f" to wait for its last task; and at least {fewest}, for a task costs as much as"
            f" {price:.2g}"
        )
    elif engine == "orca":
        size = math.ceil(len(images) / slots)
        reasons.append("one task for each slot: Orca compiles the model anew in every task")
    else:
        size = min(drained, math.ceil(len(images) / slots))
        reasons.append(
            f"at least {drained} images a task, where there are so many: the end of a task costs"
            f" {DRAIN_IMAGES:g} image times, so no more than {DRAIN_SHARE:.0%} is lost"
        )
    size = max(1, size)
    fair = math.ceil(len(images) / (slots * len(speeds)))
    least = min(ORCA_IMAGES, fair) if engine == "orca" else min(fewest, fair)
    units = _units(images, size)
    own: list[tuple[ImageRef, ...]] = []
    if hosts and partitions is None and slots == 1:
        own, units = _own(units, speeds)
    tasks = [*own, *_cut(units, size, share, least)]
    return Plan(
        tasks=tuple(tasks),
        places=(*hosts[: len(own)], *([None] * (len(tasks) - len(own)))),
        slots=slots,
        images_per_task=max(map(len, tasks), default=size),
        order="largest cost class first, shuffled inside a class",
        reasons=tuple(reasons),
    )


def calibration(images: Sequence[ImageRef], hosts: int) -> tuple[ImageRef, ...]:
    """A few IMAGES that every one of HOSTS is to do first, so that hosts compare on the same work.

    All of usual cost, and at most CALIBRATION_SHARE of the work; none where that is less than one.
    """
    count = min(CALIBRATION_IMAGES, int(CALIBRATION_SHARE * len(images) / hosts))
    plain = sorted((ref for ref in images if ref.frame is None), key=lambda ref: ref.bytes)
    first = max(0, (len(plain) - count) // 2)
    return tuple(plain[first : first + count]) if hosts > 1 else ()


def expected_speeds(hosts: Sequence[HostFacts], learned: Mapping[str, float]) -> tuple[float, ...]:
    """What each host can do: as LEARNED (images/s by host), else as its CPU quota says.

    A host that was not there then is taken to do as much with a CPU as the median of those that
    were.
    """
    usual = _for_a_cpu(hosts, learned) or 1.0
    return tuple(learned.get(host.host, usual * host.cpus_quota) for host in hosts)


def _own(
    units: list[tuple[ImageRef, ...]], speeds: Sequence[float]
) -> tuple[list[tuple[ImageRef, ...]], list[tuple[ImageRef, ...]]]:
    """A part of UNITS for each host, by its speed and of all cost classes, and what is left."""
    most = min(OWN_SHARE * sum(map(len, units)), OWN_S * sum(speeds))
    parts: list[list[ImageRef]] = [[] for _ in speeds]
    given = taken = 0
    for unit in units:
        if given + len(unit) > most:
            break
        host = min(range(len(speeds)), key=lambda at: (len(parts[at]) + len(unit)) / speeds[at])
        parts[host] += unit
        given, taken = given + len(unit), taken + 1
    if not all(parts):
        return [], units
    return [tuple(part) for part in parts], units[taken:]


def _fewest(count: int, share: float, slowest: float, price: float) -> int:
    """How many of COUNT images a task has at least, where it takes a SHARE of those left.

    Small ones cost the PRICE of a task each; of large ones a host may have the last one when all
    others are done, for half of its time on average. The SLOWEST has so much of all speed.
    """

    def lost(least: int) -> float:
        tasks = (1 + math.log(max(1.0, count * share / least))) / share
        waited = (least + price) / (2 * slowest)
        return min(tasks, count / least) * price + waited

    return min(range(1, max(2, math.ceil(count * share))), key=lost)


def task_price(hosts: Sequence[HostFacts], learned: Mapping[str, float]) -> float:
    """What a task costs beside its images, in images, where LEARNED (images/s by host) tells.

    Both are CPU time: on a host of half a CPU both take twice as long.
    """
    usual = _for_a_cpu(hosts, learned)
    return TASK_IMAGES if usual is None else max(DRAIN_IMAGES, TASK_CPU_S * usual)


def _for_a_cpu(hosts: Sequence[HostFacts], learned: Mapping[str, float]) -> float | None:
    """Images/s that the median of the hosts of LEARNED does with a CPU; None without one."""
    known = [learned[host.host] / host.cpus_quota for host in hosts if host.host in learned]
    return statistics.median(known) if known else None


def _units(images: Sequence[ImageRef], size: int) -> list[tuple[ImageRef, ...]]:
    """Images one by one and videos as ranges of at most SIZE frames, in launch order."""
    units: list[tuple[ImageRef, ...]] = []
    videos: dict[str, list[ImageRef]] = {}
    for image in images:
        if image.frame is None:
            units.append((image,))
        else:
            videos.setdefault(str(image.path), []).append(image)
    for frames in videos.values():
        frames.sort(key=lambda ref: ref.frame or 0)
        units += [tuple(frames[i : i + size]) for i in range(0, len(frames), size)]
    random.Random(SEED).shuffle(units)
    # A cost class is a power of two of bytes: coarse, so that classes hold many images.
    units.sort(key=lambda unit: unit[0].bytes.bit_length(), reverse=True)
    return units


def _cut(
    units: Sequence[tuple[ImageRef, ...]], size: int, share: float, least: int
) -> list[tuple[ImageRef, ...]]:
    """Tasks of at most SIZE images and of SHARE of those left, but for LEAST images."""
    tasks: list[tuple[ImageRef, ...]] = []
    task: list[ImageRef] = []
    left = sum(map(len, units))
    for unit in units:
        if task and len(task) + len(unit) > min(size, max(least, math.ceil(left * share))):
            tasks.append(tuple(task))
            left -= len(task)
            task = []
        task += unit
    if task:
        tasks.append(tuple(task))
    return tasks
