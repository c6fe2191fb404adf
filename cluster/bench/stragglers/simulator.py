"""Whole runs of simulated clusters, as the tables that a real run leaves, with the truth.

Tasks come from the product's planner, in order, to whichever host is free. An image is fetched
ahead of its turn and then computed; both are queues, each at the pace of its own resource (link,
disk, CPU), so that a host is as fast as the slowest of them. Rows and samples show what these
queues did: no fault writes a counter.
"""

import functools
import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.bench.stragglers.capacity import Capacity, Cluster, Draws, capacity
from cluster.bench.stragglers.faults import Fault, HostTruth
from cluster.bench.stragglers.noise import CPU_STAGES, USUAL, Noise
from cluster.bench.stragglers.record import Start, run_record
from cluster.bench.stragglers.rows import EPOCH, Indices, Launch, Times, done, timings
from cluster.bench.stragglers.samples import host_samples
from cluster.bench.stragglers.workload import Workload, unexplained, workload
from job.engines.native import SPARE_LANES
from job.host import HostFacts
from job.planner import Plan, calibration, expected_speeds, plan
from job.stragglers.findings import Analysis, analyse
from job.stragglers.work import Floats

FAR_S = 1e7
INFER = CPU_STAGES.index("infer")


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that an analysis may see.

    ``timings`` and ``samples`` have the schemas of a run directory's tables, ``record`` is like its
    run.json. ``probed`` are images per second by host, alone and healthy, as a short benchmark
    measured them when the host joined: near the truth.
    """

    timings: pa.Table
    samples: pa.Table
    record: Mapping[str, Any]
    probed: Mapping[str, float]

    @functools.cached_property
    def analysis(self) -> Analysis:
        """What the product makes of it, which several figures are taken from."""
        return analyse(self.timings, self.samples, self.record, self.probed)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A run, and what is true of its hosts; those not in ``truth`` are as they were declared.

    ``even``: all hosts are declared alike; ``clean``: nothing was the matter.
    """

    run: Run
    truth: Mapping[str, HostTruth]
    even: bool
    clean: bool


def simulate(
    cluster: Cluster,
    *,
    images: int,
    faults: Sequence[Fault] = (),
    noise: Noise = USUAL,
    seed: int = 0,
) -> Trial:
    """Run so many IMAGES on CLUSTER with FAULTS; the same for the same SEED.

    What is random about images and hosts depends on the seed alone, not on the faults.

    Raises:
        ValueError: there is no image, or a fault names a host that is not there.
    """
    if images < 1:
        raise ValueError("a run has an image")
    for fault in faults:
        if not 0 <= fault.host < cluster.hosts:
            raise ValueError(f"{fault.kind}: there is no host {fault.host}")
    facts = _facts(cluster)
    work = workload(images, faults=faults, noise=noise, random=_random(seed, 0))
    order = plan(work.refs, slots=1, engine="native", speeds=expected_speeds(facts, {}))
    seconds = _horizon(cluster, work, order, faults, noise)
    draws = Draws.of(cluster, seconds, noise=noise, random=_random(seed, 1))
    start = Start.of(cluster, faults, noise=noise, random=_random(seed, 2))
    hosts = _Hosts(cluster, work, noise=noise, draws=draws, faults=faults)
    launches = list(_launches(hosts, order, start, noise=noise, random=_random(seed, 3)))
    ran = done(launches)
    table, fetched = timings(ran, work, hosts.given, cluster, noise=noise, random=_random(seed, 4))
    samples = host_samples(
        ran, fetched, work, hosts.given, cluster, noise=noise, random=_random(seed, 6)
    )
    # A short benchmark sees a host as it is on average, and errs.
    errors = np.exp(noise.probe_error * _random(seed, 5).standard_normal(cluster.hosts))
    speeds = cluster.cpus_for_job(noise) * draws.spread / noise.cpu_s * errors
    return Trial(
        run=Run(
            timings=table,
            samples=samples,
            record=run_record(cluster, facts, start, order, launches),
            probed=dict(zip(cluster.names, speeds.tolist(), strict=True)),
        ),
        truth=_truth(
            _Hosts(cluster, work, noise=noise, draws=draws, faults=()), launches, work, faults
        ),
        even=cluster.even,
        clean=not faults,
    )


