"""Synthetic run directories: a run with known hosts, speeds and troubles."""

import heapq
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import job.report
from job.schemas import HOST_SCHEMA, TIMING_SCHEMA

START = 1_760_000_000.0
STAGE_MS = {
    "fetch": 1.2,
    "decode": 8.0,
    "preprocess": 4.0,
    "infer": 240.0,
    "postprocess": 14.0,
    "emit": 0.4,
}


def run_json(hosts: list[str], **changes: Any) -> dict[str, Any]:
    phases: list[tuple[str, str | None, float, float]]
    phases = [("submit", None, 0.0, 2.1), ("steady", None, 9.0, 30.0), ("write", None, 39.0, 0.8)]
    phases += [("localise", host, 2.1, 1.0) for host in hosts]
    phases += [("executor_start", host, 3.1, 2.4) for host in hosts]
    phases += [("model_load", host, 5.5, 1.9) for host in hosts]
    phases += [("first_image", hosts[0], 7.4, 1.6)]
    run: dict[str, Any] = {
        "schema_version": 1,
        "status": "finished",
        "mode": "local",
        "engine": "native",
        "precision": "f32",
        "precision_asked": "auto",
        "model": {
            "name": "yolact-shapes",
            "digest": "sha256:" + "0" * 64,
            "folder": "models/yolact-shapes",
            "input_size": 288,
            "weights_precision": "fp32",
            "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "star"}],
        },
        "input": "images",
        "options": {
            "executors": None,
            "executor_cores": None,
            "executor_memory_mb": None,
            "queue": None,
            "partitions": None,
            "conf": {"spark.hadoop.fs.s3a.secret.key": "hunter2"},
            "limit": None,
            "overlays": False,
            "flush_seconds": 2.0,
            "instrumentation": True,
        },
        "versions": {
            "product": "0.1.0",
            "python": "3.11.2",
            "java": "17.0.9",
            "spark": "3.5.5",
            "openvino": "2023.3.0",
            "orca": None,
            "numpy": "1.26.4",
        },
        "hosts": [
            {
                "host": host,
                "cpus_visible": 8,
                "cpus_quota": 4.0,
                "memory_mb": 7982,
                "cpu_model": "11th Gen Intel(R) Core(TM) i7-11370H @ 3.30GHz",
                "bf16": False,
            }
            for host in hosts
        ],
        "workers": [
            {
                "host": host,
                "executor_id": str(number),
                "worker_pid": 4000 + number,
                "threads": 4,
                "streams": 2,
                "requests": 2,
                "model_load_started_at": START + 5.5,
                "model_load_ms": 1900.0,
            }
            for number, host in enumerate(hosts)
        ],
        "spark_conf": {"spark.master": "local[1]", "spark.authenticate.secret": "hunter2"},
        "plan": {
            "slots": len(hosts),
            "partitions": 4 * len(hosts),
            "images_per_task": 8,
            "order": "largest first, shuffled inside a cost class",
            "reasons": ["4 tasks a slot, so that the last one is short", "a drain costs 40 ms"],
        },
        "phases": [
            {
                "name": name,
                "host": host,
                "worker_pid": 4000 + hosts.index(host) if host and name == "model_load" else None,
                "started_at": START + at,
                "seconds": seconds,
                "note": None,
            }
            for name, host, at, seconds in phases
        ],
        "counts": {
            "images": 0,
            "done": 0,
            "errors": 0,
            "missing": 0,
            "detections": 0,
            "resumed": 0,
        },
        "started_at": START,
        "finished_at": START + 40.0,
        "seconds": 40.0,
        "images_per_second": None,
    }
    return {**run, **changes}


