"""What two run directories tell beside one another."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from job.report.build import Report, assemble
from job.report.rounding import rounded
from job.report.source import RunTables, read
from job.stragglers import HostChange, compare_runs
from job.stragglers.wording import STAGE_NAMES, count, duration, significant

SCHEMA_VERSION = 1
NAMED = 3
NOTHING = "No host can be compared, for none has done enough of the same images in both runs"
# What a run was asked and how it was done; secrets are hidden there already.
_ASKED = ("mode", "engine", "precision", "model", "input", "options", "versions", "hosts", "plan")


def compare(first: Path, second: Path) -> dict[str, Any]:
    """The comparison of two run directories, for programs; ``text`` is its line for people.

    Raises UsageError where one holds no run.json that can be read.
    """
    tables = read(first), read(second)
    reports = assemble(tables[0]), assemble(tables[1])
    hosts = compare_runs(tables[0].timings, tables[1].timings)
    return {
        "schema_version": SCHEMA_VERSION,
        "text": _text(reports, hosts),
        "notes": _notes(tables),
        "runs": [
            {"run": str(path), "verdict": report.text, "summary": report.data["summary"]}
            for path, report in zip((first, second), reports, strict=True)
        ],
        "hosts": [
            {
                **asdict(host),
                **{name: _rounded(getattr(host, name)) for name in ("factor", "low", "high")},
                "images_per_second": [_rounded(speed) for speed in host.images_per_second],
                "changed": host.changed,
            }
            for host in hosts
        ],
        "stages": _stages(reports),
        "configuration": list(_differences("", *(_asked(report) for report in reports))),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else rounded(value)


def _text(reports: Sequence[Report], hosts: Sequence[HostChange]) -> str:
    before, after = (report.data["summary"] for report in reports)
    took = (
        f"{count(after['done'], 'image')} in {duration(after['seconds'])}"
        if after["seconds"]
        else ""
    )
    if before["images_per_second"] and after["images_per_second"]:
        ratio = after["images_per_second"] / before["images_per_second"]
        took += f", {significant(after['images_per_second'], 3)} images/s instead of"
        took += f" {significant(before['images_per_second'], 3)} ({ratio:.2f}x)"
    changed = sorted((host for host in hosts if host.changed), key=_size, reverse=True)
    if not changed:
        compared = any(host.factor is not None for host in hosts)
        said = "The hosts are as fast as before" if compared else NOTHING
        return f"{said}; {took}." if took else f"{said}."
    told = [_told(host) for host in changed[:NAMED]]
    if len(changed) > NAMED:
        told.append(f"{len(changed) - NAMED} more")
    return f"{', '.join(told)}; {took}."


def _size(host: HostChange) -> float:
    """How much it changed, either way."""
    assert host.factor is not None
    return max(host.factor, 1 / host.factor)


def _told(host: HostChange) -> str:
    assert host.factor is not None and host.low is not None and host.high is not None
    stage = f", most of it in {STAGE_NAMES[host.stage]}" if host.stage else ""
    return (
        f"{host.host} takes {host.factor:.2f}x as long as before for an image"
        f" (95 % interval {host.low:.2f} to {host.high:.2f}{stage})"
    )


def _notes(tables: Sequence[RunTables]) -> list[str]:
    notes = [note for table in tables for note in table.notes]
    if tables[0].run["input"] != tables[1].run["input"]:
        notes.append("The inputs have different names: hosts are compared on the images of both.")
    if tables[0].run["model"]["digest"] != tables[1].run["model"]["digest"]:
        notes.append("The models differ: times are not those of the same work.")
    return notes


def _stages(reports: Sequence[Report]) -> list[dict[str, Any]]:
    sides = [{row["stage"]: row["median_ms"] for row in r.data["stages"]["rows"]} for r in reports]
    return [{"stage": stage, "median_ms": [sides[0][stage], sides[1][stage]]} for stage in sides[0]]


def _asked(report: Report) -> dict[str, Any]:
    configuration: Mapping[str, Any] = report.data["configuration"]
    asked = {name: configuration[name] for name in _ASKED}
    return asked | {"hosts": {host["host"]: host for host in asked["hosts"]}}


def _differences(name: str, first: Any, second: Any) -> Sequence[dict[str, Any]]:
    """What is not the same, by its path in run.json."""
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            found
            for key in sorted({*first, *second})
            for found in _differences(f"{name}.{key}".lstrip("."), first.get(key), second.get(key))
        ]
    return [] if first == second else [{"name": name, "values": [first, second]}]
