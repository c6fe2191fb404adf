"""Why a host is slow: where the time went that its images took longer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from job.stragglers.causes import Cause
from job.stragglers.expected import Expected
from job.stragglers.lines import Lines
from job.stragglers.stretches import LEAST_IMAGES, Stretch
from job.stragglers.wording import percent, significant
from job.stragglers.work import Floats, median

# Parts of the time lost that explain it. A healthy host never waits for memory; for a CPU all do.
EXPLAINS, MEMORY_EXPLAINS, WAITING_EXPLAINS = 0.3, 0.15, 0.5
MOSTLY = 0.6  # what is left explains nothing
# Pages that come from the disk so often each second, and so many times as often as otherwise, say
# that memory is short wherever it is waited for at all: bytes and CPU are then short of it, too.
THRASHING, TIMES, THRASHING_EXPLAINS = 100.0, 10.0, 0.05
MOMENTS = 2.0  # a mean that is so many times that of all steps but one is of a moment
LATE = 2.0  # bytes are late that take so many times as long as otherwise
SHORT = 0.3  # who has a quota and gets all of it is not short of CPU: so much of a slowness (log)
ALIKE = 0.2  # hosts whose expected paces differ by less (log) are compared first
LASTING = {"link": "fetch_ms", "disk": "psi_io", "memory": "psi_memory"}
# What a counter must be above to be loud: CPUs used and ms of a fetch in logs, the others in parts
# of the time.
LOUD = {"cpu_busy": 0.05, "fetch_ms": 0.7, "psi_io": 0.05, "psi_memory": 0.02}
QUIET = 1.0
REACH = 2  # steps: one without the counter is no end
_RARE = ("psi_io", "psi_memory", "major_faults")  # a healthy host has none
_WAITS = {"waiting": "run_delay_ms", "held": "throttled_ms", "fetch": "fetch_ms"}


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a host's counters say of a slow stretch.

    ``now`` are those of the stretch, ``then`` those of the host's other steps or of its peers:
    CPUs the job got (``cpus``), seconds threads stood ready without a CPU for each they had one
    (``delay``), ms to fetch an image, and means of the host samples. ``explained`` are parts of the
    lost time by cause: ``waiting`` for a CPU, ``held`` by the quota, ``io``, ``memory``, ``fetch``,
    and more ``cpu`` time for the same work; ``short`` is by how much less it used of the CPUs it
    usually has, as a part of by how much slower it is (both logs). What was not measured is left
    out. ``alike``: it is compared with itself, or with hosts of which as much was expected.
    ``limited``: a quota gives it less than there is.
    """

    now: Mapping[str, float]
    then: Mapping[str, float]
    explained: Mapping[str, float]
    alike: bool
    limited: bool

    def of(self, name: str) -> float:
        """The part explained; 0 where it was not measured."""
        return self.explained.get(name, 0.0)


