"""Runs without noise, and what to ask of them."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.bench.stragglers.noise import USUAL
from cluster.bench.stragglers.simulator import Run
from job.stragglers.work import Floats, numbers

QUIET = dataclasses.replace(
    USUAL,
    bytes_spread=0.01,
    unexplained=0.01,
    tail_share=0.0,
    stage_spread=0.01,
    host_spread=0.0,
    probe_error=0.0,
    drift=0.0,
    shared_drift=0.0,
    hiccup_every_s=1e9,
    start_spread=0.0,
    io_share=0.0,
    memory_share=0.0,
    pressure_spread=0.0,
)


def of_host(table: pa.Table, host: str) -> pa.Table:
    return table.filter(pc.equal(table["host"], host))


def mean(table: pa.Table, column: str, host: str) -> float:
    """Over the images of a host outside warm-up, or over its whole seconds."""
    own = of_host(table, host)
    if "warmup" in own.column_names:
        own = own.filter(pc.and_(pc.equal(own["kind"], "image"), pc.invert(own["warmup"])))
    else:
        own = own.slice(1, own.num_rows - 2)
    return float(np.mean(numbers(own, column)))


def images_of(run: Run) -> list[str]:
    rows = run.timings.filter(pc.equal(run.timings["kind"], "image"))
    return [str(image) for image in rows["image_id"].to_pylist()]


def ends(table: pa.Table) -> Floats:
    return numbers(table, "started_at") + numbers(table, "total_ms") / 1e3
