"""How much longer a host takes for an image than its peers, and how sure that is."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from job.stragglers.work import (
    STAGES,
    Floats,
    groups,
    image_rows,
    median,
    stage_ms,
    warm,
    work_ms,
)

SLOW_FACTOR = 1.15
SLOW_AT_LEAST = 1.05
"""A host is slow if its factor exceeds the first and the interval's lower end the second."""

MIN_IMAGES = 6
"""The range of n values covers their median with 1 - 2 x 0.5^n: six are the fewest for 95 %."""

DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Factor:
    """How many times as long as its peers a host takes; ``low`` and ``high`` bound it at 95 %.

    All three are None where there is nothing to compare.
    """

    host: str
    factor: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.factor is None) != (self.low is None) or (self.low is None) != (self.high is None):
            raise ValueError(f"{self.host}: a factor comes with both ends of its interval")

    @property
    def slow(self) -> bool:
        """Slower than its peers beyond doubt."""
        return self.suspect and self.low is not None and self.low > SLOW_AT_LEAST

    @property
    def suspect(self) -> bool:
        """Slower than its peers, surely or not."""
        return self.factor is not None and self.factor > SLOW_FACTOR


@dataclass(frozen=True, kw_only=True)
class HostFactor(Factor):
    """One host against its peers, by its images.

    ``factor`` is its median work per image over the median of the other hosts' medians; None for
    one host alone, or fewer than ``MIN_IMAGES`` images. ``stage`` holds most of the extra time of
    a slow host.
    """

    images: int
    stage: str | None = None


def compare_hosts(timings: pa.Table, *, seed: int = 0) -> tuple[HostFactor, ...]:
    """Every host that finished an image, by name, against the median of the others.

    Medians of log work over images outside warm-up, the interval by bootstrap over images. Times
    are per image, so hosts are comparable only where they keep equally many requests in flight.
    """
    rows = image_rows(timings)
    work = work_ms(rows)
    stages = stage_ms(rows)
    usable = warm(rows) & (work > 0)
    by_host = {host: indices[usable[indices]] for (host,), indices in groups(rows, "host").items()}
    judged = [host for host, indices in by_host.items() if len(indices) >= MIN_IMAGES]
    counted = {
        host: HostFactor(host=host, images=len(indices)) for host, indices in by_host.items()
    }
    if len(judged) < 2:
        return tuple(counted.values())

    logs = [np.sort(np.log(work[by_host[host]])) for host in judged]
    factors = np.exp(against_others(np.array([[np.median(log) for log in logs]])))[0]
    low, high = np.percentile(
        np.exp(against_others(bootstrap_medians(logs, seed=seed))), [2.5, 97.5], axis=0
    )
    extra = _extra_per_stage([stages[by_host[host]] for host in judged])
    for number, host in enumerate(judged):
        measured = not np.isnan(extra[number]).all()
        counted[host] = HostFactor(
            host=host,
            images=len(logs[number]),
            factor=float(factors[number]),
            low=float(low[number]),
            high=float(high[number]),
            stage=STAGES[int(np.nanargmax(extra[number]))] if measured else None,
        )
    return tuple(counted.values())


def bootstrap_medians(samples: list[Floats], *, seed: int) -> Floats:
    """Medians [draws, samples] of resampled sorted ``samples``, without drawing the resamples.

    A resample of n values takes the values at floor(n u) for n uniform u, and the median of the u
    follows Beta((n + 1) / 2, (n + 1) / 2) (Maritz and Jarrett 1978; exact for odd n).
    """
    random = np.random.default_rng(seed)
    medians = np.empty((DRAWS, len(samples)))
    for number, sample in enumerate(samples):
        n = len(sample)
        rank = (random.beta((n + 1) / 2, (n + 1) / 2, size=DRAWS) * n).astype(np.int64)
        medians[:, number] = sample[np.minimum(rank, n - 1)]
    return medians


def against_others(values: Floats) -> Floats:
    """Each value [draws, hosts], a log, minus the median of the other hosts' values in its draw."""
    order = np.argsort(values, axis=1)
    rank = np.argsort(order, axis=1)
    ascending = np.take_along_axis(values, order, axis=1)
    others = values.shape[1] - 1
    # Without the value itself, place i of the others is place i, or i + 1 from its own rank on.
    middles = [
        np.take_along_axis(ascending, place + (place >= rank), axis=1)
        for place in ((others - 1) // 2, others // 2)
    ]
    return values - (middles[0] + middles[1]) / 2


def _extra_per_stage(stages: list[Floats]) -> Floats:
    """Milliseconds [hosts, stages] a host's median image takes longer than its peers'.

    NaN for a stage that the host, or half of its peers, did not measure.
    """
    medians = np.array([[median(column) for column in host.T] for host in stages])
    return against_others(medians.T).T  # NaN sorts last
