"""From a run directory to the data of report.json."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from job.parts import write_atomically
from job.report import parts
from job.report.findings import findings, what_if
from job.report.page import render
from job.report.progress import progress
from job.report.rounding import rounded
from job.report.source import RunTables, read
from job.report.timeline import TimeAxis, axis_of, timeline
from job.stragglers import Verdict, verdict
from job.stragglers.evidence import evidence
from job.stragglers.wording import count
from job.stragglers.work import image_rows, warm, work_ms

SCHEMA_VERSION = 1
# What Spark hides in its own pages (spark.redaction.regex): a report is passed on.
SECRET = re.compile(r"secret|password|passphrase|token|access[.]?key", re.IGNORECASE)
_MOMENTS = ("started_at", "finished_at")
_CONFIGURATION = (
    "mode", "engine", "precision", "precision_asked", "model", "input", "options", "versions",
    "hosts", "workers", "spark_conf", "plan",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Report:
    """``data`` is report.json, as in report.schema.json; ``verdict`` what its first part is of."""

    verdict: Verdict
    data: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The verdict line, which also says whether the run finished."""
        return str(self.data["verdict"]["text"])


def write(run_dir: Path) -> Report:
    """Write report.json and report.html into ``run_dir``, each whole or not at all.

    Raises UsageError where ``run_dir`` holds no run.json that can be read.
    """
    report = build(run_dir)
    write_atomically(run_dir / "report.html", render(report.data))
    text = json.dumps(report.data, indent=1, allow_nan=False)
    write_atomically(run_dir / "report.json", text + "\n")
    return report


def build(run_dir: Path) -> Report:
    """The report of ``run_dir``, without writing; raises as ``write`` does."""
    return assemble(read(run_dir))


def assemble(tables: RunTables) -> Report:
    """The report of ``tables``: pure."""
    run, counts = tables.run, tables.run["counts"]
    rows = image_rows(tables.timings)
    axis = axis_of(run, rows, tables.samples)
    # A resumed run's images were done in more time than its last part took.
    seconds = axis.seconds if counts["resumed"] else run["seconds"]
    found = verdict(
        tables.timings,
        samples=tables.samples,
        record=run,
        images=counts["done"],
        seconds=seconds,
        failed=counts["errors"] + counts["missing"],
    )
    steady = rows.filter(pa.array(warm(rows)))
    warmup = rows.filter(pa.array(~warm(rows)))
    basis = steady if steady.num_rows else warmup
    hosts = parts.hosts(run, rows, basis, axis, found)
    data = {
        "schema_version": SCHEMA_VERSION,
        "verdict": {
            "text": _unfinished(run) + found.text,
            "straggler": found.straggler,
            "hosts": [host.host for host in found.hosts if host.straggler],
            "findings": findings(found, axis),
            "what_if": what_if(found),
        },
        "notes": _notes(tables, rows, hosts),
        "summary": _summary(run, steady, axis, seconds=seconds, hosts=len(hosts)),
        "stages": {
            "basis": "steady" if steady.num_rows else "warmup",
            "images": basis.num_rows,
            "rows": parts.stages(basis),
            "warmup": {"images": warmup.num_rows, "rows": parts.stages(warmup)},
        },
        "hosts": hosts,
        "executors": parts.executors(rows, basis, axis),
        "phases": _phases(run, axis),
        "progress": progress(run, axis, rows, basis),
        "evidence": _evidence(rows, tables.samples),
        "timeline": timeline(axis, rows, tables.samples, cpus=_cpus(run)),
        "image_cost": parts.image_cost(work_ms(basis)),
        "slowest": parts.slowest(basis),
        "errors": {
            "count": tables.error_stages.total(),
            "stages": dict(tables.error_stages.most_common()),
            "first": list(tables.errors),
        },
        "samples": parts.samples(tables.samples),
        "configuration": {name: _redacted(run[name]) for name in _CONFIGURATION},
    }
    return Report(verdict=found, data=data)


