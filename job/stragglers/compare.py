"""Two runs of the same images: which hosts take longer or shorter than before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from job.stragglers.model import (
    MIN_IMAGES,
    SLOW_AT_LEAST,
    SLOW_FACTOR,
    bootstrap_medians,
)
from job.stragglers.pace import speeds
from job.stragglers.work import STAGES, Floats, groups, image_rows, median, stage_ms, warm, work_ms


@dataclass(frozen=True, kw_only=True)
class HostChange:
    """One host in two runs; images per second are those while it had a task, of all its images.

    ``factor`` is its median work per image in the second run over that in the first; ``low`` and
    ``high`` bound it at 95 %. They are None where a run has fewer than ``MIN_IMAGES`` images of it.
    ``stage`` is the one that changed most, where the host has changed.
    """

    host: str
    images: tuple[int, int]
    images_per_second: tuple[float | None, float | None]
    factor: float | None = None
    low: float | None = None
    high: float | None = None
    stage: str | None = None

    @property
    def changed(self) -> bool:
        """Slower or faster than before beyond doubt, as much as would make a straggler."""
        if self.factor is None or self.low is None or self.high is None:
            return False
        slower = self.factor > SLOW_FACTOR and self.low > SLOW_AT_LEAST
        return slower or (self.factor < 1 / SLOW_FACTOR and self.high < 1 / SLOW_AT_LEAST)


def compare_runs(first: pa.Table, second: pa.Table, *, seed: int = 0) -> tuple[HostChange, ...]:
    """Every host of either run's timing rows, by name.

    Only images that both runs have are compared, where there are any.
    """
    rows = [image_rows(first), image_rows(second)]
    hosts = {host for table in rows for (host,) in groups(table, "host")}
    common = pc.unique(
        rows[0]["image_id"].filter(pc.is_in(rows[0]["image_id"], rows[1]["image_id"]))
    )
    if len(common):
        rows = [table.filter(pc.is_in(table["image_id"], common)) for table in rows]
    pace = [speeds(table) for table in (first, second)]
    sides = [_Side.of(table) for table in rows]
    return tuple(
        _change(host, sides, (pace[0].get(host), pace[1].get(host)), seed=seed)
        for host in sorted(hosts)
    )


@dataclass(frozen=True)
class _Side:
    """One run's steady images by host: the log of their work, sorted, and their stages' ms."""

    logs: dict[str, Floats]
    stages: dict[str, Floats]

    @classmethod
    def of(cls, rows: pa.Table) -> "_Side":
        work, stages = work_ms(rows), stage_ms(rows)
        usable = warm(rows) & (work > 0)
        by_host = {host: own[usable[own]] for (host,), own in groups(rows, "host").items()}
        return cls(
            logs={host: np.sort(np.log(work[own])) for host, own in by_host.items()},
            stages={host: stages[own] for host, own in by_host.items()},
        )


def _change(
    host: str,
    sides: Sequence[_Side],
    images_per_second: tuple[float | None, float | None],
    *,
    seed: int,
) -> HostChange:
    logs = [side.logs.get(host, np.empty(0)) for side in sides]
    change = HostChange(
        host=host,
        images=(len(logs[0]), len(logs[1])),
        images_per_second=images_per_second,
    )
    if min(change.images) < MIN_IMAGES:
        return change
    medians = bootstrap_medians(logs, seed=seed)
    low, high = np.percentile(np.exp(medians[:, 1] - medians[:, 0]), [2.5, 97.5])
    factor = float(np.exp(np.median(logs[1]) - np.median(logs[0])))
    change = replace(change, factor=factor, low=float(low), high=float(high))
    if not change.changed:
        return change
    return replace(change, stage=_moved([side.stages[host] for side in sides]))


def _moved(stages: Sequence[Floats]) -> str | None:
    """The stage whose median changed by most ms."""
    before, after = (np.array([median(column) for column in side.T]) for side in stages)
    moved = np.abs(after - before)
    return None if np.isnan(moved).all() else STAGES[int(np.nanargmax(moved))]
