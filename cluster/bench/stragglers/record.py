"""What a simulated run's run.json says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import Fault
from cluster.bench.stragglers.noise import Noise
from cluster.bench.stragglers.rows import EPOCH, Launch, worker_pid
from job.engines.native import SPARE_LANES
from job.host import HostFacts
from job.phases import Phase, phase
from job.planner import Plan
from job.stragglers.work import Floats

SUBMIT_S, WRITE_S = 8.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """Seconds [hosts] of what comes before a host's first image; how much longer that takes."""

    localise_s: Floats
    executor_s: Floats
    model_load_s: Floats
    first_image: Floats

    @classmethod
    def of(
        cls, cluster: Cluster, faults: Sequence[Fault], *, noise: Noise, random: np.random.Generator
    ) -> "Start":
        """Draw them. A cold host takes its factor longer for all, a slow disk's to load files.

        With part of a CPU an executor starts, and the model loads, so much the longer.
        """
        usual = (noise.localise_s, noise.executor_s, noise.model_load_s)
        logs = noise.start_spread * random.standard_normal((cluster.hosts, 3))
        drawn = np.array(usual) * np.exp(logs)
        drawn[:, 1:] *= np.minimum(cluster.quota, 1.0)[:, np.newaxis] ** -noise.start_power
        localise_s, executor_s, model_load_s = drawn.T.copy()
        first_image = np.ones(cluster.hosts)
        for fault in faults:
            if fault.kind == "cold":
                for each in (localise_s, executor_s, model_load_s, first_image):
                    each[fault.host] *= fault.factor
            elif fault.kind == "disk" and fault.at_start:
                for each in (localise_s, model_load_s):
                    each[fault.host] *= fault.factor
        return cls(
            localise_s=localise_s,
            executor_s=executor_s,
            model_load_s=model_load_s,
            first_image=first_image,
        )


def run_record(
    cluster: Cluster,
    facts: Sequence[HostFacts],
    start: Start,
    order: Plan,
    launches: Sequence[Launch],
) -> dict[str, Any]:
    """run.json as far as an analysis reads it; all executors were awaited."""
    submitted_at = EPOCH - float((start.localise_s + start.executor_s).max())
    phases = [phase("submit", submitted_at - SUBMIT_S, submitted_at)]
    phases += _starts(cluster.names, start, submitted_at)
    first = {launch.host: launch for launch in reversed(launches)}
    last = {launch.host: launch for launch in launches}
    for host in sorted(first):
        name, loaded_at = cluster.names[host], EPOCH + first[host].at
        began, ended = EPOCH + first[host].times.ended[0], EPOCH + last[host].times.ended[-1]
        phases.append(
            phase("first_image", loaded_at, began, host=name, worker_pid=worker_pid(host))
        )
        phases.append(phase("steady", began, ended, host=name))
    ended_at = max(EPOCH + launch.times.ended[-1] for launch in last.values())
    phases.append(phase("write", ended_at, ended_at + WRITE_S))
    images = sum(len(launch.images) - launch.calibrations for launch in launches)
    began_at = submitted_at - SUBMIT_S
    return {
        "schema_version": 1,
        "status": "finished",
        "mode": "yarn",
        "engine": "native",
        "precision": "f32",
        "hosts": [host.to_dict() for host in facts],
        "workers": _workers(cluster, start),
        "plan": {
            "slots": order.slots,
            "partitions": len(order.tasks),
            "images_per_task": order.images_per_task,
            "order": order.order,
            "reasons": list(order.reasons),
        },
        "phases": phases,
        "counts": {"images": images, "done": images, "errors": 0, "missing": 0, "resumed": 0},
        "started_at": began_at,
        "finished_at": ended_at + WRITE_S,
        "seconds": ended_at + WRITE_S - began_at,
        "images_per_second": images / (ended_at - EPOCH),
    }


def _starts(names: Sequence[str], start: Start, submitted_at: float) -> list[Phase]:
    phases = []
    for host, name in enumerate(names):
        localised_at = submitted_at + float(start.localise_s[host])
        came_at = localised_at + float(start.executor_s[host])
        loaded_at = EPOCH + float(start.model_load_s[host])
        phases += [
            phase("localise", submitted_at, localised_at, host=name),
            phase("executor_start", submitted_at, came_at, host=name),
            phase("model_load", EPOCH, loaded_at, host=name, worker_pid=worker_pid(host)),
        ]
    return phases


def _workers(cluster: Cluster, start: Start) -> list[dict[str, Any]]:
    return [
        {
            "threads": int(threads),
            "streams": int(streams),
            "requests": int(streams) + SPARE_LANES,
            "model_load_started_at": EPOCH,
            "model_load_ms": float(seconds) * 1e3,
            "host": name,
            "executor_id": str(host + 1),
            "worker_pid": worker_pid(host),
        }
        for host, (name, threads, streams, seconds) in enumerate(
            zip(cluster.names, cluster.threads, cluster.streams, start.model_load_s, strict=True)
        )
    ]
