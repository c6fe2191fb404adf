"""Makes a large event log out of the lines of a real one, with a slow host that is known.

    python -m tests.unit.job.eventlog.large SMALL_LOG TASKS HOSTS STAGES FILE

Each task has its start and its end in the log, as Spark writes them, and so is some 4 kB of text.
"""

import heapq
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SLOW, FACTOR = 1, 1.5
SLOTS = 4


def large(small: Path, *, tasks: int, hosts: int, stages: int, seed: int = 0) -> Iterator[bytes]:
    """Its lines; host-00001 takes ``FACTOR`` times as long."""
    lines = small.read_bytes().splitlines()
    head = [each for each in lines if b"ListenerTask" not in each and b"ListenerStage" not in each]
    yield from head[:-1]
    events = [json.loads(line) for line in lines]
    start, end = (
        next(event for event in events if event["Event"] == f"SparkListenerTask{name}")
        for name in ("Start", "End")
    )
    random = np.random.default_rng(seed)
    number, begin, now = 0, start["Task Info"]["Launch Time"], 0.0
    for stage in range(stages):
        count = tasks // stages
        size = random.lognormal(17, 0.7, count)
        cost = random.lognormal(7, 1) * (size / size.mean()) ** 0.7
        cost *= np.exp(0.3 * np.clip(random.standard_t(3, count) / np.sqrt(3), -5, 5))
        free = [(now, slot) for slot in range(hosts * SLOTS)]
        heapq.heapify(free)
        for index, (ms, read) in enumerate(zip(cost.tolist(), size.tolist(), strict=True)):
            at, slot = free[0]
            host = slot // SLOTS
            run = max(round(ms * (FACTOR if host == SLOW else 1)), 1)
            heapq.heapreplace(free, (at + run + 5, slot))
            info = {"Task ID": number, "Index": index, "Partition ID": index}
            info |= {"Launch Time": begin + round(at), "Host": f"host-{host:05}"}
            info |= {"Executor ID": str(host), "Finish Time": 0}
            yield _line(start | {"Stage ID": stage, "Task Info": start["Task Info"] | info})
            info["Finish Time"] = begin + round(at) + run + 5
            metrics = end["Task Metrics"] | {"Executor Run Time": run, "JVM GC Time": run // 20}
            metrics["Executor CPU Time"] = round(run * 8e5)
            metrics["Input Metrics"] = {"Bytes Read": round(read), "Records Read": 1}
            both = {"Task Info": end["Task Info"] | info, "Task Metrics": metrics}
            yield _line(end | {"Stage ID": stage} | both)
            number += 1
        now = max(at for at, _ in free)
    yield _line(events[-1] | {"Timestamp": begin + round(now)})


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


if __name__ == "__main__":
    source, *counts, target = sys.argv[1:]
    made = dict(zip(("tasks", "hosts", "stages"), map(int, counts), strict=True))
    with Path(target).open("wb") as file:
        file.writelines(line + b"\n" for line in large(Path(source), **made))