def timing_table(
    hosts: list[str], images: int, *, slow: Mapping[str, float] | None = None, spread: float = 0.08
) -> pa.Table:
    """``images`` rows dealt over ``hosts``; inference on a host in ``slow`` takes that much longer.

    A quota holds it back. Each host does its images one after the other, in tasks of 8; the first
    is warm-up.
    """
    random = np.random.default_rng(7)
    place = np.arange(images) % len(hosts)
    turn = np.arange(images) // len(hosts)
    factor = np.array([(slow or {}).get(host, 1.0) for host in hosts])[place]
    stages = {f"{name}_ms": ms * random.lognormal(0, 0.15, images) for name, ms in STAGE_MS.items()}
    infer = STAGE_MS["infer"] * random.lognormal(0, spread, images)
    warmup = turn == 0
    stages["infer_ms"] = infer * factor * np.where(warmup, 5, 1)
    took = sum(stages.values())
    started = np.zeros(images)
    for number in range(len(hosts)):
        own = place == number
        started[own] = START + 7.4 + (np.cumsum(took[own]) - took[own]) / 1000
    task = place + len(hosts) * (turn // 8)
    columns: dict[str, Any] = {
        **stages,
        "image_id": [f"scenes/image {number:06}.jpg" for number in range(images)],
        "kind": ["image"] * images,
        "host": np.array(hosts)[place],
        "executor_id": place.astype(str),
        "worker_pid": 4000 + place,
        "stage_id": np.zeros(images),
        "task_id": task,
        "attempt": np.zeros(images),
        "partition": task,
        "started_at": started,
        "wait_ms": random.exponential(20, images),
        "total_ms": took,
        "cpu_ms": infer * 3.6,
        "run_delay_ms": random.exponential(2, images) + infer * (factor - 1),
        "throttled_ms": infer * 0.8 * (factor - 1),
        "bytes_in": random.integers(40_000, 900_000, images),
        "pixels": random.integers(200_000, 2_000_000, images),
        "detections": random.poisson(6, images),
        "warmup": warmup,
    }
    return pa.table(
        [pa.array(columns[field.name]).cast(field.type) for field in TIMING_SCHEMA],
        schema=TIMING_SCHEMA,
    )


def sample_table(
    hosts: list[str], seconds: int = 40, *, slow: Mapping[str, float] | None = None
) -> pa.Table:
    """A second each; hosts that are SLOW get as much less CPU."""
    factor = np.repeat([(slow or {}).get(host, 1.0) for host in hosts], seconds)
    random = np.random.default_rng(8)
    rows = len(hosts) * seconds
    second = np.tile(np.arange(seconds), len(hosts))
    columns: dict[str, Any] = {name: pa.nulls(rows) for name in HOST_SCHEMA.names}
    columns |= {
        "host": np.repeat(hosts, seconds),
        "at": START + second + 1.0,
        "source": ["cgroup"] * rows,
        "cpu_busy": np.where(second > 7, 3.7, 0.9) / factor + random.normal(0, 0.12, rows),
        "throttled": np.abs(random.normal(0, 0.02, rows)),
        "psi_cpu": random.uniform(0, 0.2, rows),
        "rss_mb": 400 + 900 * (1 - np.exp(-second / 8)) + random.normal(0, 12, rows),
        "net_rx_mbs": random.exponential(0.4, rows),
    }
    return pa.table(
        [pa.array(columns[field.name]).cast(field.type) for field in HOST_SCHEMA],
        schema=HOST_SCHEMA,
    )


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is wrong with a host; times in seconds from the run's start."""

    slow: float = 1.0
    slow_from: float = 0.0
    frozen: tuple[float, float] = (0.0, 0.0)
    localise: float = 2.0


HEALTHY = Trouble()


def pulled_tables(
    troubles: Mapping[str, Trouble], tasks: int, images: int
) -> tuple[pa.Table, pa.Table]:
    """Timings and samples of hosts that pull ``tasks`` of ``images`` each, the costliest first."""
    random = np.random.default_rng(9)
    names = list(troubles)
    # When each host is free; its first image is warm-up.
    free = [
        (4.0 + trouble.localise + 2.4 + 1.9, at) for at, trouble in enumerate(troubles.values())
    ]
    begun = dict(zip(names, (at for at, _ in free), strict=True))
    heapq.heapify(free)
    rows: dict[str, list[Any]] = {name: [] for name in TIMING_SCHEMA.names}
    for task in range(tasks):
        at, number = heapq.heappop(free)
        host, trouble = names[number], troubles[names[number]]
        size = 2.0 ** (19 - 3 * task // tasks)
        noise = random.lognormal(0, 0.12, (images, len(STAGE_MS)))
        cost = dict(zip(STAGE_MS, (noise * list(STAGE_MS.values())).T, strict=True))
        cost["decode"] *= size / 2**18
        for image in range(images):
            factor = trouble.slow if at >= trouble.slow_from else 1.0
            warmup = at == begun[host]
            took = {f"{name}_ms": cost[name][image] * factor for name in STAGE_MS}
            took["infer_ms"] *= 5 if warmup else 1
            start, end = at, at + sum(took.values()) / 1000
            begin, thaw = trouble.frozen
            if start < thaw and end > begin:
                took["infer_ms"] += 1000 * (thaw - begin)
            at = start + sum(took.values()) / 1000
            row = (
                dict.fromkeys(rows)
                | took
                | {
                    "image_id": f"scenes/{task * images + image:06}.jpg",
                    "kind": "image",
                    "host": host,
                    "executor_id": str(number),
                    "worker_pid": 4000 + number,
                    "stage_id": 0,
                    "task_id": task,
                    "attempt": 0,
                    "partition": task,
                    "started_at": START + start,
                    "wait_ms": 0.0,
                    "total_ms": sum(took.values()),
                    "cpu_ms": cost["infer"][image] * 3.6,
                    "run_delay_ms": cost["infer"][image] * (0.02 + factor - 1),
                    "throttled_ms": cost["infer"][image] * 0.8 * (factor - 1),
                    "bytes_in": int(size * random.uniform(0.6, 0.99)),
                    "pixels": int(size * 4),
                    "detections": 6,
                    "warmup": warmup,
                }
            )
            for name, values in rows.items():
                values.append(row[name])
        heapq.heappush(free, (at, number))
    timings = pa.table(rows, schema=TIMING_SCHEMA)
    return timings, _sampled(troubles, begun, until=max(at for at, _ in free))


def _sampled(
    troubles: Mapping[str, Trouble], begun: Mapping[str, float], *, until: float
) -> pa.Table:
    random = np.random.default_rng(10)
    parts = []
    for host, trouble in troubles.items():
        second = np.arange(1.0, until)
        begin, thaw = trouble.frozen
        second = second[(second < begin) | (second > thaw)]
        works = second > begun[host]
        slow = works & (second >= trouble.slow_from) & (trouble.slow > 1)
        columns = dict.fromkeys(HOST_SCHEMA.names, pa.nulls(len(second))) | {
            "host": [host] * len(second),
            "at": START + second,
            "source": ["cgroup"] * len(second),
            "cpu_busy": np.where(works, 3.7, 0.2) / np.where(slow, trouble.slow, 1)
            + random.normal(0, 0.05, len(second)),
            "throttled": np.where(slow, 1 - 1 / trouble.slow, 0.0)
            + np.abs(random.normal(0, 0.01, len(second))),
            "psi_cpu": np.where(slow, 0.8, 0.1) * random.uniform(0.8, 1.2, len(second)),
            "psi_io": random.uniform(0, 0.02, len(second)),
            "psi_memory": np.zeros(len(second)),
            "rss_mb": 400 + 900 * works + random.normal(0, 12, len(second)),
            "major_faults": random.exponential(0.2, len(second)),
            "net_rx_mbs": np.where(works, 1.5, 40.0) * random.uniform(0.8, 1.2, len(second)),
            "net_tx_mbs": random.exponential(0.1, len(second)),
        }  # fmt: skip
        parts.append(
            pa.table(
                [pa.array(columns[field.name]).cast(field.type) for field in HOST_SCHEMA],
                schema=HOST_SCHEMA,
            )
        )
    return pa.concat_tables(parts)


def pulled_phases(troubles: Mapping[str, Trouble], timings: pa.Table) -> list[dict[str, Any]]:
    """The phases of such a run: submit, each host's start with what it localised, write."""
    ends = timings["started_at"].to_numpy() + timings["total_ms"].to_numpy() / 1000 - START
    phases: list[tuple[str, str | None, float, float, str | None]]
    phases = [("submit", None, 0.0, 4.0, None), ("write", None, float(ends.max()), 0.8, None)]
    for host, trouble in troubles.items():
        there = 4.0 + trouble.localise
        phases += [
            ("localise", host, 4.0, trouble.localise * 0.9, "environment.tar.gz"),
            ("localise", host, 4.0 + trouble.localise * 0.9, trouble.localise * 0.1, "model.zip"),
            ("executor_start", host, there, 2.4, None),
            ("model_load", host, there + 2.4, 1.9, None),
            ("first_image", host, there + 4.3, 1.3, None),
        ]
    return [
        {
            "name": name,
            "host": host,
            "worker_pid": 4000 if name in ("model_load", "first_image") else None,
            "started_at": START + at,
            "seconds": seconds,
            "note": note,
        }
        for name, host, at, seconds, note in phases
    ]


MakeRun = Callable[..., Path]
MakeTimings = Callable[..., pa.Table]


@pytest.fixture
def make_timings() -> MakeTimings:
    return timing_table


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return partial(write_run, tmp_path)


def write_run(
    folder: Path,
    hosts: list[str] | None = None,
    images: int = 24,
    *,
    name: str = "run",
    slow: Mapping[str, float] | None = None,
    timings: pa.Table | None = None,
    samples: bool | pa.Table = True,
    errors: list[dict[str, str]] | None = None,
    counts: Mapping[str, int] | None = None,
    **changes: Any,
) -> Path:
    """Write a run directory; the keywords name what differs from a healthy run on one host."""
    hosts = hosts or ["laptop"]
    errors = errors or []
    run_dir = folder / name
    run_dir.mkdir()
    table = timing_table(hosts, images, slow=slow) if timings is None else timings
    run = run_json(hosts, **changes)
    run["counts"] |= {
        "images": table.num_rows + len(errors),
        "done": table.num_rows,
        "errors": len(errors),
        "detections": 6 * table.num_rows,
        **(counts or {}),
    }
    (run_dir / "run.json").write_text(json.dumps(run))
    pq.write_table(table, run_dir / "timings.parquet")
    if samples:
        kept = sample_table(hosts, slow=slow) if samples is True else samples
        pq.write_table(kept, run_dir / "hosts.parquet")
    if errors:
        lines = "".join(json.dumps(error) + "\n" for error in errors)
        (run_dir / "errors.jsonl").write_text(lines)
    return run_dir


@pytest.fixture
def make_cluster(tmp_path: Path) -> MakeRun:
    return partial(write_cluster, tmp_path)


def write_cluster(
    folder: Path, hosts: int, *, tasks: int, images: int = 5, name: str = "run", **troubles: Trouble
) -> Path:
    """Write a run of many hosts that pull tasks; the keywords say what is wrong with which host."""
    width = len(str(hosts))
    names = [f"node{number:0{width}}" for number in range(1, hosts + 1)]
    of_host = {host: troubles.get(host, HEALTHY) for host in names}
    timings, samples = pulled_tables(of_host, tasks, images)
    phases = pulled_phases(of_host, timings)
    seconds = max(phase["started_at"] + phase["seconds"] for phase in phases) - START
    return write_run(
        folder,
        names,
        name=name,
        timings=timings,
        samples=samples,
        phases=phases,
        mode="yarn",
        seconds=seconds,
        finished_at=START + seconds,
    )


def palettes() -> dict[str, dict[str, Any]]:
    """The colours of report.css as RGB [3], 0 to 255, by name, in the light and in the dark."""
    css = (Path(job.report.__file__).parent / "report.css").read_text()
    light, dark = (
        {
            name: np.array([int(2 * c if len(c) == 1 else c, 16) for c in parts if c])
            for name, *parts in re.findall(
                r"--(\w+): #(?:([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})|(\w)(\w)(\w))[;\s]", block
            )
        }
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    )
    return {"light": light, "dark": light | dark}


def browser_path() -> str | None:
    """Chromium on PATH, by any of its names."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> str:
    found = browser_path()
    if found is None:
        pytest.fail("the report is tested in a real browser: apt-get install chromium")
    return found
