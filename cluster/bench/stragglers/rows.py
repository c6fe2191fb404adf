"""Timing rows of simulated tasks: what the worker's clocks and counters would have said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.bench.stragglers.capacity import Capacity, Cluster
from cluster.bench.stragglers.noise import CPU_STAGES, Noise
from cluster.bench.stragglers.workload import Workload
from job.engines.native import FETCHERS
from job.schemas import TIMING_SCHEMA
from job.stragglers.work import Floats

Indices = npt.NDArray[np.int64]

EPOCH = 1_760_000_000.0
"""When the first task starts, in s since the epoch."""

# A row's counters are from the emission before: images emitted together share theirs unevenly.
SMEARED = 0.8
# Which threads wait for a CPU is chance.
DELAY_SPREAD = 0.15


@dataclass(frozen=True, kw_only=True)
class Times:
    """When images [images] were computed, in s after the first task's start.

    ``fetched``: when their bytes were there; None where that was long before.
    """

    began: Floats
    ended: Floats
    fetched: Floats | None


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A task on a host: its ``images``, their ``cpu_s`` [images, 4] there, and their ``times``.

    ``at`` is when it could begin with them. The first ``calibrations`` and ``warmups`` are such.
    """

    host: int
    number: int
    at: float
    images: Indices
    calibrations: int
    warmups: int
    cpu_s: Floats
    times: Times


@dataclass(frozen=True, kw_only=True)
class Done:
    """All images of all tasks in launch order; each field [images], times as in ``Times``.

    ``fetched`` is NaN where the bytes were there long before.
    """

    host: Indices
    task: Indices
    position: Indices
    last: npt.NDArray[np.bool_]
    image: Indices
    calibration: npt.NDArray[np.bool_]
    warmup: npt.NDArray[np.bool_]
    at: Floats
    began: Floats
    ended: Floats
    fetched: Floats
    cpu_s: Floats


def worker_pid(host: int) -> int:
    """The process id of the worker on a host."""
    return 2000 + host


def done(launches: Sequence[Launch]) -> Done:
    """The columns of all LAUNCHES together."""
    sizes = np.array([len(launch.images) for launch in launches])
    ends = np.cumsum(sizes)
    position = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)

    def of_task(name: str) -> npt.NDArray[np.int64]:
        return np.repeat(np.array([getattr(launch, name) for launch in launches]), sizes)

    times = [launch.times for launch in launches]
    return Done(
        host=of_task("host"),
        task=of_task("number"),
        position=position,
        last=position == np.repeat(sizes - 1, sizes),
        image=np.concatenate([launch.images for launch in launches]),
        calibration=position < of_task("calibrations"),
        warmup=position < of_task("warmups"),
        at=of_task("at").astype(float),
        began=np.concatenate([each.began for each in times]),
        ended=np.concatenate([each.ended for each in times]),
        fetched=np.concatenate(
            [
                np.full(len(each.ended), np.nan) if each.fetched is None else each.fetched
                for each in times
            ]
        ),
        cpu_s=np.concatenate([launch.cpu_s for launch in launches]),
    )


