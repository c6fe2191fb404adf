"""Simulated clusters, and how often the comparison of hosts by their tasks is right about them.

python -m tests.unit.job.stragglers.simulated SEEDS
"""

import heapq
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from job.stragglers.attempts import EXECUTORS, TASKS, Attempts
from job.stragglers.tasks import Comparison

# Hosts, tasks a host, stages.
SIZES = ((2, 12, 1), (2, 60, 3), (5, 12, 1), (5, 60, 3), (5, 60, 10), (50, 12, 1), (50, 60, 5),
         (500, 12, 1), (500, 60, 5))  # fmt: skip


def simulate(
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
    """Attempts of an application whose tasks are pulled by the slots of equal or unequal hosts.

    ``slow`` are factors by host number (hosts are named host-0000 and so on). Task times have
    heavy tails (Student's t with 3 degrees of freedom, ``spread`` wide, in logs; ``tail`` of the
    tasks take 10 times as long), a stage its own level, an elasticity to the bytes read, and a
    host its own luck in each stage (``luck``, in logs). First tasks of a slot take 2 s more.
    """
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


def _stragglers(table: pa.Table) -> list[str]:
    hosts = Comparison(Attempts(table), EXECUTORS.empty_table()).hosts
    return [host.host for host in hosts if host.straggler]


def rates(hosts: int, tasks: int, stages: int, seeds: int) -> dict[str, float]:
    """Shares of tables with a straggler among equal hosts; and of 1.3x and 2x that were found."""
    told = {"false alarm": 0, "beside a slow host": 0, "1.3x": 0, "2x": 0}
    for seed in range(seeds):
        told["false alarm"] += bool(_stragglers(simulate(hosts, tasks, stages=stages, seed=seed)))
        for name, factor in (("1.3x", 1.3), ("2x", 2.0)):
            slow = simulate(hosts, tasks, stages=stages, slow={1: factor}, seed=10**6 + seed)
            found = _stragglers(slow)
            told[name] += "host-0001" in found
            told["beside a slow host"] += bool(set(found) - {"host-0001"})
    return {name: number / seeds for name, number in told.items()}


if __name__ == "__main__":
    for size in SIZES:
        # As many simulated hosts, up to a point.
        seeds = max(20, int(sys.argv[1]) * 5 // max(size[0], 5))
        told = rates(*size, seeds=seeds)
        print("{} hosts, {} tasks each, {} stages".format(*size), f"({seeds} times): {told}")
