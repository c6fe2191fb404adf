"""The heat map: a row for each host, columns of time, how long images took beside the peers'.

Runs of one colour are one box, and all boxes of a colour one SVG path: small, in the colours of the
page, light or dark, and sharp at any width. A picture would be smaller, and neither of the others.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from job.report.cards import Marked, stretches
from job.report.worst import Host, losses, silence, split
from job.stragglers.wording import count, duration

# From this many times as long as the peers' on, a cell has the next colour; centred on 1.
BOUNDS = (1 / 3, 1 / 2, 1 / 1.4, 1 / 1.15, 1.15, 1.4, 2, 3)
LEVELS = ("fast4", "fast3", "fast2", "fast1", "usual", "slow1", "slow2", "slow3", "slow4")
GAP = 0.08  # of the height of a row with a name, above and below its cells
THIN = 2  # pixels of a row without a name, where all have room in
TALL = 1000


@dataclass(frozen=True, kw_only=True)
class Area:
    """What a place says; in steps and rows."""

    x: float
    y: int
    width: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Heat:
    """Rows of cells, ``width`` steps wide: a path for each level that occurs.

    ``silent`` is a path along the stretches without an image, ``found`` one around those in which a
    host was found slow or standing still. Rows are thin where ``pixels``, the height of all, is not
    None.
    """

    names: tuple[str, ...]
    width: float
    cells: tuple[tuple[str, str], ...]
    silent: str
    found: str
    areas: tuple[Area, ...]
    pixels: int | None


def level(pace: float) -> str:
    """The colour of a cell in which images took ``pace`` times as long as the peers'."""
    return LEVELS[bisect_right(BOUNDS, pace)]


def heat_maps(data: Mapping[str, Any]) -> tuple[Heat, ...]:
    """One of the hosts with a row each, one of the rest; none where no image was timed."""
    if not any(pace is not None for host in data["progress"]["hosts"] for pace in host["pace"]):
        return ()
    edges = data["progress"]["edges_s"]
    shown, rest = split(data)
    marks = stretches(data)
    return tuple(_heat(hosts, edges, marks, thin=hosts is rest) for hosts in (shown, rest) if hosts)


def _heat(
    hosts: Sequence[Host],
    edges: Sequence[float],
    marks: Mapping[str, Sequence[Marked]],
    *,
    thin: bool,
) -> Heat:
    step, gap = edges[1] - edges[0], 0 if thin else GAP
    places = [*range(len(edges) - 1), round(edges[-1] / step, 3)]
    cells: dict[str, list[str]] = {}
    silent: list[str] = []
    found: list[str] = []
    for row, host in enumerate(hosts):
        box = f",{row + gap:g}H{{}}v{1 - 2 * gap:g}H{{}}z"
        at = 0
        for kind, run in groupby(host["pace"], key=lambda pace: pace and level(pace)):
            start, at = at, at + len(list(run))
            if kind:
                cells.setdefault(kind, []).append(f"M{start}{box.format(places[at], start)}")
        for begin, end in host["silent"]:
            silent.append(f"M{begin / step:.2f},{row + 0.5}H{end / step:.2f}")
        for mark in marks.get(host["host"], ()):
            begin, end = (f"{at / step:.2f}" for at in (mark.begin, mark.end))
            found.append(f"M{begin}{box.format(end, begin)}")
    areas = _thin_areas if thin else _areas
    return Heat(
        names=tuple(host["host"] for host in hosts),
        width=places[-1],
        cells=tuple((kind, "".join(cells[kind])) for kind in LEVELS if kind in cells),
        silent="".join(silent),
        found="".join(found),
        areas=tuple(area for row, host in enumerate(hosts) for area in areas(host, row, edges)),
        pixels=min(THIN * len(hosts), TALL) if thin else None,
    )


def _areas(host: Host, row: int, edges: Sequence[float]) -> Iterator[Area]:
    """Each cell with a colour, and each stretch without an image."""
    step = edges[1] - edges[0]
    for at, (pace, images) in enumerate(zip(host["pace"], host["images"], strict=True)):
        if pace is not None:
            when = f"{duration(edges[at])} to {duration(edges[at + 1])}"
            title = f"{host['host']}, {when}: {pace:.2f}x, {count(images, 'image')} finished"
            yield Area(x=at, y=row, width=(edges[at + 1] - edges[at]) / step, title=title)
    for begin, end in host["silent"]:
        title = silence(host["host"], begin, end)
        yield Area(x=begin / step, y=row, width=(end - begin) / step, title=title)


def _thin_areas(host: Host, row: int, edges: Sequence[float]) -> Iterator[Area]:
    """The whole row."""
    title = f"{host['host']}: {count(sum(host['images']), 'image')}, {losses(host)}"
    yield Area(x=0, y=row, width=edges[-1] / (edges[1] - edges[0]), title=title)
