"""What rows and counters say of each host beside its peers: numbers, from which causes are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from job.stragglers.model import MIN_IMAGES
from job.stragglers.work import Floats, ended_at, groups, median, medians, numbers, warm, work_ms

SILENT_IMAGES = 10
SILENT_S = 3.0
"""A host is silent that finishes nothing for as long as these images take it, and these seconds."""

MEDIAN_OF = 3
"""Hosts of which the middle one is what is usual: of two it would lie between them."""

NOISE = 3 * 1.4826  # times the median distance of peers from their median: three sigma
PEERS_WITH_NOISE = 4  # of fewer peers the distance says nothing
SAMPLE_S = 1.0  # a sample describes the second before it
_OF_IMAGES = ("started_at", "total_ms", "run_delay_ms", "cpu_ms", "fetch_ms")
_NAMES = ("host", "source")


@dataclass(frozen=True)
class Measure:
    """Something counted. A difference from the peers up to ``floor``, in its unit, is none.

    Neither is one up to ``share`` of what the peers have, nor, unless ``both``, having less of it.
    """

    name: str
    floor: float
    share: float = 0.5
    both: bool = False


MEASURES = (
    Measure("throttled", 0.05),  # share of the time
    Measure("run_delay", 0.05),  # ms a thread waited for a CPU, per ms it had one
    Measure("psi_cpu", 0.1),  # share of the time
    Measure("psi_io", 0.05),
    Measure("psi_memory", 0.05),
    Measure("major_faults", 5),  # per s
    Measure("network_mbs", 0.2, both=True),  # 10^6 bytes/s, in and out
    Measure("fetch_ms", 2),  # of the median image
    Measure("gap_s", 3),  # the longest time without a sample, beyond the usual one
    Measure("cpu_busy", 0.25, both=True),  # CPUs
    Measure("cpu_steal", 0.05),  # CPUs
    Measure("rss_mb", 256),  # MiB
    Measure("swap_in", 0.5),  # 10^6 bytes/s
    Measure("swap_out", 0.5),
    Measure("disk_read_mbs", 1, both=True),
    Measure("disk_write_mbs", 1, both=True),
    Measure("disk_await_ms", 5),  # ms
    Measure("mhz", 100, share=0.1, both=True),  # MHz
)
"""What ``evidence`` tells, the decisive first; a mean over samples where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A host's ``value`` and the median of the ``peers``, None where none has it.

    ``side`` is where the value lies if it deviates.
    """

    value: float
    peers: float | None
    side: Literal["above", "below"] | None


def evidence(timings: pa.Table, samples: pa.Table) -> dict[str, dict[str, Reading]]:
    """The readings of every host by the names of ``MEASURES``; what was not measured is left out.

    Samples count from a host's first image to its last; where it has none, from and to those of
    all hosts. A value deviates if it differs from the median of the other hosts by more than the
    measure's floor and share, and, beside four peers or more, than three sigma of theirs.
    """
    of_images, of_samples = groups(timings, "host"), groups(samples, "host")
    hosts = sorted({host for (host,) in (*of_images, *of_samples)})
    images = {name: numbers(timings, name) for name in _OF_IMAGES}
    seconds = {name: numbers(samples, name) for name in samples.column_names if name not in _NAMES}
    starts = images["started_at"]
    ends = starts + np.nan_to_num(images["total_ms"]) / 1000
    nothing = np.zeros(0, dtype=np.int64)
    values = np.full((len(hosts), len(MEASURES)), np.nan)
    for row, host in enumerate(hosts):
        own = of_images.get((host,), nothing)
        worked = own[~np.isnan(starts[own])]
        began, ended = (starts[worked], ends[worked]) if len(worked) else (starts, ends)
        sampled = of_samples.get((host,), nothing)
        if not np.isnan(began).all():
            at = seconds["at"][sampled]
            sampled = sampled[(at >= np.nanmin(began)) & (at <= np.nanmax(ended) + SAMPLE_S)]
        told = _of_images({name: column[own] for name, column in images.items()})
        told |= _of_samples({name: column[sampled] for name, column in seconds.items()})
        values[row] = [told[measure.name] for measure in MEASURES]
    return {
        host: {
            measure.name: _reading(measure, values[row, column], np.delete(values[:, column], row))
            for column, measure in enumerate(MEASURES)
            if not np.isnan(values[row, column])
        }
        for row, host in enumerate(hosts)
    }


def _of_images(columns: Mapping[str, Floats]) -> dict[str, float]:
    delay, cpu = columns["run_delay_ms"], columns["cpu_ms"]
    known = ~np.isnan(delay + cpu)
    used = cpu[known].sum()
    return {
        "run_delay": float(delay[known].sum() / used) if used > 0 else np.nan,
        "fetch_ms": median(columns["fetch_ms"]),
    }


def _of_samples(columns: Mapping[str, Floats]) -> dict[str, float]:
    known = {name: column[~np.isnan(column)] for name, column in columns.items()}
    means = {name: float(each.mean()) if len(each) else np.nan for name, each in known.items()}
    apart = np.diff(np.sort(known["at"]))
    return means | {
        "network_mbs": means["net_rx_mbs"] + means["net_tx_mbs"],
        "gap_s": float(apart.max() - np.median(apart)) if len(apart) else np.nan,
    }


def _reading(measure: Measure, value: float, others: Floats) -> Reading:
    others = others[~np.isnan(others)]
    if not len(others):
        return Reading(value=float(value), peers=None, side=None)
    peers = float(np.median(others))
    enough = max(measure.floor, measure.share * peers)
    if len(others) >= PEERS_WITH_NOISE:
        enough = max(enough, NOISE * float(np.median(np.abs(others - peers))))
    side: Literal["above", "below"] | None = None
    if value - peers > enough:
        side = "above"
    elif peers - value > enough and measure.both:
        side = "below"
    return Reading(value=float(value), peers=peers, side=side)


def slowness(timings: pa.Table, classes: Mapping[str, str]) -> Floats:
    """How many times as long each image took as the median host takes for one of its size [rows].

    That is the median of the hosts of one class in ``classes`` (by host) where they are three or
    more, else of all hosts; of two, the other one. Images are of one size if their bytes share a
    power of two, as the planner has it; where those hosts have fewer than ``MIN_IMAGES`` of a size,
    it is compared with all sizes. Times are medians of work outside warm-up, where there is any.
    NaN where an image's work is not known.
    """
    by_host = groups(timings, "host")
    work, usual = work_ms(timings), warm(timings)
    usual = usual if usual.any() else ~usual
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(work > 0, work, np.nan))
        sizes = np.nan_to_num(np.log2(numbers(timings, "bytes_in")), nan=-1, neginf=-1)
    size = np.unique(sizes.astype(np.int64), return_inverse=True)[1]
    count = int(size.max(initial=0)) + 1
    host = np.zeros(timings.num_rows, dtype=np.int64)
    for number, rows in enumerate(by_host.values()):
        host[rows] = number
    counted = usual & ~np.isnan(logs)
    key = host[counted] * count + size[counted]
    shape = len(by_host), count
    of_size = medians(logs[counted], key, len(by_host) * count).reshape(shape)
    images = np.bincount(key, minlength=len(by_host) * count).reshape(shape)
    of_all = medians(logs[counted], host[counted], len(by_host))
    timed = ~np.isnan(of_all)
    kinds = np.array([classes.get(name, "") for (name,) in by_host])
    slower = np.full(timings.num_rows, np.nan)
    for number, rows in enumerate(by_host.values()):
        peers = timed & (kinds == kinds[number])
        if peers.sum() < MEDIAN_OF:
            peers = timed
        if peers.sum() == 2:
            peers = timed & (np.arange(len(timed)) != number)
        whole = median(of_all[peers])
        reference = np.array(
            [
                median(of_size[peers, each]) if images[peers, each].sum() >= MIN_IMAGES else whole
                for each in range(count)
            ]
        )
        slower[rows] = np.exp(logs[rows] - reference[size[rows]])
    return slower


def silences(timings: pa.Table) -> dict[str, Floats]:
    """Stretches [n, 2], epoch s, in which a host had a task and finished no image, by host.

    A stretch counts that lasts for ``SILENT_IMAGES`` of the host's median images and ``SILENT_S``
    seconds. It begins with the image or the task before, and ends with the next image; what a host
    did not finish at all leaves no row and so no stretch.
    """
    starts = numbers(timings, "started_at")
    ends = ended_at(timings)
    begun = np.full(timings.num_rows, np.nan)
    for rows in groups(timings, "host", "task_id").values():
        begun[rows] = np.min(starts[rows])
    found = {}
    for (host,), rows in groups(timings, "host").items():
        known = rows[~np.isnan(ends[rows] + begun[rows])]
        known = known[np.argsort(ends[known], kind="stable")]
        before = np.concatenate(([-np.inf], ends[known]))[:-1]
        stretches = np.column_stack([np.maximum(before, begun[known]), ends[known]])
        least = max(SILENT_S, SILENT_IMAGES * median(ends[known] - starts[known]))
        found[host] = stretches[np.diff(stretches, axis=1)[:, 0] > least]
    return found
