"""Reading a run directory for its report: whatever is missing or damaged becomes a note."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from job.rundir import RunDirectory
from job.schemas import HOST_SCHEMA, TIMING_SCHEMA

ERRORS_KEPT = 100
MEASURES = tuple(name for name in HOST_SCHEMA.names if name not in ("host", "at", "source"))


@dataclass(frozen=True, kw_only=True)
class RunTables:
    """A run directory in memory; ``errors`` are the first of ``error_stages.total()``."""

    run: dict[str, Any]
    timings: pa.Table
    samples: pa.Table
    errors: tuple[dict[str, str], ...]
    error_stages: Counter[str]
    notes: tuple[str, ...]


def read(run_dir: Path) -> RunTables:
    """Read what there is; raises UsageError where there is no run.json that can be read."""
    run = RunDirectory(run_dir).read()
    notes: list[str] = []
    timings = _table(run_dir / "timings.parquet", TIMING_SCHEMA, notes)
    samples = _table(run_dir / "hosts.parquet", HOST_SCHEMA, notes)
    errors, stages = _errors(run_dir / "errors.jsonl", notes)
    return RunTables(
        run=run,
        timings=timings,
        samples=samples,
        errors=tuple(errors),
        error_stages=stages,
        notes=tuple(notes),
    )


def _table(path: Path, schema: pa.Schema, notes: list[str]) -> pa.Table:
    """The columns of ``schema``, from a file or a folder of parts; a column not there is null."""
    files = sorted(path.glob("[!._]*.parquet")) if path.is_dir() else [path]
    tables, damaged = [], 0
    for file in files:
        try:
            # Not read_table: it takes folder names such as host=a for columns.
            found = pq.ParquetFile(file).read()
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowException):
            damaged += 1
            continue
        tables.append(
            pa.table(
                [
                    found[field.name].cast(field.type, safe=False)
                    if field.name in found.column_names
                    else pa.nulls(found.num_rows, field.type)
                    for field in schema
                ],
                schema=schema,
            )
        )
    if damaged:
        notes.append(f"{path.name}: {damaged} of {len(files)} parts cannot be read: left out.")
    elif not tables:
        notes.append(f"{path.name} is missing: what it would tell is left out.")
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _errors(path: Path, notes: list[str]) -> tuple[list[dict[str, str]], Counter[str]]:
    kept: list[dict[str, str]] = []
    stages: Counter[str] = Counter()
    if not path.exists():
        return kept, stages
    damaged = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                found = json.loads(line)
                error = {name: str(found[name]) for name in ("image", "stage", "message")}
            except (ValueError, KeyError, TypeError):
                damaged += 1
                continue
            stages[error["stage"]] += 1
            if len(kept) < ERRORS_KEPT:
                kept.append(error)
    if damaged:
        notes.append(f"{path.name}: {damaged} lines cannot be read and are left out.")
    return kept, stages