class Accounts:
    """Accounts of stretches of one run, each against the host's other steps or its peers'."""

    def __init__(self, seen: Lines, known: Expected, found: Mapping[int, Stretch]) -> None:
        """SEEN, what was KNOWN beforehand, and the stretches that are no example, by host."""
        self._seen, self._known, self._expected = seen, known, known.paces
        usual = np.ones(seen.busy.shape, dtype=bool)
        for host, slow in found.items():
            usual[host, slow.first : slow.last] = False
        self._sums = self._totals(usual)

    def _totals(
        self, steps: npt.NDArray[np.bool_], hosts: slice = slice(None)
    ) -> dict[str, Floats]:
        """Of some HOSTS, over STEPS [hosts, steps] of each: sums, of samples times busy seconds."""
        seen = self._seen
        busy = np.where(steps, seen.busy[hosts], 0.0)
        sums = {"busy": busy.sum(axis=1)}
        for name in ("images", "cost"):
            sums[name] = np.where(steps, getattr(seen, name)[hosts], 0.0).sum(axis=1)
        for name, values in seen.counted.items():
            sums[name] = np.where(steps, values[hosts], 0.0).sum(axis=1)
        for name, values in seen.sampled.items():
            known = ~np.isnan(values[hosts])
            sums[name] = (np.where(known, values[hosts], 0.0) * busy).sum(axis=1)
            sums[f"{name} known"] = np.where(known, busy, 0.0).sum(axis=1)
        return sums

    def of(self, stretch: Stretch) -> Account:
        """Of a stretch. Peers' times are scaled by what was expected of them and of the host."""
        seen, host = self._seen, stretch.host
        inside = np.zeros(seen.busy.shape[1], dtype=bool)
        inside[stretch.first : stretch.last] = True
        own = slice(host, host + 1)
        during, otherwise = (self._totals(steps[np.newaxis], own) for steps in (inside, ~inside))
        now = _Means(during, np.ones(1))
        others = np.arange(len(self._expected)) != host
        scale = self._expected / self._expected[host]
        peers = _Means({name: each[others] for name, each in self._sums.items()}, scale[others])
        alike = others & (np.abs(np.log(scale)) < ALIKE)
        then = _Means(otherwise, np.ones(1))
        same = True
        if then.images < LEAST_IMAGES:
            then, same = peers, False
            if self._sums["images"][alike].sum() >= LEAST_IMAGES:
                same = True
                then = _Means(
                    {name: each[alike] for name, each in self._sums.items()}, scale[alike]
                )
        share = 1 - float(np.exp(-stretch.size))
        lost = now.for_cost("busy") * share
        cpu, cpu_then = now.for_cost("cpu_ms"), then.for_cost("cpu_ms", scaled=False)
        costlier = max(1.0, cpu / cpu_then) if cpu > 0 and cpu_then > 0 else 1.0
        explained = {"cpu": (cpu - cpu_then) / lost}
        for name, counter in _WAITS.items():
            before = then.for_cost(counter) * costlier
            if name == "fetch":  # a host of half the CPU need not fetch half as fast
                before = max(before, then.for_cost(counter, scaled=False))
            more = now.for_cost(counter) - before
            explained[name] = more / lost
        told, usual = now.readings(), then.readings()
        healthy = peers.readings()
        for name in _RARE:
            if name in usual:
                usual[name] = float(np.fmin(usual[name], healthy[name]))
        # Who is slow all along has no time of its own to be compared with.
        times = peers.for_image("fetch_ms", np.maximum(scale[others], 1.0))
        usual["fetch_ms"] = float(np.fmin(usual["fetch_ms"], times))
        memory = told.get("psi_memory", np.nan) - usual.get("psi_memory", np.nan)
        memory = min(memory, MOMENTS * self._without_peak("psi_memory", host, inside))
        io = told.get("psi_io", np.nan) - usual.get("psi_io", np.nan)
        explained["short"] = self._short(host, during, otherwise) / stretch.size
        explained["memory"] = memory / share
        explained["io"] = (io - float(np.nan_to_num(memory))) / share
        return Account(
            now=told,
            then=usual,
            explained={name: part for name, part in explained.items() if np.isfinite(part)},
            alike=same,
            limited=bool(self._known.limited[host]),
        )

    def _without_peak(self, name: str, host: int, inside: npt.NDArray[np.bool_]) -> float:
        """A counter's mean without its highest step: what was there for a moment is no cause."""
        values = self._seen.sampled.get(name)
        if values is None:
            return np.nan
        known = np.sort(values[host][inside & ~np.isnan(values[host])])
        return float(known[:-1].mean()) if len(known) > 1 else np.nan

    def _short(
        self, host: int, inside: Mapping[str, Floats], outside: Mapping[str, Floats]
    ) -> float:
        """By how much less (log) of its usual CPUs a HOST used than otherwise, or than its peers.

        NaN where that was not sampled.
        """
        if "cpu_busy" not in inside:
            return np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            now, otherwise, used = (
                sums["cpu_busy"] / sums["cpu_busy known"] for sums in (inside, outside, self._sums)
            )
            if not outside["images"][0] >= LEAST_IMAGES:
                otherwise = np.full(1, np.nan)
            usual = self._known.usual_cpus
            peers = median(np.delete(used / usual, host))
            most = np.fmax(otherwise[0] / usual[host], peers)
            return float(np.log(most / (now[0] / usual[host])))


