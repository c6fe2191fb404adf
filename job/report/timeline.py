"""The run over time, with pauses left out, in equal steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from job.report.rounding import rounded
from job.stragglers.work import Floats, groups, numbers

PAUSE = 60.0  # seconds in which nothing happened anywhere: the run was killed and resumed later
STEPS = 90
_NICE = np.array(
    [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400]
)


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """Epoch seconds on an axis that starts at zero and skips pauses.

    ``segments`` [n, 2] are the stretches in which something happened, in order, apart.
    """

    segments: Floats

    def __post_init__(self) -> None:
        if (np.diff(self.segments.ravel()) < 0).any():
            raise ValueError("segments are in order and apart")

    @classmethod
    def spanning(cls, starts: Floats, ends: Floats) -> "TimeAxis":
        """The axis on which the intervals from ``starts`` to ``ends`` lie; NaN is ignored."""
        known = ~(np.isnan(starts) | np.isnan(ends))
        order = np.argsort(starts[known])
        starts = starts[known][order]
        ends = np.maximum.accumulate(np.maximum(starts, ends[known][order]))
        if not len(starts):
            return cls(segments=np.zeros((1, 2)))
        cuts = np.flatnonzero(starts[1:] - ends[:-1] > PAUSE)
        return cls(
            segments=np.column_stack([starts[np.r_[0, cuts + 1]], ends[np.r_[cuts, len(ends) - 1]]])
        )

    @property
    def _elapsed(self) -> Floats:
        lengths = np.diff(self.segments, axis=1)[:, 0]
        ends = np.cumsum(lengths)
        return np.column_stack([ends - lengths, ends])

    @property
    def seconds(self) -> float:
        """Length of the axis."""
        return float(self._elapsed[-1, 1])

    def at(self, epoch: Floats) -> Floats:
        """Seconds on the axis [n] of ``epoch`` [n]; NaN stays NaN."""
        return np.interp(epoch, self.segments.ravel(), self._elapsed.ravel())

    def pauses(self) -> list[dict[str, float]]:
        """Where the axis was cut, and how much of it."""
        gaps = self.segments[1:, 0] - self.segments[:-1, 1]
        return [
            {"at_s": round(float(at), 3), "seconds": round(float(gap), 3)}
            for at, gap in zip(self._elapsed[:-1, 1], gaps, strict=True)
        ]


def ends_of(timings: pa.Table) -> Floats:
    """Epoch seconds [rows] at which each image was emitted; its start where that is not known."""
    return numbers(timings, "started_at") + np.nan_to_num(numbers(timings, "total_ms")) / 1000


def axis_of(run: dict[str, Any], timings: pa.Table, samples: pa.Table) -> TimeAxis:
    """The axis of a run: its phases, its images and its samples."""
    phases = np.array(
        [[phase["started_at"], phase["started_at"] + (phase["seconds"] or 0)]
         for phase in run["phases"]]
        + [[run["started_at"]] * 2]
        + [[run["finished_at"]] * 2 for _ in range(1) if run["finished_at"] is not None]
    )  # fmt: skip
    sampled = numbers(samples, "at")
    return TimeAxis.spanning(
        np.concatenate([phases[:, 0], numbers(timings, "started_at"), sampled]),
        np.concatenate([phases[:, 1], ends_of(timings), sampled]),
    )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Equal steps along an axis; the last one ends with it, half a step early or late at most."""

    axis: TimeAxis
    step: float  # seconds

    @classmethod
    def within(cls, axis: TimeAxis, *, most: int) -> "Grid":
        """Steps of a round length, ``most`` at most."""
        fitting = _NICE[axis.seconds / most <= _NICE]
        return cls(axis=axis, step=float(fitting[0]) if len(fitting) else axis.seconds / most)

    @property
    def edges(self) -> Floats:
        """Seconds on the axis [steps + 1] at which steps begin and end."""
        # A sliver of a step at the end would turn one image into a peak of the rate.
        inner = np.arange(1, round(self.axis.seconds / self.step)) * self.step
        return np.concatenate([[0.0], inner, [self.axis.seconds or self.step]])

    def places(self, epoch: Floats) -> npt.NDArray[np.int64]:
        """The step [n] in which each moment lies; -1 where the moment is not known."""
        places = np.floor(self.axis.at(epoch) / self.step)
        last = len(self.edges) - 2
        return np.where(np.isnan(places), -1, np.minimum(places, last)).astype(np.int64)

    def rate(self, places: npt.NDArray[np.int64]) -> Floats:
        """Events per second [steps]."""
        lengths = np.diff(self.edges)
        rates: Floats = np.bincount(places[places >= 0], minlength=len(lengths)) / lengths
        return rates

    def means(self, places: npt.NDArray[np.int64], values: Floats) -> Floats:
        """Mean of ``values`` [n] in each step [steps]; NaN where there are none."""
        steps = len(self.edges) - 1
        known = (places >= 0) & ~np.isnan(values)
        counts = np.bincount(places[known], minlength=steps)
        sums = np.bincount(places[known], weights=values[known], minlength=steps)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def timeline(
    axis: TimeAxis, timings: pa.Table, samples: pa.Table, *, cpus: Mapping[str, float]
) -> dict[str, Any]:
    """Images per second, CPU and memory in equal steps along ``axis``, by host.

    ``cpus`` are those a host may use: ``cpu_share`` is the part of them that was busy.
    """
    # Some four images a step where there are many, or the rate would be all noise.
    coarse = Grid.within(axis, most=min(STEPS, max(15, timings.num_rows // 4)))
    fine = Grid.within(axis, most=STEPS)
    done, sampled = coarse.places(ends_of(timings)), fine.places(numbers(samples, "at"))
    cpu, memory = numbers(samples, "cpu_busy"), numbers(samples, "rss_mb")
    of_image, of_sample = groups(timings, "host"), groups(samples, "host")
    nothing = np.zeros(0, dtype=np.int64)
    hosts = []
    for key in sorted({*of_image, *of_sample}):
        rows, seconds = of_image.get(key, nothing), of_sample.get(key, nothing)
        share = fine.means(sampled[seconds], cpu[seconds]) / cpus.get(key[0], np.nan)
        hosts.append(
            {
                "host": key[0],
                "images_per_second": rounded(coarse.rate(done[rows])),
                "cpu_share": rounded(share),
                "rss_mb": rounded(fine.means(sampled[seconds], memory[seconds])),
            }
        )
    return {
        "origin": rounded(float(axis.segments[0, 0])),
        "seconds": rounded(axis.seconds),
        "pauses": axis.pauses(),
        "image_edges_s": rounded(coarse.edges),
        "sample_edges_s": rounded(fine.edges),
        "images_per_second": rounded(coarse.rate(done)),
        "hosts": hosts,
    }
