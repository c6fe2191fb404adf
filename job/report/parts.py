"""The parts of report.json that come from the rows of timings.parquet and hosts.parquet."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from job.report.rounding import rounded
from job.report.source import MEASURES
from job.report.timeline import TimeAxis, ends_of
from job.stragglers import STAGES, Verdict
from job.stragglers.work import Floats, groups, median, numbers, stage_ms, work_ms

SLOWEST = 10
BINS = 30
_OF_IMAGE = ("image_id", "host", "executor_id", "attempt", "bytes_in", "pixels", "detections")


def stages(rows: pa.Table) -> list[dict[str, Any]]:
    """Each stage's times; ``share`` is of the work, so waiting and the total have none."""
    times = {name: numbers(rows, f"{name}_ms") for name in (*STAGES, "wait", "total")}
    measured = {name: values[~np.isnan(values)] for name, values in times.items()}
    means = {name: float(v.mean()) if len(v) else float("nan") for name, v in measured.items()}
    work = np.nansum([means[name] for name in STAGES])
    return [
        {
            "stage": name,
            "measured": len(values),
            "median_ms": rounded(median(values)),
            "p90_ms": rounded(float(np.percentile(values, 90)) if len(values) else np.nan),
            "mean_ms": rounded(means[name]),
            "share": rounded(means[name] / work, digits=5) if name in STAGES and work > 0 else None,
        }
        for name, values in measured.items()
    ]


def rate(rows: pa.Table, axis: TimeAxis) -> float:
    """Images per second between the first start and the last end of ``rows``; NaN for none."""
    starts, ends = axis.at(numbers(rows, "started_at")), axis.at(ends_of(rows))
    if np.isnan(starts).all() or (span := np.nanmax(ends) - np.nanmin(starts)) <= 0:
        return float("nan")
    return float(rows.num_rows / span)


def _medians(rows: pa.Table) -> dict[str, Any]:
    work = work_ms(rows)
    known = work[~np.isnan(work)]
    return {
        "work_median_ms": rounded(median(known)),
        "work_p90_ms": rounded(float(np.percentile(known, 90)) if len(known) else np.nan),
        "stages_median_ms": {
            name: rounded(median(numbers(rows, f"{name}_ms"))) for name in (*STAGES, "wait")
        },
        **{
            f"{name}_median_ms": rounded(median(numbers(rows, f"{name}_ms")))
            for name in ("cpu", "run_delay", "throttled")
        },
    }


def hosts(
    run: dict[str, Any], rows: pa.Table, basis: pa.Table, axis: TimeAxis, found: Verdict
) -> list[dict[str, Any]]:
    """Every host that run.json lists or that finished an image: what it is, did, and takes."""
    declared = {host["host"]: host for host in run["hosts"]}
    workers = Counter(worker["host"] for worker in run["workers"])
    factors = {host.host: host for host in found.hosts}
    indices, measured = groups(rows, "host"), groups(basis, "host")
    nothing = np.zeros(0, dtype=np.int64)
    hosts = []
    for name in sorted({*declared, *(key[0] for key in indices)}):
        factor = factors.get(name)
        own = rows.take(indices.get((name,), nothing))
        machine = declared.get(name, {})
        hosts.append(
            {
                "host": name,
                **{
                    key: machine.get(key)
                    for key in ("cpus_visible", "cpus_quota", "memory_mb", "cpu_model")
                },
                "workers": workers[name],
                "images": own.num_rows,
                "images_per_second": rounded(rate(own, axis)),
                **_medians(basis.take(measured.get((name,), nothing))),
                "slow": factor is not None and factor.slow,
                "factor": rounded(factor.factor, digits=5) if factor and factor.factor else None,
                "factor_low": rounded(factor.low, digits=5) if factor and factor.low else None,
                "factor_high": rounded(factor.high, digits=5) if factor and factor.high else None,
            }
        )
    return hosts


def executors(rows: pa.Table, basis: pa.Table, axis: TimeAxis) -> list[dict[str, Any]]:
    """Every executor that finished an image."""
    measured = groups(basis, "host", "executor_id")
    executors = []
    for key, indices in groups(rows, "host", "executor_id").items():
        own = rows.take(indices)
        executors.append(
            {
                "host": key[0],
                "executor_id": key[1],
                "worker_pids": sorted(own["worker_pid"].drop_null().unique().to_pylist()),
                "images": own.num_rows,
                "images_per_second": rounded(rate(own, axis)),
                **_medians(basis.take(measured.get(key, np.zeros(0, dtype=np.int64)))),
            }
        )
    return executors


def image_cost(work: Floats) -> dict[str, Any]:
    """A histogram of ``work`` [images] in ms; the longest tail is counted in ``above``."""
    work = work[~np.isnan(work)]
    if not len(work):
        return {"images": 0, "median_ms": None, "p90_ms": None, "p99_ms": None,
                "edges_ms": [], "counts": [], "above": 0}  # fmt: skip
    p50, p90, p99 = (float(value) for value in np.percentile(work, [50, 90, 99]))
    edges = _round_edges(float(work.min()), max(p99, p50 * 1.01))
    counts, _ = np.histogram(work, bins=edges)
    return {
        "images": len(work),
        "median_ms": rounded(p50),
        "p90_ms": rounded(p90),
        "p99_ms": rounded(p99),
        "edges_ms": rounded(edges),
        "counts": [int(number) for number in counts],
        "above": int((work > edges[-1]).sum()),
    }


def _round_edges(low: float, high: float) -> Floats:
    """At most ``BINS`` bins from at or below ``low`` to at or above ``high``, of a round width."""
    width = max(high - low, 0.03) / (BINS - 2)  # report.json keeps thousandths
    power = 10.0 ** np.floor(np.log10(width))
    width = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= width)
    first, last = np.floor(low / width), np.ceil(high / width)
    edges: Floats = np.arange(first, max(last, first + 1) + 1) * width
    return edges


def slowest(rows: pa.Table) -> list[dict[str, Any]]:
    """The ``SLOWEST`` images by work, the longest first."""
    work = np.nan_to_num(work_ms(rows), nan=-1)
    top: npt.NDArray[np.int64] = np.argsort(-work, kind="stable")[:SLOWEST]
    top = top[work[top] >= 0]
    stages = stage_ms(rows)
    return [
        {
            **{name: row[name] for name in _OF_IMAGE},
            "work_ms": rounded(float(work[index])),
            "wait_ms": rounded(float(row["wait_ms"])) if row["wait_ms"] is not None else None,
            "total_ms": rounded(float(row["total_ms"])) if row["total_ms"] is not None else None,
            "stages_ms": dict(zip(STAGES, rounded(stages[index]), strict=True)),
        }
        for index, row in zip(top, rows.take(top).to_pylist(), strict=True)
    ]


def samples(table: pa.Table) -> list[dict[str, Any]]:
    """Mean and maximum of what was sampled, by host and source; null where nothing was."""
    at = numbers(table, "at")
    measures = {name: numbers(table, name) for name in MEASURES}
    summarised = []
    for (host, source), indices in groups(table, "host", "source").items():
        summary: dict[str, Any] = {"host": host, "source": source, "samples": len(indices)}
        summary["seconds"] = rounded(float(np.ptp(at[indices])))
        for name, column in measures.items():
            values = column[indices]
            values = values[~np.isnan(values)]
            summary[name] = (
                {"mean": rounded(float(values.mean())), "max": rounded(float(values.max()))}
                if len(values)
                else None
            )
        summarised.append(summary)
    return summarised
