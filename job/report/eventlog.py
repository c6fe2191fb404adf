"""From an application's event log to the data of eventlog.schema.json."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from job.eventlog import EventLog
from job.report.rounding import rounded
from job.stragglers.diagnosis import Diagnosis, diagnose
from job.stragglers.replay import WhatIf
from job.stragglers.tasks import MIN_TASKS, TaskHost
from job.stragglers.wording import count

SCHEMA_VERSION = 1


def assemble(log: EventLog) -> dict[str, Any]:
    """What ``log`` tells: pure."""
    seconds = log.ended - log.started if log.ended and log.started else None
    if seconds is not None and seconds < 0:
        seconds = None  # the driver's clock was set back meanwhile
    found = diagnose(log.tasks, log.executors, seconds=seconds)
    names = {(row["stage"], row["stage_attempt"]): row for row in log.stages.to_pylist()}
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": {
            "kind": found.kind,
            "text": found.text,
            "straggler": found.straggler,
            "hosts": [host.host for host in found.hosts if host.straggler],
        },
        "notes": [*log.notes, *_notes(found)],
        "application": {
            "id": log.id,
            "name": log.name,
            "spark_version": log.version,
            "started_at": log.started,
            "finished_at": log.ended,
            "seconds": _number(seconds),
        },
        "hosts": [_host(host, found) for host in found.hosts],
        "stages": [
            {
                **_rounded(asdict(stage)),
                "name": names.get((stage.stage, stage.attempt), {}).get("name"),
                "failure": names.get((stage.stage, stage.attempt), {}).get("failure"),
                "what_if": _what_if(found.what_if.get(place)),
            }
            for place, stage in enumerate(found.stages)
        ],
    }


def _notes(found: Diagnosis) -> list[str]:
    notes = []
    left = [host.host for host in found.hosts if host.factor is None]
    if left and len(left) < len(found.hosts):
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        notes.append(
            f"Not compared, for want of {MIN_TASKS} tasks in stages that others ran, too: "
            f"{', '.join(left[:5])}{more}."
        )
    lost = sum(host.executors_lost for host in found.hosts)
    failed = sum(host.failed for host in found.hosts)
    if lost or failed:
        notes.append(f"Lost: {count(lost, 'executor')}; failed: {count(failed, 'attempt')}.")
    return notes


def _host(host: TaskHost, found: Diagnosis) -> dict[str, Any]:
    row = asdict(host)
    shares = row.pop("shares")
    cause = found.causes.get(host.host)
    return _rounded(
        {
            **row,
            "slow": host.slow,
            "straggler": host.straggler,
            **{f"{name}_share": share for name, share in shares.items()},
            "cause": {name: getattr(cause, name) for name in ("kind", "text", "action")}
            if cause
            else None,
            "cost_s": found.cost_s.get(host.host),
        }
    )


def _what_if(replay: WhatIf | None) -> dict[str, Any] | None:
    return _rounded(asdict(replay)) if replay else None


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _rounded(value) if isinstance(value, dict) else _number(value)
        for key, value in values.items()
    }


def _number(value: Any) -> Any:
    return rounded(value) if isinstance(value, float) else value
