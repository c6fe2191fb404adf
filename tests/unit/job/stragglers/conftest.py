"""Synthetic timing rows: hosts of known speed and noise."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.schemas import TIMING_SCHEMA

STAGE_MS = {
    "fetch": 1.0,
    "decode": 8.0,
    "preprocess": 4.0,
    "infer": 80.0,
    "postprocess": 6.0,
    "emit": 1.0,
}
"""100 ms in all."""

Rows = list[dict[str, Any]]
MakeRows = Callable[..., Rows]
MakeTable = Callable[[Rows], pa.Table]


@pytest.fixture
def host_rows() -> MakeRows:
    """Rows of one host whose images follow one another.

    ``slowdown`` multiplies every stage, or those it names; ``noise`` is the spread of the log of an
    image's cost; ``tail`` is the share of images that cost 20 times as much. Fields in ``changes``
    replace the row's.
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