class _Hosts:
    """Hosts with what they have to give, and how long a task takes each."""

    def __init__(
        self,
        cluster: Cluster,
        work: Workload,
        *,
        noise: Noise,
        draws: Draws,
        faults: Sequence[Fault],
    ) -> None:
        self.cluster, self.work = cluster, work
        sizes = work.bytes_in.astype(float)
        self._bytes: dict[str, Floats] = {
            "link": np.where(work.remote, sizes, 0.0),
            "disk": np.where(work.remote, 0.0, sizes),
        }
        self.given: Capacity = capacity(
            cluster,
            draws,
            faults=faults,
            noise=noise,
            image_bytes={name: float(each.mean()) for name, each in self._bytes.items()},
        )
        seconds = self.given.work.shape[1]
        self._grid = np.append(np.arange(seconds + 1.0), FAR_S)
        self._cpu = _clock(self.given.work)
        self._slowed = {
            fault.host: {
                name: _clock(getattr(self.given, name)[[fault.host]])[0] for name in self._bytes
            }
            for fault in faults
            if fault.kind in self._bytes
        }
        self._fetch_s = noise.fetch_ms / 1e3

    def times(self, host: int, at: float, images: Indices, cpu_s: Floats) -> Times:
        """When a host does a task of IMAGES that cost CPU_S [images, 4], from a time AT on."""
        cost = cpu_s.sum(axis=1)
        clock = self._cpu[host]
        released = np.full(len(cost), at + self._fetch_s)
        ended = self._queue(clock, released, cost)
        fetched = None
        if host in self._slowed:
            window = self.cluster.under_way[host]
            asked = np.full(len(cost), at)
            asked[window:] = ended[:-window]
            came = {
                name: self._queue(slowed, asked, self._bytes[name][images])
                for name, slowed in self._slowed[host].items()
            }
            fetched = np.where(self.work.remote[images], came["link"], came["disk"])
            released = np.maximum.accumulate(fetched + self._fetch_s)  # handed on in order
            ended = self._queue(clock, released, cost)
        began = np.maximum(released, np.append(at, ended[:-1]))
        return Times(began=began, ended=ended, fetched=fetched)

    def _queue(self, clock: Floats, released: Floats, amounts: Floats) -> Floats:
        """When each of AMOUNTS [images] is done by a resource that serves one after the other.

        Lindley's recursion, in the resource's own time: CLOCK is what it has given by each second.
        """
        before = np.cumsum(amounts)
        there = np.interp(released, self._grid, clock)
        waited = np.maximum.accumulate(there - (before - amounts))
        return np.asarray(np.interp(before + waited, clock, self._grid))


def _clock(rate: Floats) -> Floats:
    """What was given up to each second [hosts, seconds + 2], and to the end of time."""
    given = np.zeros((rate.shape[0], rate.shape[1] + 2))
    np.cumsum(np.maximum(rate, 1e-9), axis=1, out=given[:, 1:-1])
    given[:, -1] = given[:, -2] + rate[:, -30:].mean(axis=1) * (FAR_S - rate.shape[1])
    return given