class _Means:
    """What sums of some hosts come to, for each usual image or as means."""

    def __init__(self, sums: Mapping[str, Floats], scale: Floats) -> None:
        self._sums, self._scale = sums, scale
        self.images = float(sums["images"].sum())

    def for_cost(self, name: str, *, scaled: bool = True) -> float:
        """Seconds (of a counter in ms) for each usual image, as the host would have them."""
        values = self._sums[name] * (self._scale if scaled else 1.0)
        seconds = float(values.sum()) / (1.0 if name == "busy" else 1e3)
        return _ratio(seconds, float(self._sums["cost"].sum()))

    def for_image(self, name: str, scale: Floats) -> float:
        """Of a counter, for each image, as a host has it that takes so many times as long."""
        return _ratio(float((self._sums[name] * scale).sum()), self.images)

    def readings(self) -> dict[str, float]:
        """As in ``Account``."""
        total = {name: float(each.sum()) for name, each in self._sums.items()}
        busy, delay = ((self._sums[n] * self._scale).sum() for n in ("busy", "run_delay_ms"))
        found = {
            "cpus": _ratio(total["cpu_ms"] / 1e3, busy) if total["cpu_ms"] > 0 else np.nan,
            "delay": _ratio(delay, total["cpu_ms"]),
            "fetch_ms": self.for_image("fetch_ms", np.ones(1)),
        }
        sampled = [name.removesuffix(" known") for name in total if name.endswith(" known")]
        return found | {name: _ratio(total[name], total[f"{name} known"]) for name in sampled}


def _ratio(value: float, of: float) -> float:
    return float(value / of) if of > 0 else np.nan


def kinds(a: Account) -> tuple[str, ...]:
    """The causes that the account tells of, the one that explains most first; empty for none.

    Pressure and waiting explain a share of the time. A disk is short where bytes are late and it is
    waited for; a link where they are late and nothing is: who waits for a CPU has late bytes, too.
    """
    parts = {}
    faults, usual = (each.get("major_faults", 0.0) for each in (a.now, a.then))
    thrashing = faults > max(THRASHING, TIMES * usual) and a.of("memory") > THRASHING_EXPLAINS
    if thrashing or a.of("memory") > MEMORY_EXPLAINS:
        parts["memory"] = 1.0 if thrashing else a.of("memory")
    if min(a.of("io"), a.of("fetch")) > EXPLAINS:
        parts["disk"] = a.of("io")
    enough = WAITING_EXPLAINS if a.alike else MOSTLY
    if a.limited and a.of("short") > WAITING_EXPLAINS:
        enough = EXPLAINS
    if a.of("waiting") > enough:
        held = a.of("held") > EXPLAINS * a.of("waiting")
        # Without a quota a neighbour's time and the host's own count as one.
        if a.explained.get("short", np.inf) > SHORT or not (held or a.limited):
            parts["cpu-quota" if held else "cpu-neighbour"] = min(a.of("waiting"), 1.0)
    late = a.now["fetch_ms"] > LATE * a.then["fetch_ms"] and a.of("fetch") > EXPLAINS
    if late and a.of("io") <= EXPLAINS and a.of("waiting") <= MOSTLY and "memory" not in parts:
        parts["link"] = min(a.of("fetch"), 1.0)
    return tuple(sorted(parts, key=lambda kind: -parts[kind]))


def hinted(seen: Lines, known: Expected) -> list[tuple[int, int, int]]:
    """Stretches in which a counter says that a host is short of something: host, first, last.

    Of each host and counter the one in which it is loudest in all. Beside the pace, which is noisy,
    it says when a mild fault began and ended.
    """
    found = set()
    for loud in _loudness(seen, known):
        first, last, total = _loudest(np.nan_to_num(loud, nan=-QUIET, neginf=-QUIET, posinf=0.0))
        found |= {
            (int(host), int(first[host]), int(last[host])) for host in np.flatnonzero(total > 0)
        }
    return sorted(found)


def _loudness(seen: Lines, known: Expected) -> Iterator[Floats]:
    """By how much counters are above what is loud [hosts, steps], each in its own unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if "cpu_busy" in seen.sampled:
            used = np.log(seen.sampled["cpu_busy"] / known.usual_cpus[:, np.newaxis])
            short = median(used) - used - LOUD["cpu_busy"]
            yield np.where(known.limited[:, np.newaxis], short, -QUIET)
        fetch = _shown(seen, "link")
        if fetch is not None:
            yield fetch - median(fetch) - LOUD["fetch_ms"]
        for name in ("psi_io", "psi_memory"):
            if name in seen.sampled:
                yield seen.sampled[name] - LOUD[name]


def _loudest(loud: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Of each host the stretch of the largest sum: first, last, sum [hosts] (Kadane's)."""
    hosts, steps = loud.shape
    best, total = np.full(hosts, -np.inf), np.zeros(hosts)
    begin, first, last = (np.zeros(hosts, dtype=np.int64) for _ in range(3))
    for step in range(steps):
        anew = total <= 0
        total, begin = np.where(anew, 0.0, total) + loud[:, step], np.where(anew, step, begin)
        better = total > best
        best = np.where(better, total, best)
        first, last = np.where(better, begin, first), np.where(better, step + 1, last)
    return first, last, best


