"""Runs recorded on real labs with real faults: a file for each, read as trials are.

A trace is a zip of a run's tables and of what an analysis reads of its run.json, with the faults
that were ordered. How slow they made a host is not in it: that is told by the runs without faults
of the same lab, all that there are when traces are read.
"""

import io
import json
import math
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.bench.stragglers.faults import AT_START, CLEAN, HostTruth
from cluster.bench.stragglers.simulator import Run, Trial
from cluster.lab.faults.kinds import Truth
from cluster.lab.faults.skew import COSTLY
from job.errors import UsageError
from job.schemas import HOST_SCHEMA, TIMING_SCHEMA
from job.stragglers import speeds
from job.stragglers.work import Floats, ended_at, groups, image_rows, numbers, warm

VERSION = 1
SUFFIX = ".zip"
TABLES = {"timings": TIMING_SCHEMA, "samples": HOST_SCHEMA}
KEPT = (
    *("schema_version", "status", "mode", "engine", "precision", "hosts", "workers", "plan"),
    *("phases", "counts", "started_at", "finished_at", "seconds", "images_per_second"),
)
"""Of run.json."""

# Epochs take all digits; durations and rates are exact to a ten-thousandth as they are.
EPOCHS = ("started_at", "at")
DECIMALS = 4
BESIDE = 1.15
"""A host is slow by a neighbour of another one from this factor on: clean runs err by less."""
SKEWED = 1.5
"""A host's work is skewed if of its images so many times as many are costly as of all."""
LEAST_IMAGES = 10

# A machine's path, or what only its lab knows.
UNTOLD = ("output", "device")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A recorded run.

    ``lab`` names the lab it ran on, whose runs compare; ``name`` the run among them. ``even``:
    hosts are declared alike. ``ordered`` are its faults, which came before the run was submitted
    (``at`` is None) or once that share of the images was done. The host's speeds are learned from
    the runs that have ``learns``, the first ones of a lab, without faults.
    """

    lab: str
    name: str
    even: bool
    learns: bool
    ordered: tuple[Truth, ...]
    at: float | None
    timings: pa.Table
    samples: pa.Table
    record: Mapping[str, Any]

    @classmethod
    def of_run(cls, path: Path, **fields: Any) -> "Trace":
        """Of a run directory; the other FIELDS are those of the class."""
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        return cls(
            timings=pq.read_table(path / "timings.parquet"),
            samples=pq.read_table(path / "hosts.parquet"),
            record={
                **{name: record[name] for name in KEPT},
                "options": {"speeds": record["options"]["speeds"]},
            },
            **fields,
        )

    @property
    def kind(self) -> str:
        """That of its fault, or ``CLEAN``."""
        return self.ordered[0].kind if self.ordered else CLEAN

    @property
    def skewed_hosts(self) -> list[str]:
        """Those to whose work more than their part of the costly images of a skew came."""
        rows = image_rows(self.timings)
        costly = np.array([str(i).startswith(f"{COSTLY}/") for i in rows["image_id"].to_pylist()])
        hosts = groups(rows, "host")
        return sorted(
            host for (host,), own in hosts.items() if costly[own].mean() > SKEWED * costly.mean()
        )

    def place(self, folder: Path) -> Path:
        """Where it lies in a FOLDER of traces."""
        return folder / self.lab / f"{self.name}{SUFFIX}"

    def write(self, folder: Path) -> Path:
        """Write it into a FOLDER of traces, whole or not at all."""
        path = self.place(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        with zipfile.ZipFile(temporary, "w") as archive:
            for name in TABLES:
                _add(archive, f"{name}.parquet", _dump(getattr(self, name)))
            told = {
                "version": VERSION,
                "even": self.even,
                "learns": self.learns,
                "at": self.at,
                "ordered": [_told(truth) for truth in self.ordered],
                "run": self.record,
            }
            _add(archive, "trace.json", json.dumps(told, indent=1).encode(), zipfile.ZIP_DEFLATED)
        temporary.replace(path)
        return path

    @classmethod
    def read(cls, path: Path) -> "Trace":
        """What ``write`` wrote.

        Raises:
            UsageError: it is no trace, or one of another version.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                told = json.loads(archive.read("trace.json"))
                tables = {
                    name: pq.read_table(io.BytesIO(archive.read(f"{name}.parquet"))).cast(schema)
                    for name, schema in TABLES.items()
                }
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path} is no recorded run: {error}") from error
        if told["version"] != VERSION:
            raise UsageError(
                f"{path} is a recorded run of version {told['version']}, and {VERSION} is read."
            )
        return cls(
            lab=path.parent.name,
            name=path.name.removesuffix(SUFFIX),
            even=told["even"],
            learns=told["learns"],
            ordered=tuple(Truth.parse(row) for row in told["ordered"]),
            at=told["at"],
            record=told["run"],
            **tables,
        )


