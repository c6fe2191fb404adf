"""What each simulated host has to give in each second, healthy or with its faults."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cluster.bench.stragglers.faults import Fault
from cluster.bench.stragglers.noise import CPU_STAGES, Noise, ar1
from job.engines.native import FETCHERS, SPARE_LANES
from job.host import threads_for
from job.stragglers.work import Floats

COMPUTER_CPUS = 2
"""CPUs of the computer that a lab's hosts share, and see all of."""

# A neighbour's share and a thrashing host's pace change from second to second.
NEIGHBOUR_SPREAD, THRASHING_SHAPE = 0.2, 1.5
# Beside a neighbour caches are colder; a host that reclaims memory spends CPU on it.
NEIGHBOUR_LOSS, RECLAIM_LOSS = 0.03, 0.08
# Of its CPU, what daemons leave the job of a small host, and their heartbeats of a small quota.
LEFT = 0.2


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """``hosts`` hosts that have ``cpus`` by turns: (1, 2, 4) is 1:2:4.

    Those of a ``lab`` are cgroups with a quota on one computer; the others are whole machines, with
    whole CPUs.

    Raises:
        ValueError: no host, or a machine with part of a CPU.
    """

    hosts: int
    cpus: tuple[float, ...] = (1.0,)
    lab: bool = True

    def __post_init__(self) -> None:
        if self.hosts < 1 or min(self.cpus) <= 0:
            raise ValueError("a cluster has a host, and a host a CPU")
        if not self.lab and any(cpus % 1 for cpus in self.cpus):
            raise ValueError("a machine has whole CPUs")

    @property
    def even(self) -> bool:
        """All hosts are declared alike."""
        return len(set(self.cpus)) == 1

    @property
    def computer_cpus(self) -> int:
        """CPUs that each host sees, at least."""
        return COMPUTER_CPUS if self.lab else 1

    @cached_property
    def names(self) -> list[str]:
        """The hosts' names, in order."""
        return [f"host-{number:04}" for number in range(1, self.hosts + 1)]

    @cached_property
    def quota(self) -> Floats:
        """CPUs [hosts] that each host is declared to have."""
        return np.resize(np.array(self.cpus, dtype=float), self.hosts)

    @cached_property
    def threads(self) -> npt.NDArray[np.int64]:
        """Inference threads [hosts], as the engine chooses them."""
        return np.array([threads_for(quota, 1) for quota in self.quota])

    @cached_property
    def streams(self) -> npt.NDArray[np.int64]:
        """Images [hosts] that the network computes at the same time."""
        return np.asarray(np.maximum(1, self.threads // 2))

    @property
    def under_way(self) -> npt.NDArray[np.int64]:
        """Images [hosts] between the first byte asked for and the last stage's end, at most."""
        return np.asarray(FETCHERS + 1 + 2 * (self.streams + SPARE_LANES))

    def demand(self, noise: Noise) -> Floats:
        """Threads [hosts] that want a CPU while there is work.

        The lane that is not inferring has other work for as much of the time as that is of an
        image.
        """
        return self.threads + 1 - noise.shares[CPU_STAGES.index("infer")]

    def cpus_for_job(self, noise: Noise) -> Floats:
        """CPUs [hosts] that the job gets beside the daemons."""
        return np.minimum(_less(self.quota, noise.daemon_cpus), self.demand(noise))

    def ideal_s(self, images: int, noise: Noise) -> float:
        """Seconds for so many IMAGES if no host ever waits."""
        return images * noise.cpu_s / float(self.cpus_for_job(noise).sum())


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What hosts have to give [hosts, seconds].

    ``cpus`` the job can use in a second in which nothing blocks it, ``useful`` work of a CPU second
    (1 on a usual host), ``blocked`` share of the second in which it cannot run at all, of that by
    ``thrashing``, ``held`` CPUs that the quota holds back from a full load, ``daemons`` and
    ``others`` CPUs that they and a neighbour inside take, ``link`` and ``disk`` bytes/s.
    """

    cpus: Floats
    useful: Floats
    blocked: Floats
    thrashing: Floats
    held: Floats
    daemons: Floats
    others: Floats
    link: Floats
    disk: Floats

    @property
    def work(self) -> Floats:
        """CPU seconds of a usual host that are done in the second [hosts, seconds]."""
        return self.cpus * self.useful * (1 - self.blocked)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """All that is random about hosts, drawn once: the same with faults and without.

    ``spread`` [hosts] is what each does of the work of a usual host, in the long run.
    """

    spread: Floats
    useful: Floats
    hiccups: Floats
    beats: npt.NDArray[np.int64]
    neighbour: Floats
    thrashing: Floats

    @classmethod
    def of(
        cls, cluster: Cluster, seconds: int, *, noise: Noise, random: np.random.Generator
    ) -> "Draws":
        """Draw them for so many SECONDS; for more, they are the same before."""
        hosts = cluster.hosts
        # A generator for each: how long one draws does not disturb the others.
        each = iter(random.spawn(8))
        spread = np.exp(noise.host_spread * next(each).standard_normal(hosts))
        drift = ar1(hosts, seconds, spread=noise.drift, lasts_s=noise.drift_s, random=next(each))
        shared = ar1(
            1, seconds, spread=noise.shared_drift, lasts_s=noise.drift_s, random=next(each)
        )
        chance = next(each).random((seconds, hosts)).T
        length = np.minimum(1.0, next(each).exponential(noise.hiccup_s, (seconds, hosts)).T)
        return cls(
            spread=spread,
            useful=spread[:, np.newaxis] * np.exp(drift + shared if cluster.lab else drift),
            hiccups=np.where(chance < 1 / noise.hiccup_every_s, length, 0.0),
            beats=next(each).integers(0, noise.heartbeat_s, hosts),
            neighbour=np.exp(NEIGHBOUR_SPREAD * next(each).standard_normal(seconds)),
            thrashing=next(each).gamma(THRASHING_SHAPE, 1 / THRASHING_SHAPE, seconds),
        )


def capacity(
    cluster: Cluster,
    draws: Draws,
    *,
    faults: Sequence[Fault],
    noise: Noise,
    image_bytes: Mapping[str, float],
) -> Capacity:
    """What CLUSTER's hosts have to give with FAULTS.

    ``image_bytes`` are what a mean image brings over "link" and from "disk": they tell how slow
    either must be for a host to take its factor longer.
    """
    hosts, seconds = draws.hiccups.shape
    demand = cluster.demand(noise)[:, np.newaxis]
    quota = cluster.quota[:, np.newaxis]
    beat = (np.arange(seconds) + draws.beats[:, np.newaxis]) % noise.heartbeat_s == 0
    # Half of what daemons take is spread evenly, the rest is in the second of the heartbeat.
    daemons = noise.daemon_cpus * (0.5 + 0.5 * noise.heartbeat_s * beat)
    cpus = np.minimum(_less(quota, daemons), demand)
    useful = draws.useful.copy()
    blocked = draws.hiccups.copy()
    thrashing = np.zeros((hosts, seconds))
    limited = cluster.lab & (quota < COMPUTER_CPUS)
    held = np.where(limited, np.maximum(0.0, demand - cpus), 0.0)
    others = np.zeros((hosts, seconds))
    link = np.full((hosts, seconds), noise.link_mbs * 1e6)
    disk = np.full((hosts, seconds), noise.disk_mbs * 1e6)
    usual = (cpus * useful * (1 - blocked)).mean(axis=1)
    for fault in faults:
        host, factor = fault.host, fault.factor
        when = slice(fault.since, fault.until)
        image_s = noise.cpu_s / usual[host] * factor
        if fault.kind == "cpu-quota":
            usually = _divided(cluster, noise, host, factor)
            # The new quota, of which daemons take as much as ever, but never all.
            left = np.maximum(LEFT * usually, usually + noise.daemon_cpus - daemons[host, when])
            cpus[host, when] = np.minimum(cpus[host, when], left)
            held[host, when] = demand[host] - cpus[host, when]
        elif fault.kind == "cpu-neighbour":
            share = _divided(cluster, noise, host, factor) * draws.neighbour[when]
            # Outside of the host's own quota, which is then reached in few of its periods, or none.
            short = np.maximum(0.0, 1 - share / cpus[host, when])
            held[host, when] *= np.maximum(0.0, 1 - short / NEIGHBOUR_SPREAD)
            cpus[host, when] = np.minimum(cpus[host, when], share)
            if not cluster.lab:
                others[host, when] = quota[host] - cpus[host, when] - daemons[host, when]
            useful[host, when] *= 1 - NEIGHBOUR_LOSS
        elif fault.kind == "link":
            link[host, when] = image_bytes["link"] / image_s
        elif fault.kind == "disk":
            disk[host, when] = image_bytes["disk"] / image_s
        elif fault.kind == "memory":
            pace = _shares(draws.thrashing[when], (1 / factor) / (1 - RECLAIM_LOSS))
            thrashing[host, when] = 1 - pace
            useful[host, when] *= 1 - RECLAIM_LOSS
        elif fault.kind == "freeze":
            blocked[host, when] = 1.0
    return Capacity(
        cpus=cpus,
        useful=useful,
        blocked=1.0 - (1 - blocked) * (1 - thrashing),
        thrashing=thrashing,
        held=held,
        daemons=daemons,
        others=others,
        link=link,
        disk=disk,
    )


def _less(quota: Floats, daemons: Floats | float) -> Floats:
    return np.asarray(np.maximum(quota - daemons, LEFT * quota))


def _divided(cluster: Cluster, noise: Noise, host: int, factor: float) -> float:
    return float(cluster.cpus_for_job(noise)[host]) / factor


def _shares(values: Floats, mean: float) -> Floats:
    """VALUES in proportion, at most 1 each, with such a MEAN where that is below 1."""
    low, high = 1e-6, 1e6
    for _ in range(60 if len(values) else 0):
        middle = math.sqrt(low * high)
        if np.minimum(1, values * middle).mean() < mean:
            low = middle
        else:
            high = middle
    return np.minimum(1, values * high)
