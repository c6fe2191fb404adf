"""Synthetic run directories: a run with known hosts, speeds and troubles."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
                "requests": 4,
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

    The first image of each host is warm-up.
    """
    random = np.random.default_rng(7)
    place = np.arange(images) % len(hosts)
    factor = np.array([(slow or {}).get(host, 1.0) for host in hosts])[place]
    stages = {f"{name}_ms": ms * random.lognormal(0, 0.15, images) for name, ms in STAGE_MS.items()}
    stages["infer_ms"] = STAGE_MS["infer"] * random.lognormal(0, spread, images) * factor
    warmup = np.arange(images) < len(hosts)
    stages["infer_ms"][warmup] *= 5
    started = START + 7.4 + np.sort(random.uniform(0, 31, images))
    columns: dict[str, Any] = {
        **stages,
        "image_id": [f"scenes/image {number:06}.jpg" for number in range(images)],
        "kind": ["image"] * images,
        "host": np.array(hosts)[place],
        "executor_id": place.astype(str),
        "worker_pid": 4000 + place,
        "stage_id": np.zeros(images),
        "task_id": np.arange(images) // 8,
        "attempt": np.zeros(images),
        "partition": np.arange(images) // 8,
        "started_at": started,
        "wait_ms": random.exponential(20, images),
        "total_ms": sum(stages.values()),
        "cpu_ms": stages["infer_ms"] * 3.6,
        "run_delay_ms": random.exponential(2, images),
        "throttled_ms": np.zeros(images),
        "bytes_in": random.integers(40_000, 900_000, images),
        "pixels": random.integers(200_000, 2_000_000, images),
        "detections": random.poisson(6, images),
        "warmup": warmup,
    }
    return pa.table(
        [pa.array(columns[field.name]).cast(field.type) for field in TIMING_SCHEMA],
        schema=TIMING_SCHEMA,
    )


def sample_table(hosts: list[str], seconds: int = 40) -> pa.Table:
    random = np.random.default_rng(8)
    rows = len(hosts) * seconds
    second = np.tile(np.arange(seconds), len(hosts))
    columns: dict[str, Any] = {name: pa.nulls(rows) for name in HOST_SCHEMA.names}
    columns |= {
        "host": np.repeat(hosts, seconds),
        "at": START + second + 1.0,
        "source": ["cgroup"] * rows,
        "cpu_busy": np.where(second > 7, 3.7, 0.9) + random.normal(0, 0.12, rows),
        "throttled": np.abs(random.normal(0, 0.02, rows)),
        "psi_cpu": random.uniform(0, 0.2, rows),
        "rss_mb": 400 + 900 * (1 - np.exp(-second / 8)) + random.normal(0, 12, rows),
        "net_rx_mbs": random.exponential(0.4, rows),
    }
    return pa.table(
        [pa.array(columns[field.name]).cast(field.type) for field in HOST_SCHEMA],
        schema=HOST_SCHEMA,
    )


MakeRun = Callable[..., Path]
MakeTimings = Callable[..., pa.Table]


@pytest.fixture
def make_timings() -> MakeTimings:
    return timing_table


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run directory; the keywords name what differs from a healthy run on one host."""

    def make(
        hosts: list[str] | None = None,
        images: int = 24,
        *,
        name: str = "run",
        slow: Mapping[str, float] | None = None,
        timings: pa.Table | None = None,
        samples: bool = True,
        errors: list[dict[str, str]] | None = None,
        counts: Mapping[str, int] | None = None,
        **changes: Any,
    ) -> Path:
        hosts = hosts or ["laptop"]
        errors = errors or []
        run_dir = tmp_path / name
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
            pq.write_table(sample_table(hosts), run_dir / "hosts.parquet")
        if errors:
            lines = "".join(json.dumps(error) + "\n" for error in errors)
            (run_dir / "errors.jsonl").write_text(lines)
        return run_dir

    return make


@pytest.fixture(scope="session")
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.fail("the report is tested in a real browser: apt-get install chromium")
