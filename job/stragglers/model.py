"""How much longer a host takes for an image than its peers, and how sure that is."""

from dataclasses import dataclass

import numpy as np

from job.stragglers.work import Floats

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