def files(folder: Path) -> list[Path]:
    """The traces in FOLDER, by lab and name."""
    return sorted(folder.glob(f"*/[!.]*{SUFFIX}"))


def read_all(folder: Path) -> list[Trace]:
    """Raises as ``Trace.read`` does."""
    return [Trace.read(path) for path in files(folder)]


def by_lab(traces: Iterable[Trace]) -> dict[str, list[Trace]]:
    """Runs compare inside a lab."""
    labs: dict[str, list[Trace]] = {}
    for trace in traces:
        labs.setdefault(trace.lab, []).append(trace)
    return labs


def trials(traces: Sequence[Trace]) -> list[Trial]:
    """All TRACES but those that speeds are learned from, with the truth as each lab tells it.

    Raises:
        UsageError: a lab has no run to learn speeds from.
    """
    found = []
    for lab, runs in by_lab(traces).items():
        probed = learned(runs)
        if not probed:
            raise UsageError(f"{lab} has no run without faults to learn its hosts' speeds from.")
        for trace in (trace for trace in runs if not trace.learns):
            found.append(
                Trial(
                    run=Run(
                        timings=trace.timings,
                        samples=trace.samples,
                        record=trace.record,
                        probed=probed,
                    ),
                    truth=truth(trace, [run for run in runs if run.kind == CLEAN]),
                    even=trace.even,
                    clean=trace.kind == CLEAN,
                )
            )
    return found


def learned(traces: Iterable[Trace]) -> dict[str, float]:
    """Images per second of a lab's hosts in those of its runs that are for learning."""
    known = [speeds(trace.timings) for trace in traces if trace.learns]
    hosts = sorted({host for run in known for host in run})
    return {host: float(np.median([run[host] for run in known if host in run])) for host in hosts}


def truth(trace: Trace, clean: Sequence[Trace]) -> dict[str, HostTruth]:
    """What is true of the hosts with faults in TRACE, beside the CLEAN runs of its lab.

    A host's factor is its time per image while the fault lasted over what ``usual_image_s`` says.
    Costly images are no slowness, and neither is a slow start. A neighbour computes beside other
    hosts, too: those that are slow by it are in the truth.
    """
    if trace.kind == "skew":
        return {host: HostTruth(kinds=("skew",), factor=1.0) for host in trace.skewed_hosts}
    found = {}
    for fault in trace.ordered:
        assert fault.host is not None
        span = fault.began, fault.ended or math.inf
        if fault.kind in AT_START:  # it was over before, and what it left stays
            span = -math.inf, math.inf
        # It makes the CPU time of all hosts longer, too.
        everywhere = fault.kind == "cpu-neighbour"
        hosts = set(trace.timings["host"].to_pylist())
        healthy = set() if everywhere else hosts - {fault.host}
        for host in sorted(hosts):
            took = image_s(trace.timings, host, *span)
            factor = took / usual_image_s(trace, clean, host, span, healthy=healthy)
            if host == fault.host or (everywhere and factor >= BESIDE):
                found[host] = HostTruth(
                    kinds=(fault.kind,),
                    factor=1.0 if math.isnan(factor) else factor,
                    since=fault.began if trace.at else None,
                )
    return found