def _launches(
    hosts: _Hosts, order: Plan, start: Start, *, noise: Noise, random: np.random.Generator
) -> Iterator[Launch]:
    """The tasks of ORDER, each on the host that was free first, from when all executors are there.

    A host's first task loads the model and does the calibration images before its own.
    """
    cluster, work = hosts.cluster, hosts.work
    index = {ref.image_id: number for number, ref in enumerate(work.refs)}
    calibrated = np.array(
        [index[ref.image_id] for ref in calibration(work.refs, cluster.hosts)], dtype=np.int64
    )
    # Spark offers the hosts in no order.
    free = [(0.0, turn, host) for turn, host in enumerate(random.permutation(cluster.hosts))]
    seen: set[int] = set()
    for number, task in enumerate(order.tasks):
        at, _, host = heapq.heappop(free)
        images = np.array([index[ref.image_id] for ref in task], dtype=np.int64)
        calibrations = warmups = 0
        if host not in seen:
            seen.add(host)
            at = start.model_load_s[host]
            images = np.concatenate((calibrated, images))
            calibrations = len(calibrated)
            warmups = int(cluster.streams[host]) + SPARE_LANES
        cpu_s = work.cpu_s[images]
        cpu_s[:warmups, INFER] *= noise.warmup * start.first_image[host]
        if calibrations:
            again = unexplained(calibrations, noise, random)
            cpu_s[:calibrations] *= again[:, np.newaxis]
        times = hosts.times(host, at, images, cpu_s)
        yield Launch(
            host=host,
            number=number,
            at=float(at),
            images=images,
            calibrations=calibrations,
            warmups=warmups,
            cpu_s=cpu_s,
            times=times,
        )
        last_s = times.ended[-1] - times.began[-1]
        again_at = times.ended[-1] + noise.drain_images * last_s + noise.task_gap_s
        heapq.heappush(free, (float(again_at), cluster.hosts + number, host))


def _truth(
    healthy: _Hosts, launches: Iterable[Launch], work: Workload, faults: Sequence[Fault]
) -> dict[str, HostTruth]:
    """What is true of every host with faults: its own images once more, without them."""
    by_host: dict[int, list[Fault]] = {}
    for fault in faults:
        if fault.kind != "skew":
            by_host.setdefault(fault.host, []).append(fault)
    skewed = {launch.host for launch in launches if work.costly[launch.images].any()}
    names = healthy.cluster.names
    truth = {}
    for host in by_host.keys() | skewed:
        own = by_host.get(host, [])
        kinds = tuple(fault.kind for fault in own) + (("skew",) if host in skewed else ())
        since = min((0 if fault.at_start else fault.since for fault in own), default=0)
        until = max((fault.until or math.inf for fault in own), default=math.inf)
        took = would = 0.0
        for launch in (launch for launch in launches if own and launch.host == host):
            again = healthy.times(host, launch.at, launch.images, launch.cpu_s)
            within = (launch.times.ended > since) & (launch.times.began < until)
            took += np.diff(launch.times.ended, prepend=launch.at)[within].sum()
            would += np.diff(again.ended, prepend=launch.at)[within].sum()
        truth[names[host]] = HostTruth(
            kinds=kinds,
            factor=took / would if would else 1.0,
            since=EPOCH + since if since else None,
        )
    return truth


def _horizon(
    cluster: Cluster, work: Workload, order: Plan, faults: Sequence[Fault], noise: Noise
) -> int:
    """Seconds within which the run ends; what is beyond would be as its last half minute."""
    speeds = cluster.cpus_for_job(noise)
    still = 0
    for fault in faults:
        if fault.kind == "freeze":
            assert fault.until is not None
            still += fault.until - fault.since
        elif fault.kind != "skew":
            speeds[fault.host] /= fault.factor
    clip = work.cpu_s[work.costly].sum() / speeds.min()
    last = order.images_per_task * noise.cpu_s / speeds.min()
    even = work.cpu_s.sum() / speeds.sum()
    return math.ceil(1.4 * float(even + clip + last)) + still + 30


def _facts(cluster: Cluster) -> list[HostFacts]:
    return [
        HostFacts(
            host=name,
            cpus_visible=max(cluster.computer_cpus, math.ceil(quota)),
            cpus_quota=float(quota),
            memory_mb=4096 if cluster.lab else 8192,
            cpu_model="simulated",
            bf16=False,
        )
        for name, quota in zip(cluster.names, cluster.quota, strict=True)
    ]


def _random(seed: int, purpose: int) -> np.random.Generator:
    """A generator of its own for each purpose, so that none disturbs another."""
    return np.random.default_rng([seed, purpose])
