"""The page of two runs beside one another, from the data of ``compare`` alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import PurePath
from typing import Any

from job.report.templates import ROWS, fill

LEAST = 1.15  # times: the scale of factors reaches that far either way at least


@dataclass(frozen=True, kw_only=True)
class Place:
    """A factor and its interval in percent of a line on which 1 lies at ``one``."""

    one: float
    left: float
    width: float
    middle: float
    changed: bool
    title: str


def render_comparison(changes: Mapping[str, Any]) -> str:
    """The page."""
    # Those that changed most, then those that cannot be compared, are what a reader looks for.
    hosts = sorted(changes["hosts"], key=_order)
    speeds = [speed for host in hosts for speed in host["images_per_second"] if speed is not None]
    stages = [time for row in changes["stages"] for time in row["median_ms"] if time is not None]
    values = {
        "status": _status(hosts),
        "line": changes["text"],
        "run_names": _names(changes),
        "hosts_shown": hosts[:ROWS],
        "places": _places(hosts),
        "fastest": max(speeds, default=0) or 1,
        "longest_stage": max(stages, default=0) or 1,
    }
    return fill("comparison.html.j2", {**changes, **values})


def _status(hosts: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The colour and label above the line."""
    changed = [host["factor"] for host in hosts if host["changed"]]
    if any(factor > 1 for factor in changed):
        return "bad", "Slower than before"
    if changed:
        return "good", "Faster than before"
    if any(host["factor"] is not None for host in hosts):
        return "good", "The hosts are as fast as before"
    return "plain", "Nothing to compare"


def _order(host: Mapping[str, Any]) -> tuple[bool, float, str]:
    return not host["changed"], -abs(log(host["factor"] or 1)), host["host"]


def _names(changes: Mapping[str, Any]) -> list[str]:
    """What the runs are called: their folders, with as much of the path as tells them apart."""
    first, second = (PurePath(run["run"]).parts for run in changes["runs"])
    for length in range(1, max(len(first), len(second)) + 1):
        names = [str(PurePath(*parts[-length:])) for parts in (first, second) if parts]
        if len(set(names)) == 2:
            return names
    return [f"{'/'.join(first[-1:])} {which}" for which in ("before", "after")]


def _places(hosts: Sequence[Mapping[str, Any]]) -> dict[str, Place]:
    """Where each host's factor lies on one scale, by logarithm."""
    known = [host for host in hosts if host["factor"] is not None]
    # The widest intervals of many hosts would leave the others no room.
    low = log(min([1 / LEAST, *(host["low"] for host in known[:ROWS])]))
    high = log(max([LEAST, *(host["high"] for host in known[:ROWS])]))

    def at(factor: float) -> float:
        return 100 * (log(factor) - low) / (high - low)

    return {
        host["host"]: Place(
            one=at(1),
            left=at(host["low"]),
            width=at(host["high"]) - at(host["low"]),
            middle=at(host["factor"]),
            changed=host["changed"],
            title=f"{host['factor']:.2f}x, 95 % interval {host['low']:.2f} to {host['high']:.2f}",
        )
        for host in known[:ROWS]
    }
