"""How right judgements are, as figures with the number they rest on and a 95 % interval."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cluster.bench.stragglers.faults import AT_START, CLEAN
from cluster.bench.stragglers.judging import HostJudgement, Judgement
from cluster.bench.stragglers.simulator import Trial
from job.stragglers.work import Floats

CAUSES = ("cpu-quota", "cpu-neighbour", "link", "memory", "disk", "skew", "cold", CLEAN)
UNTOLD = "cannot tell"
"""What is said of a host that is called slow without a cause."""

SLOW_FROM = 1.05
"""To blame a host is right if it truly takes so much longer."""
CLEARLY_SLOW = 1.3
BARELY_SLOW = (1.10, 1.20)
Z = 1.959964
DRAWS = 1000

_CAUSE = {name: at for at, name in enumerate(CAUSES)}


@dataclass(frozen=True, kw_only=True)
class HostOutcome:
    """What was said of a host that is in the truth.

    ``said`` is the cause, ``CLEAN`` or ``UNTOLD``; ``error`` is |said factor / true factor - 1|,
    ``onset_s`` seconds between the said and the true beginning; None where nothing was said, or
    there is nothing to say.
    """

    kinds: tuple[str, ...]
    factor: float
    slow: bool
    said: str
    error: float | None
    onset_s: float | None

    @property
    def counts(self) -> bool:
        """A freeze has no factor, and its host is apart."""
        return "freeze" not in self.kinds

    @property
    def truth(self) -> str | None:
        """The cause to be named; of two, the one that was. None where there was nothing to see."""
        there = [kind for kind in self.kinds if kind in AT_START or self.factor >= SLOW_FROM]
        return self.said if self.said in there else next(iter(there), None)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a judge said of one trial.

    ``hosts`` are those in the truth; ``wrong`` says what was said of others that was not
    ``CLEAN``, and ``wrongly_slow`` how many of them were called slow. ``clean``: nothing was the
    matter; ``even``: hosts were declared alike.
    """

    hosts: tuple[HostOutcome, ...]
    wrong: tuple[str, ...]
    wrongly_slow: int
    clean: bool
    even: bool

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Pairs of what is true and what was said.

        One for each host that something is the matter with, or is said to be; a clean trial in
        which nothing is said is one.
        """
        pairs = [(host.truth, host.said) for host in self.hosts if host.counts and host.truth]
        pairs += [(CLEAN, said) for said in self.wrong]
        return pairs or ([(CLEAN, CLEAN)] if self.clean else [])


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number with its 95 % interval, and of how many trials or hosts it is (``of``)."""

    value: float
    low: float
    high: float
    of: int


def outcome(trial: Trial, judgement: Judgement) -> Outcome:
    """Compare what was said of a trial with what is true."""
    hosts = []
    for name, truth in sorted(trial.truth.items()):
        said = judgement.get(name, HostJudgement())
        found = said.slow and truth.factor >= SLOW_FROM
        hosts.append(
            HostOutcome(
                kinds=truth.kinds,
                factor=truth.factor,
                slow=said.slow,
                said=_said(said),
                error=abs(said.factor / truth.factor - 1) if found and said.factor else None,
                onset_s=abs(said.since - truth.since)
                if found and said.since is not None and truth.since is not None
                else None,
            )
        )
    others = {name: said for name, said in judgement.items() if name not in trial.truth}
    return Outcome(
        hosts=tuple(hosts),
        wrong=tuple(what for said in others.values() if (what := _said(said)) != CLEAN),
        wrongly_slow=sum(said.slow for said in others.values()),
        clean=trial.clean,
        even=trial.even,
    )


