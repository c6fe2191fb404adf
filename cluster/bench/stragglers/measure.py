"""``cluster bench stragglers``: precision, recall and causes, simulated and on recorded runs."""

import functools
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster.bench.result import Result
from cluster.bench.stragglers import forecasts
from cluster.bench.stragglers.faults import AT_START
from cluster.bench.stragglers.judging import Judge
from cluster.bench.stragglers.noise import USUAL, Noise
from cluster.bench.stragglers.ours import ours
from cluster.bench.stragglers.rivals import RIVALS
from cluster.bench.stragglers.scoring import CLEARLY_SLOW, Outcome, figures, outcome
from cluster.bench.stragglers.simulator import Trial
from cluster.bench.stragglers.traces import read_all
from cluster.bench.stragglers.traces import trials as read_trials
from cluster.bench.stragglers.trials import Spec, specs

SIMULATED, RECORDED = "simulated", "recorded"
OURS = "ours"
JUDGES: Mapping[str, Judge] = {OURS: ours, **RIVALS}
# Published of others, each on its own data: hosts, precision 0.90 (Minder); causes, 0.87 to 0.96
# (InvarNet-X, Kaleidoscope); slowdowns, error 1.3 % in the median and 5.5 % at p90 (OSDI 2025).
TARGETS = {
    "host_precision": (">=", 0.98),
    "host_recall": (">=", 0.98),
    "host_recall_115": (">=", 0.9),
    "cause_macro_f1": (">=", 0.96),
    "false_alarms_per_100": ("<=", 1.0),
    "slowdown_error_median": ("<=", 0.013),
    "slowdown_error_p90": ("<=", 0.055),
    "slowdown_error_real": ("<=", 0.05),
    "whatif_error": ("<=", 0.03),
    "whatif_error_real": ("<=", 0.03),
    "verdict_at": ("<=", 0.1),
    "analysis_s": ("<=", 30.0),
}
REAL = {"slowdown_error_real": "slowdown_error_median"}
"""Figures of recorded runs that have a name of their own, and what they are there."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A simulated trial: what each judge makes of it, and of ``forecasts`` what there is."""

    outcomes: Mapping[str, Outcome]
    what_if_error: float | None
    verdict_at: float | None


def measure(
    *, trials: int, seed: int, processes: int, traces: Path, tell: Callable[[str], None]
) -> Result:
    """Judge so many simulated TRIALS, the same for the same SEED, and the runs recorded in TRACES.

    In so many PROCESSES.

    Raises:
        UsageError: a file in TRACES is no recorded run.
    """
    # The largest first, so that none is left alone at the end.
    chosen = sorted(specs(trials, seed=seed), key=lambda spec: -spec.images)
    known = read_all(traces)
    recorded = read_trials(known)
    tell(f"Simulating and judging {trials} runs, and judging {len(recorded)} that were recorded")
    # Each process has a core.
    start = multiprocessing.get_context("spawn")
    with start.Pool(processes, initializer=pa.set_cpu_count, initargs=(1,)) as pool:
        simulated = pool.map(functools.partial(judge, noise=USUAL), chosen, chunksize=1)
        judged: dict[str, Sequence[Mapping[str, Outcome]]] = {
            SIMULATED: [each.outcomes for each in simulated],
            RECORDED: pool.map(judge_trial, recorded, chunksize=1),
        }
        real = pool.apply(forecasts.what_if_errors_real, (known,))
        tell("Timing the analysis of a million images on 5,000 hosts")
        analysis_s = pool.apply(forecasts.analysis_s, (USUAL,))
    forecast: dict[str, Sequence[float]] = {
        "whatif_error": forecasts.median(each.what_if_error for each in simulated),
        "whatif_error_real": forecasts.median(real),
        "verdict_at": forecasts.median(each.verdict_at for each in simulated),
        "analysis_s": [analysis_s],
    }
    rows, kinds = [], []
    for data, of_each in judged.items():
        by_judge = {name: [each[name] for each in of_each] for name in JUDGES}
        rows += [
            {"judge": name, "data": data, "figure": figure, **vars(found)}
            for name, outcomes in by_judge.items()
            for figure, found in figures(outcomes).items()
            # Others' rules name no causes.
            if name == OURS or figure not in ("cause_macro_f1", "freeze_recall")
        ]
        kinds += [{"kind": row["kind"], "data": data, **row} for row in by_kind(by_judge)]
    return Result(
        bench="stragglers",
        rows=[*rows, *kinds],
        figures={
            **_named(rows),
            **{name: value for name, values in forecast.items() for value in values},
        },
        targets=TARGETS,
        notes=[
            f"{trials} simulated runs of {min(spec.cluster.hosts for spec in chosen)} to"
            f" {max(spec.cluster.hosts for spec in chosen)} hosts, seed {seed}, and"
            f" {len(recorded)} recorded ones of labs; in brackets the 95 % interval and of how"
            " many",
            f"Replays beside {sum(each.what_if_error is not None for each in simulated)} runs"
            f" simulated again and {len(real)} recorded ones; the first verdict of"
            f" {sum(each.verdict_at is not None for each in simulated)} runs, tried at"
            f" {', '.join(f'{share:.0%}' for share in forecasts.SHARES)} of the images; medians",
        ],
    )


