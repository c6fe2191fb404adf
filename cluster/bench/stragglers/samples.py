"""Host samples of a simulated run: what each host's kernel would have counted each second."""

import numpy as np
import pyarrow as pa

from cluster.bench.stragglers.capacity import Capacity, Cluster
from cluster.bench.stragglers.noise import Noise
from cluster.bench.stragglers.rows import EPOCH, Done
from cluster.bench.stragglers.workload import Workload
from job.schemas import HOST_SCHEMA
from job.stragglers.work import Floats

# What a machine cannot be asked inside a cgroup: lab hosts share a kernel.
MACHINE_ONLY = (
    "cpu_steal",
    "swap_in",
    "swap_out",
    "disk_read_mbs",
    "disk_write_mbs",
    "disk_await_ms",
    "mhz",
)
RESIDENT_MB = 1100.0
MHZ = 2900.0
# A host that thrashes all of a second faults so often; each brings a cluster of 8 pages of 4 KiB.
FAULTS_PER_S, FAULT_MB = 400.0, 8 * 4096 / 1e6
RESULT_MB = 0.012  # masks of an image as RLE (about 10 kB) and its row
HEARTBEAT_MBS = 0.003
AWAIT_MS = 1.5


def host_samples(
    ran: Done,
    fetched: Floats,
    work: Workload,
    given: Capacity,
    cluster: Cluster,
    *,
    noise: Noise,
    random: np.random.Generator,
) -> pa.Table:
    """A row for each host and second from the first task to the host's last; none while it froze.

    ``fetched`` [rows] is when each row's bytes were there.
    """
    by_host = np.lexsort((ran.began, ran.host))
    seconds = np.zeros(cluster.hosts, dtype=int)
    np.maximum.at(seconds, ran.host, np.ceil(ran.ended).astype(int))
    seconds = np.minimum(seconds, given.cpus.shape[1])
    host = np.repeat(np.arange(cluster.hosts), seconds)
    second = np.arange(len(host)) - np.repeat(np.cumsum(seconds) - seconds, seconds)

    def spread(began: Floats, ended: Floats, amounts: Floats) -> Floats:
        """AMOUNTS [rows] that came evenly between two times, as sums of each second.

        Of two rows of a host at the same time the second waits; one without an amount is not there.
        """
        chosen = by_host[amounts[by_host] > 0]
        # One line of time for all hosts, one after the other.
        line = 1e7 * ran.host[chosen]
        nodes = np.column_stack((began[chosen] + line, ended[chosen] + line)).ravel()
        sums = np.cumsum(np.column_stack((np.zeros(len(line)), amounts[chosen])).ravel())
        at = 1e7 * host + second
        nodes = np.maximum.accumulate(nodes)
        return np.asarray(np.interp(at + 1, nodes, sums) - np.interp(at, nodes, sums))

    def of(values: Floats) -> Floats:
        return np.asarray(values[host, second])

    def also(share: Floats, chance: float, mean: float) -> Floats:
        """A share of each second, as loud as pressures are, and what others add now and then."""
        there = random.random(len(host)) < chance
        other = np.where(there, random.exponential(mean, len(host)), 0.0)
        own = share * np.exp(noise.pressure_spread * random.standard_normal(len(host)))
        return np.asarray(np.minimum(1.0, own + other))

    busy = np.minimum(1.0, spread(ran.began, ran.ended, ran.ended - ran.began))
    images = spread(ran.began, ran.ended, np.ones(len(ran.host)))
    sizes = work.bytes_in[ran.image].astype(float)
    remote = work.remote[ran.image]
    now = ran.host, np.minimum(fetched.astype(int), given.link.shape[1] - 1)
    came = {
        "link": np.where(remote, sizes, 0.0),
        "disk": np.where(remote, 0.0, sizes),
    }
    received, read = (
        spread(fetched - amounts / getattr(given, name)[now], fetched, amounts) / 1e6
        for name, amounts in came.items()
    )
    reading = np.minimum(1.0, read / of(given.disk) * 1e6)

    running = 1 - of(given.blocked)
    cpu_busy = of(given.cpus) * running * busy + of(given.daemons) + of(given.others)
    held = of(given.held) * running * busy**2
    short = np.clip(cluster.demand(noise)[host] - of(given.cpus), 0, 1)
    thrashing = of(given.thrashing) * busy
    waiting = also(0.9 * thrashing, noise.memory_share, noise.memory_wait)
    faults = random.poisson(FAULTS_PER_S * waiting).astype(float)
    swap_in = faults * FAULT_MB
    swap_out = 0.7 * swap_in
    beat = HEARTBEAT_MBS * random.exponential(1.0, (2, len(host)))
    columns = {
        "host": pa.array(cluster.names).take(pa.array(host)),
        "at": EPOCH + second + 1 + 0.002 * random.random(len(host)),
        "source": pa.array(["cgroup" if cluster.lab else "machine"] * len(host)),
        "cpu_busy": cpu_busy * np.exp(0.01 * random.standard_normal(len(host))),
        "cpu_steal": np.zeros(len(host)),
        # As the sampler reckons it: of the CPUs that were asked for.
        "throttled": np.minimum(1.0, held / np.maximum(1.0, held + cpu_busy)),
        "psi_cpu": also(busy * running * (0.1 + 0.8 * short), 0.0, 0.0),
        "psi_io": also(np.maximum(reading, waiting), noise.io_share, noise.io_wait),
        "psi_memory": waiting,
        "rss_mb": RESIDENT_MB * (1 - 0.4 * thrashing) + random.standard_normal(len(host)),
        "major_faults": faults,
        "swap_in": swap_in,
        "swap_out": swap_out,
        "disk_read_mbs": read + swap_in,
        "disk_write_mbs": RESULT_MB * images + swap_out,
        "disk_await_ms": AWAIT_MS / (1 - np.minimum(0.95, np.maximum(reading, thrashing))),
        "net_rx_mbs": received + beat[0],
        "net_tx_mbs": RESULT_MB * images + beat[1],
        "mhz": MHZ * np.exp(0.01 * random.standard_normal(len(host))),
    }
    if cluster.lab:
        columns |= dict.fromkeys(MACHINE_ONLY, pa.nulls(len(host), pa.float64()))
    fields = [pa.array(columns[field.name]).cast(field.type) for field in HOST_SCHEMA]
    return pa.table(fields, schema=HOST_SCHEMA).filter(pa.array(running > 0))
