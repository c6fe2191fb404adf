"""Noise as recorded runs had it, in the place of what was chosen by judgement."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.bench.stragglers.noise import CPU_STAGES, USUAL, Noise
from job.errors import UsageError
from job.stragglers.work import Floats, ended_at, groups, image_rows, numbers, warm

WINDOW_S = 10.0
"""Drift is seen in the medians of so many seconds."""

TAIL_FROM = 4.0
"""An image is of the tail if it costs so many spreads more than it looks."""

MOST_TAIL = 0.1
"""What is more frequent is no tail, whatever its far end says."""

HICCUP = 0.3
"""A host stood still in a second if it computed by so much less than it usually does."""

LOUD = 0.02
"""Something else waited in a second in which a pressure is above this."""

MAD = 1.4826
"""A normal distribution's spread over its median absolute deviation."""

_OF_STAGE = {name: at for at, name in enumerate(CPU_STAGES)}
Fields = dict[str, Any]


def fit_noise(timings: pa.Table, samples: pa.Table) -> Noise:
    """The noise of a real run without faults, from its timing rows and its hosts' samples.

    It takes hosts without a slow link, some minutes long, that infer with one thread a stream:
    stages are then in proportion to their CPU time. What a run cannot tell stays as in
    ``noise.USUAL``: start-up, what a task's end costs, speeds of links and disks, what a probe errs
    by; and whatever does not vary in it, such as the pixels of images of one size.

    Raises:
        UsageError: there are fewer than 30 images outside warm-up with a time for each stage.
    """
    rows = image_rows(timings)
    stages = np.column_stack([numbers(rows, f"{name}_ms") for name in CPU_STAGES])
    usable = warm(rows) & (stages > 0).all(axis=1)
    if usable.sum() < 30:
        raise UsageError("fewer than 30 images have a time for each stage: record a longer run")
    rows, stages = rows.filter(pa.array(usable)), stages[usable]
    hosts = [indices for indices in groups(rows, "host").values() if len(indices) > 1]

    images = _images(rows, stages)
    cpu_s = float(np.nanmean(numbers(rows, "cpu_ms"))) / 1e3
    found = dataclasses.replace(USUAL, cpu_s=cpu_s, warmup=_warmup(timings), **images)
    residuals = np.log(stages.sum(axis=1) / _expected(rows, found))
    for own in hosts:
        residuals[own] -= np.median(residuals[own])
    stretch = float(np.median(stages.sum(axis=1))) / 1e3 / cpu_s
    sizes = float(np.nansum(numbers(rows, "bytes_in"))) / 1e6
    received = float(np.nansum(numbers(samples, "net_rx_mbs")))
    return dataclasses.replace(
        found,
        fetch_ms=float(np.nanmedian(numbers(rows, "fetch_ms"))) / stretch,
        emit_ms=float(np.nanmedian(numbers(rows, "emit_ms"))) / stretch,
        remote_share=min(1.0, received / sizes) if sizes else USUAL.remote_share,
        **_spreads(rows, stages, residuals, hosts, found),
        **_drifts(rows, residuals, hosts),
        **_hosts(rows, samples, found),
        **_pressures(samples),
    )


def _warmup(timings: pa.Table) -> float:
    """How much longer the first inference of a lane takes than the host's next ten."""
    timings = timings.sort_by("started_at")
    infer, later = numbers(timings, "infer_ms"), warm(timings)
    ratios = [
        infer[own][~later[own]] / np.median(infer[own][later[own]][:10])
        for own in groups(timings, "host").values()
        if later[own].any()
    ]
    first = np.concatenate(ratios)
    return float(np.nanmedian(first)) if len(first) else USUAL.warmup


