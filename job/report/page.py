"""report.html: one file that opens offline, from the data of report.json alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from job.report import charts
from job.report.cards import cards, remarks, what_if
from job.report.gantt import PHASES, STARTS, Lane, awaited, lanes
from job.report.heat import BOUNDS, LEVELS, heat_maps
from job.report.templates import ROWS, fill
from job.report.worst import split
from job.stragglers import STAGES
from job.stragglers.model import SLOW_FACTOR


def render(data: Mapping[str, Any]) -> str:
    """The page."""
    drawn = lanes(data)
    values = {
        "line": data["verdict"]["text"],
        "cards": cards(data["verdict"]),
        "remarks": remarks(data["verdict"]),
        "what_if": what_if(data["verdict"]["what_if"]),
        "hosts_shown": sorted(data["hosts"], key=lambda host: not host["slow"])[:ROWS],
        "status": _status(data),
        "heat": heat_maps(data),
        "heat_levels": LEVELS,
        "heat_bounds": BOUNDS,
        "lanes": drawn,
        "awaited": awaited(data),
        "lane_columns": _lane_columns(drawn),
        "phases_drawn": _phases_drawn(drawn),
        "evidence_shown": _evidence_shown(data),
        "evidence_columns": _evidence_columns(data),
        "ticks": charts.time_ticks(data["timeline"]["seconds"]),
        "plots": _plots(data),
        "cost": charts.cost_plot(data["image_cost"]),
        "executors_of": _executors_of(data),
        "widest": max((_work(host) for host in data["hosts"]), default=0),
        "longest": max((image["work_ms"] for image in data["slowest"]), default=0),
    }
    return fill("report.html.j2", {**data, **values})


def _status(data: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict's colour and label."""
    state = data["summary"]["status"]
    if data["verdict"]["straggler"]:
        return "bad", "Straggler found"
    if state != "finished":
        return "warn", "Run going on" if state == "running" else f"Run {state}"
    factors = [host["factor"] for host in data["hosts"] if host["factor"] is not None]
    if any(factor > SLOW_FACTOR for factor in factors):
        return "warn", "Not certain"
    if factors:
        return "good", "No straggler"
    return "plain", "Nothing to compare"


def _plots(data: Mapping[str, Any]) -> list[charts.Plot]:
    plots = [
        charts.rate_plot(data) if data["executors"] else None,
        charts.sample_plot(data, "cpu_share", "CPU busy, % of what the host may use", scale=100),
        charts.sample_plot(data, "rss_mb", "Memory in use, GiB", scale=1 / 1024),
    ]
    return [plot for plot in plots if plot]


def _work(host: Mapping[str, Any]) -> float:
    """Length of a host's stage bar in ms."""
    return sum(host["stages_median_ms"][stage] or 0 for stage in STAGES)


def _executors_of(data: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Executors by host, where a host has several: one alone repeats its host's row."""
    by_host: dict[str, list[Mapping[str, Any]]] = {}
    for executor in data["executors"]:
        by_host.setdefault(executor["host"], []).append(executor)
    return {host: executors for host, executors in by_host.items() if len(executors) > 1}


_LANE_COLUMNS = {
    "late_s": "began late",
    "slow_s": "longer for its images",
    "stood_s": "stood still",
    "idle_s": "idle at the end",
    **{name: PHASES[name] for name in STARTS},
}


def _lane_columns(drawn: Sequence[Lane]) -> dict[str, str]:
    """What is known of at least one host: a lane's name for it, and the heading."""
    return {
        name: heading
        for name, heading in _LANE_COLUMNS.items()
        if any(lane.seconds.get(name) is not None for lane in drawn)
    }


def _phases_drawn(drawn: Sequence[Lane]) -> dict[str, str]:
    """Kinds of pieces and their names for the legend."""
    kinds = {piece.kind for lane in drawn for piece in lane.pieces}
    named = {
        **PHASES,
        "silent": "a task, and nothing finished",
        "idle": "idle at the end",
        "found": "found slow or standing still",
    }
    return {kind: name for kind, name in named.items() if kind in kinds}


# Heading, factor and unit of what job.stragglers.evidence measures.
_EVIDENCE_COLUMNS = {
    "throttled": ("throttled", 100, "%"),
    "run_delay": ("run delay", 1000, "ms per CPU s"),
    "psi_cpu": ("CPU pressure", 100, "%"),
    "psi_io": ("I/O pressure", 100, "%"),
    "psi_memory": ("memory pressure", 100, "%"),
    "major_faults": ("major faults", 1, "/s"),
    "network_mbs": ("network", 1, "MB/s"),
    "fetch_ms": ("reading an image", 1, "ms"),
    "gap_s": ("gap in samples", 1, "s"),
    "cpu_busy": ("busy", 1, "CPUs"),
    "cpu_steal": ("stolen", 1, "CPUs"),
    "rss_mb": ("memory", 1, "MiB"),
    "swap_in": ("swap in", 1, "MB/s"),
    "swap_out": ("swap out", 1, "MB/s"),
    "disk_read_mbs": ("disk read", 1, "MB/s"),
    "disk_write_mbs": ("disk write", 1, "MB/s"),
    "disk_await_ms": ("disk await", 1, "ms"),
    "mhz": ("clock", 1, "MHz"),
}


def _evidence_columns(data: Mapping[str, Any]) -> dict[str, tuple[str, float, str]]:
    """What at least one host measured: heading, factor and unit by name."""
    return {
        name: column
        for name, column in _EVIDENCE_COLUMNS.items()
        if any(name in host["readings"] for host in data["evidence"])
    }


def _evidence_shown(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The hosts that have a row in the pictures, in their order, where there is evidence."""
    by_host = {host["host"]: host for host in data["evidence"]}
    return [by_host[host["host"]] for host in split(data)[0] if host["host"] in by_host]