def _shown(seen: Lines, kind: str) -> Floats | None:
    """The counter of a lasting cause [hosts, steps], of a link in logs; None if there is none."""
    if kind != "link":
        return seen.sampled.get(LASTING.get(kind, ""))
    images = np.where(seen.images > 0.5, seen.images, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log(seen.counted["fetch_ms"] / images)
    return np.where(np.isfinite(shown), shown, np.nan)


def lasting(seen: Lines, stretch: Stretch, kind: str) -> tuple[int, int]:
    """The stretch with the steps beside it in which its cause is there, too.

    A link, a disk or memory that is short slows an image by what it brings: the pace comes and
    goes, and the counter stays.
    """
    first, last = stretch.first, stretch.last
    if kind not in LASTING:
        return first, last
    shown = _shown(seen, kind)
    if shown is None or np.isnan(shown[stretch.host, first:last]).all():
        return first, last
    others = np.delete(shown, stretch.host, axis=0)
    inside = float(np.nanmean(shown[stretch.host, first:last]))
    usual = float(np.nanmedian(others)) if np.isfinite(others).any() else inside
    there = ~(shown[stretch.host] < (inside + usual) / 2)
    while there[max(0, first - REACH) : first].any():
        begin = max(0, first - REACH)
        first = begin + int(np.argmax(there[begin:first]))
    while there[last : last + REACH].any():
        last += int(np.flatnonzero(there[last : last + REACH])[-1]) + 1
    return first, last


def told(a: Account, kind: str, *, host: str, cpus: float | None) -> Cause:
    """A cause in words, with its numbers and what to do; ``cpus`` are those the host may use."""
    now, then = a.now, a.then
    avoid = f"or, if the run is faster without it, leave it out: `cluster run --avoid {host}`"
    of = f" of {significant(cpus)}" if cpus else ""
    if kind == "cpu-quota":
        text = f"its CPU quota holds it back: the job gets {_n(now['cpus'])} CPUs there{of}"
        text += f" ({_n(then['cpus'])} otherwise), and its threads stand ready without a CPU for"
        text += f" {_n(now['delay'])} s per second of CPU time they get"
        action = f"raise the quota (CPUQuota, lab_cpus), {avoid}"
    elif kind == "cpu-neighbour":
        text = f"something else computes on its cores: threads wait {_n(now['delay'])} s for a CPU"
        text += f" for each second they have one ({_n(then['delay'])} s otherwise), and its quota"
        text += " does not hold them back"
        action = f"find and stop it (`top` there, or on the computer it is a machine of), {avoid}"
    elif kind == "link":
        text = f"its network link is slow: an image takes {_n(now['fetch_ms'])} ms to fetch"
        text += f" ({_n(then['fetch_ms'])} ms otherwise) while the CPU is idle"
        action = "measure the link, or have the input on its disk: more replicas in HDFS"
    elif kind == "memory":
        text = f"memory is short: it waits for pages {_p(now['psi_memory'])} of the time"
        text += f" ({_p(then['psi_memory'])} otherwise)"
        if now.get("major_faults", 0) > 1:
            text += f", with {_n(now['major_faults'])} major faults a second"
        action = "give it more memory, or executors less: --executor-memory-mb"
    elif kind == "disk":
        text = f"its disk is slow: it waits for it {_p(now['psi_io'])} of the time"
        text += f" ({_p(then['psi_io'])} otherwise)"
        action = f"look at the disk and who else uses it, {avoid}"
    elif a.of("cpu") > EXPLAINS:
        kind, text = "cpu-slow", "the same work takes it more CPU time"
        action = "look there for a low clock, heat, and programs that share its caches"
    else:
        kind = "unknown"
        text = "its counters do not tell why: neither CPU, memory, disk nor link is short"
        action = f"look at it with `cluster doctor` while a job runs, {avoid}"
    return Cause(kind=kind, text=text, action=action)


def _n(value: float) -> str:
    return "?" if np.isnan(value) else significant(value)


def _p(share: float) -> str:
    return "?" if np.isnan(share) else percent(share)