def _images(rows: pa.Table, stages: Floats) -> Fields:
    """What images look like, and what of their cost that explains.

    Stages are taken relative to inference, which is the same for all images: so neither hosts nor
    drift nor what is unexplained disturb.
    """
    medians = np.median(stages / stages.sum(axis=1, keepdims=True), axis=0)
    pixels, detections = numbers(rows, "pixels"), numbers(rows, "detections")
    sizes = np.log(numbers(rows, "bytes_in"))
    relative = stages / stages[:, [_OF_STAGE["infer"]]]
    found: Fields = {
        "shares": tuple((medians / medians.sum()).tolist()),
        "bytes_median": float(np.exp(np.median(sizes))),
        "bytes_spread": float(sizes.std()),
        "pixels_median": float(np.median(pixels)),
        "detections_mean": float(detections.mean()),
    }
    if np.log(pixels).std() > 0.01:
        decode = np.log(relative[:, _OF_STAGE["decode"]])
        found["pixels_power"] = float(np.polyfit(np.log(pixels), decode, 1)[0])
    if detections.std() > 0:
        slope, rest = np.polyfit(detections, relative[:, _OF_STAGE["postprocess"]], 1)
        of_objects = slope * detections.mean()
        found["detections_weight"] = float(np.clip(of_objects / (of_objects + rest), 0, 1))
    return found


def _expected(rows: pa.Table, noise: Noise) -> Floats:
    """What each image should cost by its looks [rows], in usual images."""
    grown = np.tile(np.array(noise.shares), (rows.num_rows, 1))
    pixels = numbers(rows, "pixels") / noise.pixels_median
    objects = numbers(rows, "detections") / noise.detections_mean
    grown[:, _OF_STAGE["decode"]] *= pixels**noise.pixels_power
    grown[:, _OF_STAGE["postprocess"]] *= 1 + noise.detections_weight * (objects - 1)
    return np.asarray(grown.sum(axis=1))


def _spreads(
    rows: pa.Table,
    stages: Floats,
    residuals: Floats,
    hosts: list[npt.NDArray[np.int64]],
    noise: Noise,
) -> Fields:
    """From one image to the next, so that drift does not count."""
    preprocess, infer = (np.log(stages[:, _OF_STAGE[name]]) for name in ("preprocess", "infer"))
    starts = numbers(rows, "started_at")
    in_order = [own[np.argsort(starts[own], kind="stable")] for own in hosts]
    # Neither of the two changes with what an image looks like; each of two images has both.
    stage = _spread(np.concatenate([np.diff((infer - preprocess)[own]) for own in in_order])) / 2
    both = _spread(np.concatenate([np.diff(residuals[own]) for own in in_order])) / np.sqrt(2)
    shared = stage**2 * float(np.square(noise.shares).sum())
    unexplained = float(np.sqrt(max(both**2 - shared, 0.0)))
    bound = TAIL_FROM * both
    alone = np.concatenate([residuals[own] - _around(residuals[own]) for own in in_order])
    excess = alone[alone > bound] - bound
    tail_log = float(excess.mean()) if len(excess) else USUAL.tail_log
    # The rest of an exponential is like the whole: by that much more are below the bound.
    share = len(excess) / len(alone) * float(np.exp(bound / tail_log))
    return {
        "stage_spread": stage,
        "unexplained": unexplained,
        "tail_log": tail_log,
        "tail_share": min(share, MOST_TAIL),
    }


