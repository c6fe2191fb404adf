"""The Gantt: a lane for each host, with its start, its tasks and its waiting along wall time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import Any

import numpy as np

from job.report.cards import Marked, stretches
from job.report.worst import LOSSES, Host, silence, split
from job.stragglers.wording import count, duration

# In the order in which they are drawn: an executor starts while its files are localised.
PHASES = {
    "submit": "submit",
    "executor_start": "executor start",
    "localise": "localise",
    "model_load": "model load",
    "steady": "steady",
    "first_image": "first image",
    "write": "write",
}
STARTS = ("localise", "executor_start", "model_load", "first_image")
SHADES = 4  # of steady, by the share of the time with a task

Phase = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a lane: ``left`` and ``width`` in percent, ``shade`` its strength up to 1."""

    kind: str
    left: float
    width: float
    title: str
    shade: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Lane:
    """The run as a whole, a host, or the median of the hosts that have no lane.

    ``seconds`` are what it lost and what its start took, None where that is not known, and empty
    for the run; ``files`` is what was localised.
    """

    name: str
    pieces: tuple[Piece, ...]
    seconds: Mapping[str, float | None]
    files: str = ""


def lanes(data: Mapping[str, Any]) -> tuple[Lane, ...]:
    """The run, every host with a row, and the rest in one; none where nothing was recorded."""
    phases: dict[str | None, list[Phase]] = {}
    for phase in data["phases"]:
        if phase["seconds"] is not None:
            phases.setdefault(phase["host"], []).append(phase)
    shown, rest = split(data)
    draw = _Axis(
        whole=data["timeline"]["seconds"] or 1.0,
        edges=data["progress"]["edges_s"],
        marks=stretches(data),
    )
    run = Lane(
        name="the run",
        pieces=tuple(piece for name in PHASES for piece in draw.phases(name, phases.get(None, ()))),
        seconds={},
    )
    found = [(host, phases.get(host["host"], [])) for host in shown]
    if rest:
        found.append(_median(rest, [phases.get(host["host"], []) for host in rest]))
    hosts = [
        Lane(
            name=host["host"],
            pieces=tuple(draw.host(host, own)),
            seconds=_seconds(host, own),
            files=", ".join(f"{p['note']} {duration(p['seconds'])}" for p in own if p["note"]),
        )
        for host, own in found
    ]
    return (run, *hosts) if run.pieces or any(lane.pieces for lane in hosts) else ()


def awaited(data: Mapping[str, Any]) -> tuple[str, float] | None:
    """The host that ended last, and for how many seconds half of the others were idle by then.

    None where fewer than two hosts finished an image.
    """
    ended = [host for host in data["progress"]["hosts"] if host["idle_s"] is not None]
    if len(ended) < 2:
        return None
    last, *others = sorted(ended, key=lambda host: float(host["idle_s"]))
    return last["host"], float(np.median([host["idle_s"] for host in others]))


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Puts what happened in its place along ``whole`` seconds; steps have these ``edges``.

    ``marks`` are where hosts were found slow or standing still.
    """

    whole: float
    edges: Sequence[float]
    marks: Mapping[str, Sequence[Marked]]

    def host(self, host: Host, phases: Sequence[Phase]) -> Iterator[Piece]:
        """A host's lane. Its tasks are its steady phase, where any are known."""
        worked = any(host["busy"])
        for name in PHASES:
            if name == "steady" and worked:
                yield from self._steady(host)
            else:
                yield from self.phases(name, phases)
        for begin, end in host["silent"]:
            yield self._piece("silent", begin, end, silence(host["host"], begin, end))
        for mark in self.marks.get(host["host"], ()):
            title = f"{host['host']}, found {mark.what}"
            yield self._piece("found", mark.begin, mark.end, title)
        if host["idle_s"]:
            begin, end = host["end_s"], host["end_s"] + host["idle_s"]
            yield self._piece("idle", begin, end, f"{host['host']}, idle at the end")

    def phases(self, name: str, phases: Sequence[Phase]) -> Iterator[Piece]:
        """Those of ``phases`` that are called so."""
        for phase in phases:
            if phase["name"] == name:
                who = phase["host"] or "the run"
                who += f", pid {phase['worker_pid']}" if phase["worker_pid"] else ""
                what = PHASES[name] + (f" of {phase['note']}" if phase["note"] else "")
                end = phase["from_s"] + phase["seconds"]
                yield self._piece(name, phase["from_s"], end, f"{who}, {what}")

    def _steady(self, host: Host) -> Iterator[Piece]:
        """A piece for each task, or for steps with about the same share of their time in tasks.

        Nothing lies outside the host's begin and end, which for the median host are those of others
        than its steps.
        """
        if host["tasks"] is not None:
            for begin, end, images in host["tasks"]:
                title = f"{host['host']}, a task of {count(int(images), 'image')}"
                yield self._piece("steady", begin, end, title)
            return
        at = 0
        for shade, run in groupby(host["busy"], key=lambda busy: ceil(busy * SHADES) / SHADES):
            first, at = at, at + len(list(run))
            begin = max(self.edges[first], host["begin_s"])
            end = min(self.edges[at], host["end_s"])
            if shade and begin < end:
                title = f"{host['host']}, with a task for up to {100 * shade:.0f} % of the time"
                yield self._piece("steady", begin, end, title, shade=shade)

    def _piece(
        self, kind: str, begin: float, end: float, title: str, *, shade: float = 1.0
    ) -> Piece:
        left = 100 * begin / self.whole
        return Piece(
            kind=kind,
            left=left,
            width=min(100 * (end - begin) / self.whole, 100 - left),
            title=f"{title}: {duration(end - begin)} from {duration(begin)} on",
            shade=shade,
        )


def _seconds(host: Host, phases: Sequence[Phase]) -> dict[str, float | None]:
    """What a host lost, the longest of each start, and from the first file it got to the last."""
    told: dict[str, float | None] = {name: host[name] for name in LOSSES}
    for name in STARTS:
        own = [phase for phase in phases if phase["name"] == name]
        told[name] = max((phase["seconds"] for phase in own), default=None)
        if name == "localise" and own:
            first = min(phase["from_s"] for phase in own)
            told[name] = max(phase["from_s"] + phase["seconds"] for phase in own) - first
    return told


def _median(hosts: Sequence[Host], phases: Sequence[Sequence[Phase]]) -> tuple[Host, list[Phase]]:
    """A host and its phases whose every figure is the median of those of ``hosts``."""

    def middle(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.median(known)) if known else None

    name = f"{len(hosts):,} others, median"
    taken = [_seconds(host, own) for host, own in zip(hosts, phases, strict=True)]
    typical: list[Phase] = []
    for start in STARTS:
        begins = [[p["from_s"] for p in own if p["name"] == start] for own in phases]
        if any(begins):
            typical.append(
                {
                    "name": start,
                    "host": name,
                    "worker_pid": None,
                    "from_s": middle(min(each) for each in begins if each),
                    "seconds": middle(seconds[start] for seconds in taken),
                    "note": None,
                }
            )
    figures = {key: middle(host[key] for host in hosts) for key in (*LOSSES, "begin_s", "end_s")}
    busy = np.median([host["busy"] for host in hosts], axis=0).tolist()
    return {"host": name, "busy": busy, "tasks": None, "silent": [], **figures}, typical
