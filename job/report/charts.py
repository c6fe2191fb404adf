"""Numbers to places on the page, in percent of a chart's width and height.

Text stays text and bars stay boxes, so charts fit any width; only curves are SVG.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from job.stragglers import STAGES
from job.stragglers.wording import DASH, STAGE_NAMES, duration, significant
from job.stragglers.work import Floats

HEIGHT = 100  # of a plot's own coordinates, in which y points down
WIDTH = 1000
LINES = 8  # hosts drawn as a line each; beyond, the middle 80 % is a band


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A coloured piece of a bar: ``kind`` names its colour, ``share`` its width in percent."""

    kind: str
    share: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis at ``at`` percent."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """An SVG path: ``kind`` is its class, ``name`` its legend or empty."""

    kind: str
    path: str
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Curves or columns over an axis; ``marks`` are vertical lines."""

    title: str
    curves: tuple[Curve, ...]
    down: tuple[Tick, ...]
    along: tuple[Tick, ...]
    marks: tuple[Tick, ...] = ()


def stage_segments(times: Mapping[str, float | None], *, of: float) -> tuple[Segment, ...]:
    """The stages of a work bar whose full width stands for ``of`` ms."""
    return tuple(
        Segment(
            kind=stage,
            share=100 * (times[stage] or 0) / of,
            title=f"{STAGE_NAMES[stage]} {milliseconds(times[stage])}",
        )
        for stage in STAGES
        if times[stage] and of > 0
    )


def milliseconds(value: float | None) -> str:
    """0.41 ms, 243 ms, 1.25 s; a dash for None."""
    if value is None:
        return DASH
    return f"{significant(value, 3)} ms" if value < 1000 else duration(value / 1000)


def time_ticks(seconds: float) -> tuple[Tick, ...]:
    """About five round times along an axis of ``seconds``."""
    if not seconds:
        return ()
    return tuple(
        Tick(at=min(100 * at / seconds, 100), text=duration(at))
        for at in _round_steps(0, seconds, intervals=5)
    )


def rate_plot(data: Mapping[str, Any]) -> Plot:
    """Images per second over the run, as an area."""
    line = data["timeline"]
    values = np.array(line["images_per_second"], dtype=float)
    top = _top(values)
    # A step holds its rate from its start to its end.
    edges = np.repeat(np.array(line["image_edges_s"]), 2)[1:-1]
    steps = _points(edges, np.repeat(values, 2), length=edges[-1], top=top)
    area = f"M0,{HEIGHT}L{steps[1:]}L{WIDTH},{HEIGHT}Z"
    return Plot(
        title="Images per second",
        curves=(Curve(kind="area", path=area), Curve(kind="line", path=steps)),
        down=_down(top),
        along=time_ticks(line["seconds"]),
    )


def sample_plot(data: Mapping[str, Any], measure: str, title: str, *, scale: float) -> Plot | None:
    """A measure of every host over the run, times ``scale``; None where no host has it."""
    line = data["timeline"]
    rows = {
        host["host"]: np.array(host[measure], dtype=float) * scale
        for host in line["hosts"]
        if any(value is not None for value in host[measure])
    }
    if not rows:
        return None
    top = _top(np.concatenate(list(rows.values())))
    edges = np.array(line["sample_edges_s"])
    middles = (edges[1:] + edges[:-1]) / 2

    def path(values: Floats, *, back: bool = False) -> str:
        known = np.flatnonzero(~np.isnan(values))[:: -1 if back else 1]
        return _points(middles[known], values[known], length=edges[-1], top=top)

    if len(rows) <= LINES:
        curves = [
            Curve(kind=f"host h{number}", path=path(values), name=name)
            for number, (name, values) in enumerate(rows.items())
        ]
    else:
        every = np.array(list(rows.values()))
        known = ~np.isnan(every).all(axis=0)
        low, mid, high = np.full((3, len(middles)), np.nan)
        low[known], mid[known], high[known] = np.nanpercentile(
            every[:, known], [10, 50, 90], axis=0
        )
        band = f"{path(high)}L{path(low, back=True)[1:]}Z"
        curves = [
            Curve(kind="band", path=band, name="middle 80 % of hosts"),
            Curve(kind="line", path=path(mid), name="median host"),
        ]
        slow = [host for host in data["verdict"]["hosts"] if host in rows]
        curves += [
            Curve(kind=f"host h{number + 1}", path=path(rows[host]), name=host)
            for number, host in enumerate(slow[: LINES - 1])
        ]
    return Plot(
        title=title, curves=tuple(curves), down=_down(top), along=time_ticks(line["seconds"])
    )


def cost_plot(cost: Mapping[str, Any]) -> Plot | None:
    """The histogram of work per image; None without images."""
    if not cost["images"]:
        return None
    edges, counts = np.array(cost["edges_ms"]), np.array(cost["counts"], dtype=float)
    low, span, top = edges[0], edges[-1] - edges[0], _top(counts)
    columns = "".join(
        f"M{(left - low) / span * WIDTH:.1f},{HEIGHT}V{HEIGHT - number / top * HEIGHT:.2f}"
        f"H{(right - low) / span * WIDTH:.1f}V{HEIGHT}Z"
        for left, right, number in zip(edges[:-1], edges[1:], counts, strict=True)
        if number
    )
    return Plot(
        title="Images by work",
        curves=(Curve(kind="columns", path=columns),),
        down=_down(top),
        along=tuple(
            Tick(at=100 * (1000 * at - low) / span, text=f"{1000 * at:,.10g} ms")
            for at in _round_steps(low / 1000, edges[-1] / 1000, intervals=6)
        ),
        marks=tuple(
            Tick(at=100 * (cost[f"{name}_ms"] - low) / span, text=name)
            for name in ("median", "p90")
        ),
    )


def _points(x: Floats, y: Floats, *, length: float, top: float) -> str:
    return "M" + "L".join(
        f"{across / length * WIDTH:.1f},{HEIGHT - up / top * HEIGHT:.2f}"
        for across, up in zip(x, y, strict=True)
    )


def _top(values: Floats) -> float:
    """A round number at or above every value."""
    highest = float(np.nanmax(values, initial=0)) if len(values) else 0.0
    if highest <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(highest))
    steps = (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(next(step * power for step in steps if step * power >= highest))


def _down(top: float) -> tuple[Tick, ...]:
    return tuple(Tick(at=100 * (1 - part), text=significant(top * part)) for part in (0, 0.5, 1))


def _round_steps(first: float, last: float, *, intervals: int) -> Sequence[float]:
    """Multiples of a round step, ``intervals`` + 1 at most, from ``first`` to ``last`` seconds."""
    length = last - first
    nice = [factor * 10.0**power for power in range(-6, 2) for factor in (1, 2, 5)]
    nice += [60.0 * minutes for minutes in (1, 2, 5, 10, 15, 30)]
    nice += [3600.0 * hours for hours in (1, 2, 4, 6, 12, 24, 48, 168, 720)]
    step = next((step for step in nice if length / step <= intervals), length)
    numbers = range(ceil(first / step - 1e-9), int(last / step + 1e-9) + 1)
    return [number * step for number in numbers]
