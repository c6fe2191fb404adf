"""How much longer tasks take on a host than on its peers, from any Spark application's log."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import exp, log
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from job.stragglers.additive import Additive, connected, fit
from job.stragglers.attempts import Attempts, Flags, at_once
from job.stragglers.model import Factor, against_others
from job.stragglers.work import Floats, Ints

MIN_TASKS = 6
"""As few images are compared: fewer do not tell a host from its luck."""

MIN_MS = 10.0
"""Stages with a shorter median say more of the scheduler, and of rounding, than of a machine."""

LEVEL = 0.95  # of all hosts' intervals together: one of 500 equal hosts is seldom called slow

LUCK = 0.05
"""Equal hosts differ by so much, in logs, in a stage as a whole: what is cached, what is near."""

LONG = 5.0  # times what the partition took elsewhere, and what the stage's median task took
LONG_S = 10.0  # seconds beyond that: a shorter loss is not worth a name
SIZES = 3  # covariates that are the task's data; the others are when it ran
LOST = "ExecutorLostFailure"  # as Spark calls the end of an attempt whose executor is gone
OUTRUN = 3  # attempts overtaken elsewhere, before chance is asked


@dataclass(frozen=True, kw_only=True)
class Held:
    """An attempt lost with its executor, of a partition that another host then did far sooner."""

    stage: int
    partition: int
    seconds: float
    elsewhere: str
    elsewhere_s: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class TaskHost(Factor):
    """One host by its tasks; shares are of its tasks' run time, sums over all its attempts.

    ``factor`` compares run time per task in stages that others ran, too, bytes and records
    allowed for; None for fewer than ``MIN_TASKS`` such tasks. A host with fewer slots is not
    slow by that. ``compared`` are the tasks that it rests on. ``stage`` is where a slow host
    loses most.

    ``outrun`` attempts were cut short, and their partition took less time on another host;
    ``unlucky`` says that they are more than chance has it. ``held`` is the longest of those that
    held up their stage.
    """

    tasks: int
    compared: int
    seconds: float
    time_share: float
    slots: int
    executors: int
    executors_lost: int
    failed: int
    killed: int
    outrun: int
    unlucky: bool = False
    held: Held | None = None
    stage: int | None = None
    shares: Mapping[str, float | None] = field(default_factory=dict)
    spilled_bytes: float = 0.0

    @property
    def straggler(self) -> bool:
        """Slow, or it holds tasks up that others do quickly."""
        return self.slow or self.held is not None or self.unlucky


class Comparison:
    """Hosts and stages of an application, compared by its tasks."""

    def __init__(self, attempts: Attempts, executors: pa.Table) -> None:
        """``executors`` like the table of that name."""
        self.attempts = attempts
        self._executors = executors

    @cached_property
    def rows(self) -> Ints:
        """The attempts that are compared: done, in stages that are not all too short."""
        a = self.attempts
        usable = a.done & (a.run_ms > 0)
        usable[usable] = a.stage_median_ms[a.stage[usable]] >= MIN_MS
        return np.flatnonzero(usable)

    @cached_property
    def _model(self) -> Additive:
        a, rows = self.attempts, self.rows

        def sizes(*names: str) -> Floats:
            summed: Floats = np.sum([np.nan_to_num(a.of(name)[rows]) for name in names], axis=0)
            return np.log1p(summed)

        return fit(
            np.log(a.run_ms[rows]),
            {"host": a.host[rows], "stage": a.stage[rows]},
            within="stage",
            covariates=[
                sizes("input_bytes", "shuffle_read_bytes"),
                sizes("records_read"),
                sizes("written_bytes"),
                a.first[rows].astype(float),
                a.order[rows],
            ],
            luck=LUCK,
        )

    @cached_property
    def size(self) -> Floats:
        """Log of how much longer a task [rows] should take for what it reads and writes."""
        stage = self.attempts.stage[self.rows]
        sizes: Floats = sum(
            (
                slope[stage] * covariate
                for slope, covariate in zip(
                    self._model.slopes[:SIZES], self._model.covariates[:SIZES], strict=True
                )
            ),
            np.zeros(len(stage)),
        )
        return sizes

    @property
    def residuals(self) -> Floats:
        """Log of how much longer a task [rows] took than its stage, size and host explain."""
        return self._model.residuals

    @cached_property
    def factors(self) -> Mapping[int, Factor]:
        """Of each host that can be compared, by its number."""
        a, rows = self.attempts, self.rows
        if not len(rows):
            return {}
        effects, errors = self._model.effects["host"], self._model.errors["host"]
        count = self.compared
        known = np.flatnonzero((count[: len(errors)] >= MIN_TASKS) & np.isfinite(errors))
        part = connected(a.host[rows], a.stage[rows])
        found: dict[int, Factor] = {}
        for one in np.unique(part[known]):
            hosts = known[part[known] == one]
            if len(hosts) < 2:
                continue
            logs = against_others(effects[hosts][np.newaxis])[0]
            for host, level in zip(hosts, logs, strict=True):
                reach = _quantile(len(known) - 1, int(count[host]) - 1) * errors[host]
                low, factor, high = np.exp([level - reach, level, level + reach])
                found[int(host)] = Factor(
                    host=a.hosts[host], factor=float(factor), low=float(low), high=float(high)
                )
        return found

    @cached_property
    def compared(self) -> Ints:
        """Tasks [hosts] in stages that another host ran, too."""
        a, rows = self.attempts, self.rows
        stages = len(a.stages)
        cells = np.unique(a.host[rows] * stages + a.stage[rows])
        hosts_of = np.bincount(cells % stages, minlength=stages)
        shared = rows[hosts_of[a.stage[rows]] > 1]
        return np.bincount(a.host[shared], minlength=len(a.hosts)).astype(np.int64)

    @cached_property
    def pace(self) -> Floats:
        """How many times as long as on the median host a task takes [hosts]; 1 if not known."""
        pace = np.ones(len(self.attempts.hosts))
        hosts = np.array(sorted(self.factors), dtype=np.int64)
        if len(hosts):
            effects = self._model.effects["host"][hosts]
            pace[hosts] = np.exp(effects - np.median(effects))
        return pace

    @cached_property
    def _lost(self) -> Flags:
        """Attempts [all] that ended with their executor."""
        reason = self.attempts.table["reason"].cast(pa.string())
        lost: Flags = pc.starts_with(reason, LOST).fill_null(False).to_numpy()
        return lost

    @cached_property
    def outrun(self) -> Flags:
        """Attempts [all] cut short whose partition took less time on another host.

        Those that failed by themselves are left out: what they met (bad data, a block that could
        not be fetched) is no matter of pace, and often another host's.
        """
        a = self.attempts
        other = (a.winner >= 0) & (a.host[a.winner] != a.host)
        cut = ~a.done & (a.killed | self._lost)
        outrun: Flags = other & cut & (a.seconds > a.seconds[a.winner])
        return outrun

    def _most_extra(self) -> Mapping[int, int]:
        """Of each slow host, by number, the stage in which it loses most."""
        a, rows = self.attempts, self.rows
        most: dict[int, int] = {}
        for host, found in self.factors.items():
            if not found.slow:
                continue
            own = rows[a.host[rows] == host]
            count = np.bincount(a.stage[own], minlength=len(a.stages))
            left = np.bincount(a.stage[own], self.residuals[a.host[rows] == host], len(a.stages))
            pace = np.log(found.factor or 1) + left / np.maximum(count, 1)
            spent = np.bincount(a.stage[own], a.run_ms[own], len(a.stages))
            most[host] = a.stages[int(np.argmax(spent * (1 - np.exp(-pace))))][0]
        return most

    def _unlucky(self) -> Flags:
        """Hosts with more attempts outrun than their part of all attempts lets expect."""
        a = self.attempts
        outrun = np.bincount(a.host[self.outrun], minlength=len(a.hosts))
        with_any = np.isin(a.stage, np.unique(a.stage[self.outrun]))
        part = np.bincount(a.host[with_any], minlength=len(a.hosts)) / max(with_any.sum(), 1)
        total, allowed = int(outrun.sum()), (1 - LEVEL) / max(len(a.hosts), 1)
        return np.array(
            [
                number >= OUTRUN and _at_least(int(number), total, float(share)) < allowed
                for number, share in zip(outrun, part, strict=True)
            ],
            dtype=bool,
        )

    def _held(self) -> Mapping[int, Held]:
        """The longest of each host's attempts that held up their stage until its executor was lost.

        One that a speculative copy overtook is not enough: a task that now and then takes long is
        overtaken on any host.
        """
        a = self.attempts
        won, ran = a.winner, a.seconds
        usual = np.maximum(a.seconds[won], np.nan_to_num(a.stage_median_ms)[a.stage] / 1000)
        held = self.outrun & self._lost & (ran > LONG * usual) & (ran > usual + LONG_S)
        rows = np.flatnonzero(held)
        # What is slow wherever it runs, until it happens to work, is no host's doing.
        pairs = np.unique(np.column_stack([a.piece[rows], a.host[rows]]), axis=0)
        tried, hosts = np.unique(pairs[:, 0], return_counts=True)
        rows = rows[np.isin(a.piece[rows], tried[hosts == 1])]
        found: dict[int, Held] = {}
        for row in rows[np.argsort(-ran[rows])]:
            found.setdefault(
                int(a.host[row]),
                Held(
                    stage=a.stages[a.stage[row]][0],
                    partition=int(a.partition[row]),
                    seconds=float(ran[row]),
                    elsewhere=a.hosts[a.host[won[row]]],
                    elsewhere_s=float(a.seconds[won[row]]),
                    reason=a.table["reason"][int(row)].as_py() or "",
                ),
            )
        return found

    @cached_property
    def hosts(self) -> tuple[TaskHost, ...]:
        """Every host that an attempt ran on, by name."""
        a = self.attempts
        every = np.ones(len(a.host), dtype=bool)
        run = a.by_host(a.run_ms, every)
        waits = {
            name: a.by_host(a.of(f"{name}_ms"), every)
            for name in ("gc", "fetch_wait", "shuffle_write", "cpu", "deserialize")
        }
        told = a.done  # the driver's clock has more in it where an attempt was cut off
        spent = (np.nan_to_num(a.of(f"{name}_ms")) for name in ("run", "deserialize", "result"))
        waits["delay"] = a.by_host(np.maximum(1000 * a.seconds - sum(spent), 0), told)
        counts = {
            name: np.bincount(a.host[flags], minlength=len(a.hosts))
            for name, flags in (
                ("tasks", a.done),
                ("failed", a.failed),
                ("killed", a.killed),
                ("outrun", self.outrun),
            )
        }
        held, unlucky = self._held(), self._unlucky()
        spilled = a.by_host(a.of("spilled_bytes"), every)
        slots = at_once(a.host, a.launched, a.worked_until, len(a.hosts))
        executors = Counter(self._executors["host"].to_pylist())
        lost = Counter(self._executors.filter(self._executors["lost"])["host"].to_pylist())
        extra = self._most_extra()
        none = Factor(host="")
        return tuple(
            TaskHost(
                host=name,
                factor=(found := self.factors.get(host, none)).factor,
                low=found.low,
                high=found.high,
                compared=int(self.compared[host]) if len(self.rows) else 0,
                seconds=float(run[host]) / 1000,
                time_share=float(run[host] / max(run.sum(), 1e-9)),
                slots=int(slots[host]),
                executors=executors[name],
                executors_lost=lost[name],
                unlucky=bool(unlucky[host]),
                held=held.get(host),
                stage=extra.get(host),
                spilled_bytes=float(spilled[host]),
                shares={
                    key: float(sums[host] / run[host]) if run[host] > 0 else None
                    for key, sums in waits.items()
                },
                **{key: int(number[host]) for key, number in counts.items()},
            )
            for host, name in enumerate(a.hosts)
        )


def _quantile(comparisons: int, freedom: int) -> float:
    """Student's t for intervals that hold for so many comparisons together (Bonferroni)."""
    z = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / comparisons)
    # Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5).
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _at_least(number: int, total: int, share: float) -> float:
    """A bound (Chernoff's) on the chance that so many of a total, or more, are of one share."""
    part = number / total
    if part <= share:
        return 1.0
    rest = (1 - part) * log((1 - part) / (1 - share)) if part < 1 else 0.0
    return exp(-total * (part * log(part / share) + rest))
