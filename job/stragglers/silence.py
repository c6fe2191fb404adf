"""Hosts that stood still: nothing of theirs moved, not even the sampler."""

import numpy as np
import pyarrow as pa

from job.stragglers.work import Floats, groups, numbers

LEAST_S = 3.5  # a sampler may miss two
TIMES = 3.0  # the usual time between samples
WITH_OTHERS = 0.5  # of the hosts: then it was not the host


def frozen(timings: pa.Table, samples: pa.Table) -> dict[str, Floats]:
    """Stretches [n, 2], epoch s, in which a host that had work left no sample, by host.

    Those in which half of the hosts left none are left out: something else stood still.
    """
    at = numbers(samples, "at")
    starts = numbers(timings, "started_at")
    ends = starts + np.nan_to_num(numbers(timings, "total_ms")) / 1e3
    work = groups(timings, "host")
    found = {}
    for key, rows in groups(samples, "host").items():
        times = np.sort(at[rows][~np.isnan(at[rows])])
        if key not in work or len(times) < 5:
            continue
        apart = np.diff(times)
        gap = max(LEAST_S, TIMES * float(np.median(apart)))
        own = work[key]
        began, ended = np.nanmin(starts[own]), np.nanmax(ends[own])
        long = np.flatnonzero((apart > gap) & (times[1:] > began) & (times[:-1] < ended))
        if len(long):
            # The first second after a sample it was still there, on average half of it.
            found[key[0]] = np.column_stack([times[long], times[long + 1] - np.median(apart)])
    hosts = len(groups(samples, "host"))
    return {
        host: kept
        for host, own in found.items()
        if len(kept := np.array([each for each in own if _alone(each, found, hosts)]))
    }


def _alone(stretch: Floats, found: dict[str, Floats], hosts: int) -> bool:
    middle = stretch.mean()
    still = sum(bool(((o[:, 0] <= middle) & (middle <= o[:, 1])).any()) for o in found.values())
    return hosts < 2 or still <= max(1, WITH_OTHERS * hosts)