def _unfinished(run: dict[str, Any]) -> str:
    counts = run["counts"]
    state = {
        "running": "This run is still going on, or was killed",
        "incomplete": "This run is incomplete",
        "failed": "This run failed",
    }.get(run["status"])
    if state is None:
        return ""
    left = counts["images"] - counts["done"] - counts["errors"]
    still = f": {left:,} of {count(counts['images'], 'image')} left" if left else ""
    return f"{state}{still}. "


def _notes(tables: RunTables, rows: pa.Table, hosts: Sequence[dict[str, Any]]) -> list[str]:
    notes = list(tables.notes)
    if errors := tables.run["counts"]["errors"]:
        images = count(tables.run["counts"]["images"], "image")
        notes.append(f"{errors:,} of {images} could not be processed: see Errors.")
    if rows.num_rows and not warm(rows).any():
        notes.append("Every image was a first one (warm-up): the times are longer than usual.")
    idle = [host["host"] for host in hosts if rows.num_rows and not host["images"]]
    if idle:
        more = f" and {len(idle) - 5} more" if len(idle) > 5 else ""
        notes.append(f"No image was finished by {', '.join(idle[:5])}{more}.")
    if len({worker["streams"] for worker in tables.run["workers"]}) > 1:
        notes.append(
            "Workers keep unequal numbers of images in flight: compare their images/s too, "
            "not only their time per image."
        )
    return notes


def _summary(
    run: dict[str, Any], steady: pa.Table, axis: TimeAxis, *, seconds: float | None, hosts: int
) -> dict[str, Any]:
    done = run["counts"]["done"]
    first = [
        phase["started_at"] + phase["seconds"] - run["started_at"]
        for phase in run["phases"]
        if phase["name"] == "first_image" and phase["seconds"] is not None
    ]
    return {
        **{
            name: run[name]
            for name in ("status", "mode", "engine", "precision", "input", *_MOMENTS)
        },
        **run["counts"],
        "model": run["model"]["name"],
        "seconds": None if seconds is None else rounded(seconds),
        "images_per_second": rounded(done / seconds) if seconds else None,
        "steady_images_per_second": rounded(parts.rate(steady, axis)),
        "first_image_s": rounded(float(min(first))) if first else None,
        "hosts": hosts,
        "workers": len(run["workers"]),
    }


def _phases(run: dict[str, Any], axis: TimeAxis) -> list[dict[str, Any]]:
    """The phases as run.json holds them, with where they start on the report's axis."""
    starts = axis.at(np.array([float(phase["started_at"]) for phase in run["phases"]]))
    return [
        {**phase, "from_s": rounded(float(start))}
        for phase, start in zip(run["phases"], starts, strict=True)
    ]


def _evidence(rows: pa.Table, samples: pa.Table) -> list[dict[str, Any]]:
    return [
        {
            "host": host,
            "readings": {
                name: {
                    "value": rounded(reading.value),
                    "peers": None if reading.peers is None else rounded(reading.peers),
                    "side": reading.side,
                }
                for name, reading in readings.items()
            },
        }
        for host, readings in evidence(rows, samples).items()
    ]


def _cpus(run: dict[str, Any]) -> dict[str, float]:
    """The CPUs each host may use, where it is known."""
    return {
        host["host"]: cpus
        for host in run["hosts"]
        if (cpus := host["cpus_quota"] or host["cpus_visible"])
    }


def _secret(key: str, text: str) -> bool:
    # Spark looks at values too: JVM options can carry a password (-Dstore.password=...).
    return bool(SECRET.search(f"{key} {text}" if key.startswith("spark.") else key))


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "(hidden)" if isinstance(item, str) and _secret(key, item) else _redacted(item)
            for key, item in value.items()
        }
    return [_redacted(item) for item in value] if isinstance(value, list) else value