def figures(outcomes: Sequence[Outcome], *, seed: int = 0) -> dict[str, Figure]:
    """All figures that OUTCOMES of one judge give, by name; those of no trial are left out.

    Shares of hosts and trials have Wilson's interval, the others that of a bootstrap, over trials
    for the causes, whose draws SEED fixes.
    """
    hosts = _hosts(outcomes)
    alike = [each for each in outcomes if each.even]
    alarms = [bool(each.wrongly_slow) for each in outcomes if each.clean and not each.even]
    errors = [host.error for host in hosts if host.error is not None]
    random = np.random.default_rng(seed)
    found = {
        "host_precision": precision(outcomes),
        "host_recall": recall(outcomes, CLEARLY_SLOW),
        "host_precision_alike": precision(alike),
        "host_recall_alike": recall(alike, CLEARLY_SLOW),
        "host_recall_115": recall(outcomes, *BARELY_SLOW),
        "cause_macro_f1": bootstrap(
            [confusion(each.causes) for each in outcomes if each.causes], macro_f1, random
        ),
        "false_alarms_per_100": _share(alarms, scale=100),
        "slowdown_error_median": bootstrap(errors, _median, random),
        "slowdown_error_p90": bootstrap(errors, _p90, random),
        "onset_error_s": bootstrap(
            [host.onset_s for host in hosts if host.onset_s is not None],
            _median,
            random,
        ),
        "freeze_recall": _share(
            host.said == "freeze" for each in outcomes for host in each.hosts if not host.counts
        ),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def precision(outcomes: Sequence[Outcome]) -> Figure | None:
    """Of the hosts called slow, those that truly are."""
    slow = [host.factor >= SLOW_FROM for host in _hosts(outcomes) if host.slow]
    return proportion(sum(slow), len(slow) + sum(each.wrongly_slow for each in outcomes))


def recall(
    outcomes: Iterable[Outcome], at_least: float, at_most: float = math.inf
) -> Figure | None:
    """Of the hosts with a true factor between two, those called slow."""
    return _share(host.slow for host in _hosts(outcomes) if at_least <= host.factor <= at_most)


def confusion(pairs: Iterable[tuple[str, str]]) -> Floats:
    """How often each cause was true and said [CAUSES, CAUSES and all else], from (true, said)."""
    counted = np.zeros((len(CAUSES), len(CAUSES) + 1))
    for true, said in pairs:
        counted[_CAUSE[true], _CAUSE.get(said, -1)] += 1
    return counted


def macro_f1(confusions: Floats) -> float:
    """Mean F1 over the causes that are ever true, of confusions [trials, CAUSES, said]."""
    counted = confusions.sum(axis=0)
    true, said = counted.sum(axis=1), counted.sum(axis=0)[:-1]
    there = true > 0
    return float((2 * counted.diagonal()[there] / (true + said)[there]).mean())


def proportion(count: int, of: int, *, scale: float = 1.0) -> Figure | None:
    """COUNT of so many, with Wilson's interval (1927); None of none."""
    if not of:
        return None
    share, spread = count / of, Z**2 / of
    middle = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Figure(
        value=scale * share,
        # At 0 and at 1 the interval ends there, but for rounding.
        low=scale * min(share, max(0.0, middle - reach)),
        high=scale * max(share, min(1.0, middle + reach)),
        of=of,
    )


def bootstrap(
    values: Sequence[float] | Sequence[Floats],
    statistic: Callable[[Floats], float],
    random: np.random.Generator,
) -> Figure | None:
    """STATISTIC of VALUES with the percentile interval of its bootstrap; None of none."""
    if not values:
        return None
    all_of = np.asarray(values, dtype=float)
    drawn = [
        statistic(all_of[draw]) for draw in random.integers(len(all_of), size=(DRAWS, len(all_of)))
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Figure(value=statistic(all_of), low=float(low), high=float(high), of=len(all_of))


def _hosts(outcomes: Iterable[Outcome]) -> list[HostOutcome]:
    return [host for each in outcomes for host in each.hosts if host.counts]


def _share(flags: Iterable[bool], *, scale: float = 1.0) -> Figure | None:
    all_of = list(flags)
    return proportion(sum(all_of), len(all_of), scale=scale)


def _said(judged: HostJudgement) -> str:
    return judged.cause or (UNTOLD if judged.slow else CLEAN)


def _median(values: Floats) -> float:
    return float(np.median(values))


def _p90(values: Floats) -> float:
    return float(np.percentile(values, 90))
