"""Synthetic timing rows: hosts of known speed and noise."""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.schemas import TIMING_SCHEMA
from job.stragglers.lines import Lines
from job.stragglers.work import Floats

STAGE_MS = {
    "fetch": 1.0,
    "decode": 8.0,
    "preprocess": 4.0,
    "infer": 80.0,
    "postprocess": 6.0,
    "emit": 1.0,
}
"""100 ms in all."""


def drawn_lines(
    paces: Floats,
    *,
    slow: Mapping[int, tuple[int, int, float]] | None = None,
    noise: float = 0.15,
    wander: float = 0.02,
    steps: int = 24,
    seed: int = 0,
) -> Lines:
    """Steps of 10 s of hosts that do so many images/s, the ``slow`` ones (first, last, factor).

    One image's time spreads by ``noise`` (log), a host's pace by ``wander`` from step to step. All
    hosts share a computer whose pace wanders, too.
    """
    random = np.random.default_rng(seed)
    hosts = len(paces)
    pace = np.log(np.repeat(paces[:, np.newaxis], steps, axis=1))
    for host, (first, last, factor) in (slow or {}).items():
        pace[host, first:last] -= math.log(factor)
    pace += 0.1 * np.sin(np.arange(steps) / 4 + seed)
    pace += wander * random.standard_normal(pace.shape)
    pace += noise * random.standard_normal(pace.shape) / np.sqrt(10 * np.exp(pace))
    images = 10 * np.exp(pace)
    counted = {"cpu_ms": 90.0, "run_delay_ms": 5.0, "throttled_ms": 0.0, "fetch_ms": 5.0}
    return Lines(
        hosts=tuple(f"host-{number:02}" for number in range(hosts)),
        edges=1_760_000_000.0 + 10.0 * np.arange(steps + 1),
        busy=np.full(pace.shape, 10.0),
        images=images,
        cost=images,
        counted={name: ms * images for name, ms in counted.items()},
        sampled={},
    )


def waits(ms: float, *, held: bool = False) -> dict[str, float]:
    """Counters of a row: 95 ms on a CPU, and so many waiting for one, ``held`` by the quota."""
    return {"cpu_ms": 95.0, "run_delay_ms": ms, "throttled_ms": ms if held else 0.0}


Rows = list[dict[str, Any]]
MakeRows = Callable[..., Rows]
MakeTable = Callable[[Rows], pa.Table]


@pytest.fixture
def host_rows() -> MakeRows:
    """Rows of one host whose images follow one another.

    ``slowdown`` multiplies every stage, or those it names; ``noise`` is the spread of the log of an
    image's cost; ``tail`` is the share of images that cost 20 times as much. All are of one task,
    the host's own. Fields in ``changes`` replace the row's.
    """

    def make(
        host: str,
        images: int,
        *,
        slowdown: float | Mapping[str, float] = 1.0,
        noise: float = 0.0,
        tail: float = 0.0,
        seed: int = 0,
        **changes: Any,
    ) -> Rows:
        random = np.random.default_rng([seed, *host.encode()])
        cost = np.exp(noise * random.standard_normal(images))
        cost[random.random(images) < tail] *= 20
        rows: Rows = []
        at = 1_760_000_000.0
        for number in range(images):
            row: dict[str, Any] = dict.fromkeys(TIMING_SCHEMA.names)
            for stage, usual in STAGE_MS.items():
                times = slowdown if isinstance(slowdown, float) else slowdown.get(stage, 1.0)
                row[f"{stage}_ms"] = usual * cost[number] * times
            total = sum(row[f"{stage}_ms"] for stage in STAGE_MS)
            row |= {
                "image_id": f"{host}/{number}.jpg",
                "kind": "image",
                "host": host,
                "task_id": zlib.crc32(host.encode()),
                "started_at": at,
                "wait_ms": 5.0,
                "total_ms": total,
                "warmup": False,
            }
            at += total / 1000
            rows.append(row | changes)
        return rows

    return make


@pytest.fixture
def table() -> MakeTable:
    return lambda rows: pa.Table.from_pylist(rows, schema=TIMING_SCHEMA)
