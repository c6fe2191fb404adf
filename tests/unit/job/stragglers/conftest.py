"""Synthetic timing rows and task attempts: hosts of known speed and noise."""

import heapq
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.schemas import TIMING_SCHEMA
from job.stragglers.attempts import TASKS

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


Simulate = Callable[..., pa.Table]


@pytest.fixture
def simulate() -> Simulate:
    """Attempts of an application whose tasks are pulled by the slots of equal or unequal hosts.

    ``slow`` are factors by host number (hosts are named host-0000 and so on). Task times have
    heavy tails (Student's t with 3 degrees of freedom, ``spread`` wide, in logs; ``tail`` of the
    tasks take 10 times as long), a stage its own level, an elasticity to the bytes read, and a
    host its own luck in each stage (``luck``, in logs). First tasks of a slot take 2 s more.
    """

    def make(
        hosts: int,
        tasks: int,
        *,
        stages: int = 3,
        slow: Mapping[int, float] | None = None,
        spread: float = 0.3,
        tail: float = 0.02,
        luck: float = 0.03,
        slots: int = 2,
        seed: int = 0,
    ) -> pa.Table:
        random = np.random.default_rng(seed)
        pace = np.ones(hosts)
        for host, factor in (slow or {}).items():
            pace[host] = factor
        rows: dict[str, list[Any]] = {name: [] for name in TASKS.names}
        begin = 1_760_000_000.0
        for stage in range(stages):
            count = hosts * tasks // stages
            size, elasticity = random.lognormal(0, 0.8, count), random.uniform(0, 1)
            cost = np.exp(random.normal(1, 1)) * size**elasticity
            cost *= np.exp(spread * random.standard_t(3, count) / np.sqrt(3))
            cost[random.random(count) < tail] *= 10
            lucky = np.exp(luck * random.standard_normal(hosts))
            free = [(1e-3 * random.random(), slot) for slot in range(hosts * slots)]
            heapq.heapify(free)
            for number in range(count):
                at, slot = free[0]
                host = slot // slots
                run = cost[number] * pace[host] * lucky[host]
                run += 2.0 if stage == 0 and number < hosts * slots else 0.0
                heapq.heapreplace(free, (at + run + 0.01, slot))
                row = dict.fromkeys(TASKS.names) | {
                    "stage": stage,
                    "stage_attempt": 0,
                    "task": len(rows["task"]),
                    "partition": number,
                    "attempt": 0,
                    "speculative": False,
                    "host": f"host-{host:04}",
                    "executor": str(host),
                    "launched": begin + at,
                    "finished": begin + (at + run + 0.01),
                    "status": "success",
                    "run_ms": float(round(1000 * run)),
                    "input_bytes": size[number] * 1e7,
                }
                for name, value in row.items():
                    rows[name].append(value)
            begin += max(at for at, _ in free)
        return pa.table(rows, schema=TASKS)

    return make
