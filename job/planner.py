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
# Of the work that is left, what a task may take the slowest host of the others' time: a half lets
# a host that is twice as slow as expected still end with them.
GUIDED_SHARE = 0.5
# Orca's least task on a cluster: as many images as hide that it compiles the model again.
ORCA_IMAGES = 16
CALIBRATION_IMAGES = 4
CALIBRATION_SHARE = 0.01
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Tasks in the order Spark is to launch them, and the reasons in words."""

    tasks: tuple[tuple[ImageRef, ...], ...]
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
    """
    reasons = []
    drained = math.ceil(DRAIN_IMAGES / DRAIN_SHARE)
    share = 1.0
    if partitions is not None:
        size = math.ceil(len(images) / partitions)
        reasons.append(f"{partitions} partitions were asked for")
    elif len(speeds) > 1:
        size = drained
        share = GUIDED_SHARE * min(speeds) / (sum(speeds) * slots)
        reasons.append(
            f"a task takes at most {share:.1%} of the images left, and {drained}: the slowest of"
            f" {len(speeds)} hosts has {min(speeds) / sum(speeds):.0%} of their speed, and none is"
            " to wait for its last task"
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
    least = min(ORCA_IMAGES, fair) if engine == "orca" else 1
    tasks = _cut(_units(images, size), size, share, least)
    return Plan(
        tasks=tuple(tasks),
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
    for_a_cpu = [learned[host.host] / host.cpus_quota for host in hosts if host.host in learned]
    usual = statistics.median(for_a_cpu) if for_a_cpu else 1.0
    return tuple(learned.get(host.host, usual * host.cpus_quota) for host in hosts)


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