def timings(
    ran: Done,
    work: Workload,
    given: Capacity,
    cluster: Cluster,
    *,
    noise: Noise,
    random: np.random.Generator,
) -> tuple[pa.Table, Floats]:
    """The timing rows, and when each one's bytes were there [rows]."""
    took = ran.ended - ran.began
    cost = ran.cpu_s.sum(axis=1)
    before = np.where(ran.position > 0, np.roll(ran.ended, 1), ran.began)
    load = took / (ran.ended - before)  # 1 where the CPU never waited for bytes
    threads, streams = cluster.threads[ran.host], cluster.streams[ran.host]
    demand = 1 + (cluster.demand(noise)[ran.host] - 1) * load
    # How much longer a thread takes than if it had a usual CPU to itself.
    stretch = np.maximum(1 / given.useful.mean(axis=1)[ran.host], demand * took / cost)
    jitter = np.exp(noise.stage_spread * random.standard_normal(ran.cpu_s.shape))
    stages = ran.cpu_s * stretch[:, np.newaxis] * jitter
    stages[:, CPU_STAGES.index("infer")] /= threads / streams

    window = cluster.under_way[ran.host]
    started = np.where(ran.position >= window, _earlier(ran.ended, window), ran.at)
    usual = noise.fetch_ms / 1e3 * np.exp(0.3 * random.standard_normal(len(cost))) * stretch
    speed = np.where(work.remote[ran.image], noise.link_mbs, noise.disk_mbs) * 1e6
    usual += work.bytes_in[ran.image] / speed
    # One of the fetchers must have ended with another image.
    free = np.where(ran.position >= FETCHERS, _earlier(ran.fetched, FETCHERS), ran.at)
    started = np.fmax(started, free)
    fetch = np.fmax(usual, ran.fetched - started)
    # The thread that writes rows is the one that waits for the next image's bytes.
    idle = np.where(ran.last, 0.0, np.roll(ran.began, -1) - ran.ended)
    emit = noise.emit_ms / 1e3 * stretch * np.exp(0.3 * random.standard_normal(len(cost))) + idle
    busy = fetch + stages.sum(axis=1) + emit
    total = np.maximum(busy, ran.ended + emit - started)

    used = _between(given.cpus * (1 - given.blocked), ran)
    blocked = _between(given.blocked, ran) / took
    held = _between(given.held * (1 - given.blocked), ran) * load
    delay = np.maximum(0.0, cost * stretch * (1 - blocked) - used)
    delay *= np.exp(DELAY_SPREAD * random.standard_normal(len(cost)))
    moved = np.where(ran.last, 0.0, SMEARED * random.random(len(cost)))
    names = pa.array(cluster.names)
    columns = {
        "image_id": pa.array([ref.image_id for ref in work.refs]).take(pa.array(ran.image)),
        "kind": pa.array(["image", "calibration"]).take(pa.array(ran.calibration.astype(int))),
        "host": names.take(pa.array(ran.host)),
        "executor_id": pa.array(ran.host + 1).cast(pa.string()),
        "worker_pid": worker_pid(0) + ran.host,
        "stage_id": np.zeros(len(cost), dtype=int),
        "task_id": ran.task,
        "attempt": np.zeros(len(cost), dtype=int),
        "partition": ran.task,
        "started_at": EPOCH + started,
        "fetch_ms": fetch * 1e3,
        "wait_ms": (total - busy) * 1e3,
        **{f"{name}_ms": stages[:, at] * 1e3 for at, name in enumerate(CPU_STAGES)},
        "emit_ms": emit * 1e3,
        "total_ms": total * 1e3,
        "cpu_ms": _smeared(used, moved) * 1e3,
        "run_delay_ms": _smeared(delay, moved) * 1e3,
        "throttled_ms": _smeared(held, moved) * 1e3,
        "bytes_in": work.bytes_in[ran.image],
        "pixels": work.pixels[ran.image],
        "detections": work.detections[ran.image],
        "warmup": ran.warmup,
    }
    fields = [pa.array(columns[field.name]).cast(field.type) for field in TIMING_SCHEMA]
    return pa.table(fields, schema=TIMING_SCHEMA), started + fetch


def _earlier(values: Floats, images: Indices | int) -> Floats:
    """The value of so many rows before; the caller knows where that is another task's."""
    return np.asarray(values[np.maximum(0, np.arange(len(values)) - images)])


def _between(rate: Floats, ran: Done) -> Floats:
    """What a RATE [hosts, seconds] comes to [rows] while each row was computed."""
    given = np.zeros((rate.shape[0], rate.shape[1] + 1))
    np.cumsum(rate, axis=1, out=given[:, 1:])

    def until(times: Floats) -> Floats:
        whole = np.minimum(times.astype(int), rate.shape[1] - 1)
        part = times - whole
        return np.asarray(given[ran.host, whole] + part * rate[ran.host, whole])

    return until(ran.ended) - until(ran.began)


def _smeared(values: Floats, moved: Floats) -> Floats:
    """VALUES of which a part is counted with the next row; their sum stays."""
    carried = values * moved
    return np.asarray(values - carried + np.roll(carried, 1))