def _named(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Ours of simulated runs by their names, and of recorded ones what is asked of those."""
    ours_of = {
        data: {
            row["figure"]: row["value"]
            for row in rows
            if row["judge"] == OURS and row["data"] == data
        }
        for data in (SIMULATED, RECORDED)
    }
    real = {
        name: ours_of[RECORDED][figure]
        for name, figure in REAL.items()
        if figure in ours_of[RECORDED]
    }
    return {**ours_of[SIMULATED], **real}


def judge(spec: Spec, noise: Noise) -> Judged:
    """Judge one simulated trial."""
    trial = spec.simulate(noise)
    return Judged(
        outcomes=judge_trial(trial),
        what_if_error=forecasts.what_if_error(spec, trial, noise),
        verdict_at=forecasts.verdict_at(trial),
    )


def judge_trial(trial: Trial) -> dict[str, Outcome]:
    """What each judge makes of one trial."""
    return {name: outcome(trial, says(trial.run)) for name, says in JUDGES.items()}


def by_kind(by_judge: Mapping[str, Sequence[Outcome]]) -> list[dict[str, Any]]:
    """Of the hosts that one kind of fault alone slows clearly, the share each judge calls slow.

    Cold and skew slow none down: to call those hosts slow is wrong. ``named`` is the share whose
    cause ours names.
    """
    columns: dict[str, dict[str, list[bool]]] = {}
    for name, outcomes in by_judge.items():
        for host in (host for each in outcomes for host in each.hosts if len(host.kinds) == 1):
            (kind,) = host.kinds
            if host.factor >= CLEARLY_SLOW or kind in AT_START:
                found = columns.setdefault(kind, {})
                found.setdefault(name, []).append(host.slow)
                if name == OURS:
                    found.setdefault("named", []).append(host.said == kind)
    return [
        {
            "kind": kind,
            "hosts": len(found[OURS]),
            **{name: sum(flags) / len(flags) for name, flags in found.items()},
        }
        for kind, found in sorted(columns.items())
    ]


def tables(rows: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Each figure by judge, simulated beside recorded; and of each, what was found by fault.

    Three columns, for a terminal of 80 characters.
    """
    said: dict[str, dict[str, dict[str, str]]] = {}
    for row in (row for row in rows if "judge" in row):
        of_figure = said.setdefault(row["figure"], {})
        line = of_figure.setdefault(row["judge"], dict.fromkeys((SIMULATED, RECORDED), "-"))
        line[row["data"]] = _said(row)
    by_judge = [
        {"figure": text, **line}
        for figure, of_figure in said.items()
        for text, line in (
            (figure, dict.fromkeys((SIMULATED, RECORDED), "")),
            *((f"  {name}", of_figure[name]) for name in JUDGES if name in of_figure),
        )
    ]
    kinds = [
        [
            {f"fault, {data}": row["kind"]}
            | {name: value for name, value in row.items() if name not in ("kind", "data")}
            for row in rows
            if "kind" in row and row["data"] == data
        ]
        for data in (SIMULATED, RECORDED)
    ]
    return [table for table in (by_judge, *kinds) if table]


def _said(row: Mapping[str, Any]) -> str:
    value, low, high = (
        f"{number:.3g}" if number >= 1 else f"{number:.3f}"
        for number in (row["value"], row["low"], row["high"])
    )
    return f"{value} ({low} to {high}; {row['of']})"