def usual_image_s(
    trace: Trace,
    clean: Sequence[Trace],
    host: str,
    span: tuple[float, float] = (-math.inf, math.inf),
    *,
    healthy: Collection[str] = (),
) -> float:
    """Seconds that an image would take HOST in a SPAN of TRACE without faults; NaN if none tells.

    Of each CLEAN run the same part counts, by images done: they are done in the same order in all.
    The computer that a lab shares is not as fast in one run as in the next: by so much more CPU
    time as an image took the other HEALTHY hosts, more time was usual. The median of all.
    """
    done = _ends(trace.timings)
    first, last = (float((done <= at).mean()) for at in span)
    found = []
    for run in clean:
        ends = _ends(run.timings)
        part = (
            float(np.quantile(ends, first)) if first > 0 else -math.inf,
            float(np.quantile(ends, last)) if last < 1 else math.inf,
        )
        now, then = _cpu_ms(trace.timings, span), _cpu_ms(run.timings, part)
        others = {*healthy} & now.keys() & then.keys() - {host}
        ratios = [now[other] / then[other] for other in others]
        found.append(image_s(run.timings, host, *part) * float(np.mean(ratios or [1.0])))
    known = [seconds for seconds in found if seconds > 0]
    return float(np.median(known)) if known else math.nan


def _cpu_ms(timings: pa.Table, span: tuple[float, float]) -> dict[str, float]:
    """CPU time of an image on each host, of those done in a span outside warm-up."""
    rows = image_rows(timings)
    ends = ended_at(rows)
    took = numbers(rows, "cpu_ms")
    usable = warm(rows) & (took > 0) & (ends > span[0]) & (ends <= span[1])
    took = np.where(usable, took, np.nan)
    return {
        host: float(np.nanmean(took[own]))
        for (host,), own in groups(rows, "host").items()
        if usable[own].sum() >= LEAST_IMAGES
    }


def image_s(
    timings: pa.Table, host: str, since: float = -math.inf, until: float = math.inf
) -> float:
    """Seconds of work that an image took HOST in a span of time; NaN without one.

    Outside warm-up, and without the time in which the host waited for a task. Of an image that was
    done partly within the span, that part counts.
    """
    rows = image_rows(timings)
    timed = warm(rows) & ~np.isnan(numbers(rows, "total_ms"))
    rows = rows.filter(pc.and_(pa.array(timed), pc.equal(rows["host"], host)))
    if not rows.num_rows:
        return math.nan
    ends = ended_at(rows)
    order = np.argsort(ends)
    ends, starts = ends[order], numbers(rows, "started_at")[order]
    tasks, task = np.unique(numbers(rows, "task_id")[order], return_inverse=True)
    first = np.full(len(tasks), math.inf)
    np.minimum.at(first, task, starts)
    begun = first[task]
    begun[1:] = np.maximum(begun[1:], ends[:-1])
    took = ends - begun
    within = np.clip(np.minimum(ends, until) - np.maximum(begun, since), 0, None)
    # Two that ended at once: the second took no time, and counts where it ended.
    inside = ((ends > since) & (ends <= until)).astype(float)
    images = np.divide(within, took, out=inside, where=took > 0).sum()
    return float(within.sum() / images) if images > 0 else math.nan


def _ends(timings: pa.Table) -> Floats:
    """When images were done, in order."""
    rows = image_rows(timings)
    ends = ended_at(rows)
    return np.sort(ends[~np.isnan(ends)])


def _dump(table: pa.Table) -> bytes:
    """As Parquet: floats as short as they are exact, their bytes in an order that packs well."""
    columns, floats = {}, []
    for name in table.column_names:
        column = table[name]
        if pa.types.is_floating(column.type):
            floats.append(name)
            column = pc.round(column, DECIMALS)
            if name not in EPOCHS:
                column = column.cast(pa.float32())
        columns[name] = column
    buffer = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        buffer,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in columns if name not in floats],
        use_byte_stream_split=floats,
    )
    return buffer.getvalue()


def _add(
    archive: zipfile.ZipFile, name: str, content: bytes, compression: int = zipfile.ZIP_STORED
) -> None:
    # Without a time of its own, the same run gives the same file.
    archive.writestr(zipfile.ZipInfo(name), content, compression)


def _told(fault: Truth) -> dict[str, Any]:
    return {name: value for name, value in fault.row().items() if name not in UNTOLD}