def _around(values: Floats, images: int = 11) -> Floats:
    """The median of so many IMAGES around each of VALUES, in order."""
    padded = np.pad(values, images // 2, mode="reflect" if len(values) > images else "edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, images), axis=1))


def _drifts(rows: pa.Table, residuals: Floats, hosts: list[npt.NDArray[np.int64]]) -> Fields:
    """Of hosts, and of all of them together, as AR(1): variance, and covariance a window later."""
    at = ended_at(rows)
    window = ((at - at.min()) // WINDOW_S).astype(int)
    medians = np.full((len(hosts), window.max() + 1), np.nan)
    for host, own in enumerate(hosts):
        for number in np.unique(window[own]):
            there = own[window[own] == number]
            if len(there) > 4:
                medians[host, number] = -np.median(residuals[there])
    medians = medians[:, ~np.isnan(medians).any(axis=0)]
    if medians.shape[1] < 6:
        return {}
    shared = medians.mean(axis=0)
    alone = medians - shared
    lasting = _lasting(alone) if len(hosts) > 1 else (0.0, USUAL.drift_s)
    together = _lasting(shared[np.newaxis])
    freedom = len(hosts) / max(1, len(hosts) - 1)
    own_variance = lasting[0] * freedom
    return {
        "drift": float(np.sqrt(own_variance)),
        "shared_drift": float(np.sqrt(max(0.0, together[0] - own_variance / len(hosts)))),
        "drift_s": together[1] if together[0] > lasting[0] else lasting[1],
    }


def _lasting(series: Floats) -> tuple[float, float]:
    """Variance and correlation time (s) of an AR(1) under white noise, from two covariances."""
    one, two = (float((series[:, :-lag] * series[:, lag:]).mean()) for lag in (1, 2))
    if one <= 0:
        return 0.0, USUAL.drift_s
    kept = float(np.clip(two / one, 0.2, 0.98)) if two > 0 else 0.2
    variance = min(one / kept, float(series.var()))
    return variance, -WINDOW_S / float(np.log(kept))


def _hosts(rows: pa.Table, samples: pa.Table, noise: Noise) -> Fields:
    """How hosts differ, what daemons take, and how often they stand still."""
    cpu_ms = numbers(rows, "cpu_ms") / _expected(rows, noise)
    starts = numbers(rows, "started_at")
    ends = ended_at(rows)
    by_host = groups(rows, "host")
    costs = np.log([np.nanmean(cpu_ms[own]) for own in by_host.values()])
    daemons: list[float] = []
    deficits: list[float] = []
    seconds = 0
    for (host,), own in by_host.items():
        sampled = samples.filter(pc.equal(samples["host"], host))
        at, busy = numbers(sampled, "at"), numbers(sampled, "cpu_busy")
        began, ended = ends[own].min(), ends[own].max()
        steady = (at > began + 1) & (at < ended)
        if steady.sum() < 10:
            continue
        used = np.nansum(numbers(rows, "cpu_ms")[own]) / 1e3 / (ended - starts[own].min())
        daemons.append(float(np.nanmean(busy[steady]) - used))
        # Where a task ends the host waits for the next one: that is no hiccup.
        tasks = groups(rows.take(pa.array(own)), "task_id").values()
        turns = np.array([ends[own][task].max() for task in tasks])
        steady &= (np.abs(at[:, np.newaxis] - turns) > 2).all(axis=1)
        lacking = 1 - busy[steady] / np.nanmedian(busy)
        deficits += (lacking[lacking > HICCUP] - HICCUP).tolist()
        seconds += int(steady.sum())
    found: Fields = {"host_spread": float(np.std(costs, ddof=1))} if len(costs) > 2 else {}
    if daemons:
        found["daemon_cpus"] = max(0.0, float(np.mean(daemons)))
    if len(deficits) >= 10:
        found["hiccup_s"] = length = float(np.mean(deficits))
        found["hiccup_every_s"] = seconds / len(deficits) * float(np.exp(-HICCUP / length))
    return found


def _pressures(samples: pa.Table) -> Fields:
    """How loud pressures are, and what waits for disk and memory beside the job."""
    found: Fields = {}
    memory = numbers(samples, "psi_memory")
    # A wait for memory is one for the disk, too.
    io = numbers(samples, "psi_io")[~(memory > LOUD)]
    for name, waits in (("io", io), ("memory", memory)):
        waited = waits[~np.isnan(waits)]
        loud = waited[waited > LOUD] - LOUD
        if len(loud) >= 10:
            found[f"{name}_wait"] = mean = float(loud.mean())
            found[f"{name}_share"] = min(1.0, len(loud) / len(waited) * float(np.exp(LOUD / mean)))
    cpu = numbers(samples, "psi_cpu")
    cpu = np.where(cpu > 0, cpu, np.nan)
    # From one heartbeat to the next, which are loud themselves.
    beat = USUAL.heartbeat_s
    steps = [np.log(cpu[own][beat:] / cpu[own][:-beat]) for own in groups(samples, "host").values()]
    steady = np.concatenate(steps) if steps else np.empty(0)
    steady = steady[np.isfinite(steady)]
    if len(steady) >= 10:
        found["pressure_spread"] = _spread(steady) / float(np.sqrt(2))
    return found


def _spread(values: Floats) -> float:
    return MAD * float(np.median(np.abs(values - np.median(values))))
