"""A robust additive model: a value is the sum of one effect of each factor, and of slopes.

    value = effect[host] + effect[stage] + slope[stage] x covariate + residual

Fitted by Huber's M-estimator (Huber 1964), as reweighted least squares whose normal equations are
solved by conjugate gradients: no design matrix is made, so that a million rows with thousands of
hosts take seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from job.stragglers.work import Floats, Ints, medians

HUBER = 1.345  # 95 % as efficient as means where residuals are normal
MAD = 1.4826  # times the median deviation: the standard deviation where residuals are normal
LEAST_SPREAD = 0.05  # values are logs: none are more alike than 5 %, or one group would rule all
SLOPE_SD = 0.5  # an elasticity is about so large: what few rows say of one is drawn towards zero
PRIOR_ROWS = 5  # a group's spread counts as this many rows of all groups' typical spread
ROUNDS = 30
TOLERANCE = 1e-4  # of a log


@dataclass(frozen=True, kw_only=True)
class Additive:
    """What ``fit`` found; of each factor, ``effects`` [levels] are told up to a constant.

    ``errors`` [levels] are standard errors of an effect against those it was compared with, in
    rows alike in the other factor; infinite for one that shares no level with others. ``slopes``
    [covariates, groups] belong to the ``covariates`` [covariates, rows] as they were fitted: in
    each group centred, and each without what those before it say already. ``scale`` [groups] is
    the residuals' standard deviation, outliers aside.
    """

    effects: Mapping[str, Floats]
    errors: Mapping[str, Floats]
    slopes: Floats
    covariates: Floats
    residuals: Floats
    scale: Floats


def fit(
    values: Floats,
    factors: Mapping[str, Ints],
    *,
    within: str,
    covariates: Sequence[Floats] = (),
    weights: Floats | None = None,
    luck: float = 0.0,
) -> Additive:
    """Fit ``values`` [rows], logs as a rule, to the levels [rows] of each factor.

    Levels are numbered from 0. The groups that the factor ``within`` makes have each their own
    residual spread and their own slope of each of the ``covariates`` [rows]. ``weights`` [rows]
    are how often a row counts. ``luck`` is by how much (a standard deviation) all rows of a level
    in one group may differ from the sum of effects: where groups are few, they cannot show it.
    """
    if within not in factors:
        raise ValueError(f"within={within!r} names none of {', '.join(factors)}")
    groups = factors[within]
    weights = np.ones(len(values)) if weights is None else weights
    design = _Design(factors, within, _orthogonal(covariates, groups))
    spread = np.full(design.sizes[within], 1.0)
    typical = medians(values, groups, len(spread))
    residuals = values - typical[groups]
    solution, fitted = design.zero(), np.full(len(values), np.inf)
    inside = np.ones(len(values))
    for round_ in range(ROUNDS):
        spread = _spread(residuals, groups, design.freedom(weights * inside))
        inside = np.minimum(1, HUBER * spread[groups] / np.maximum(np.abs(residuals), 1e-300))
        solution = design.solve(values, weights * inside / spread[groups] ** 2, solution)
        before, fitted = fitted, design.predict(solution)
        residuals = values - fitted
        if round_ and np.abs(fitted - before).max(initial=0) < TOLERANCE:
            break
    scores = weights * inside * residuals / spread[groups] ** 2
    counted = weights * (np.abs(residuals) <= HUBER * spread[groups]) / spread[groups] ** 2
    return Additive(
        effects={name: solution[part] for name, part in design.parts.items()},
        errors={
            name: design.errors(name, counted, scores, luck) for name in factors if name != within
        },
        slopes=solution[design.slopes].reshape(len(covariates), design.sizes[within]),
        covariates=design.covariates,
        residuals=residuals,
        scale=spread,
    )


def total(values: Floats, groups: Ints, count: int) -> Floats:
    """The sum of ``values`` [rows] in each of ``count`` groups."""
    return np.bincount(groups, values, count).astype(np.float64, copy=False)


def connected(one: Ints, other: Ints) -> Ints:
    """For each level of ``one`` [rows] the least level it is linked to through ``other`` [rows].

    Effects can be compared inside such a part alone.
    """
    count, others = int(one.max(initial=-1)) + 1, int(other.max(initial=-1)) + 1
    cells = np.unique(one * max(others, 1) + other)
    one, other = cells // max(others, 1), cells % max(others, 1)
    part = np.arange(count)
    while True:
        seen = np.full(others, count)
        np.minimum.at(seen, other, part[one])
        joined = part.copy()
        np.minimum.at(joined, one, seen[other])
        if (joined == part).all():
            return part
        part = joined


class _Design:
    """Rows of the normal equations, without a matrix: sums by level instead."""

    def __init__(self, factors: Mapping[str, Ints], within: str, covariates: Floats) -> None:
        self.factors = factors
        self.within = within
        self.covariates = covariates
        self.sizes = {name: int(codes.max(initial=-1)) + 1 for name, codes in factors.items()}
        ends = np.cumsum([0, *self.sizes.values()])
        self.parts = {name: slice(ends[at], ends[at + 1]) for at, name in enumerate(self.sizes)}
        self.slopes = slice(ends[-1], ends[-1] + len(covariates) * self.sizes[within])

    def zero(self) -> Floats:
        return np.zeros(self.slopes.stop)

    def predict(self, solution: Floats) -> Floats:
        """The value of each row [rows]."""
        fitted = np.zeros(len(self.factors[self.within]))
        for name, codes in self.factors.items():
            fitted += solution[self.parts[name]][codes]
        slopes = solution[self.slopes].reshape(len(self.covariates), self.sizes[self.within])
        for slope, covariate in zip(slopes, self.covariates, strict=True):
            fitted += slope[self.factors[self.within]] * covariate
        return fitted

    def sums(self, rows: Floats, *, squared: bool = False) -> Floats:
        """``rows`` [rows] summed for each unknown, times the covariates or their squares."""
        found = [total(rows, codes, self.sizes[name]) for name, codes in self.factors.items()]
        for covariate in self.covariates:
            times = covariate**2 if squared else covariate
            found.append(total(rows * times, self.factors[self.within], self.sizes[self.within]))
        return np.concatenate(found)

    def solve(self, values: Floats, weights: Floats, start: Floats) -> Floats:
        """Weighted least squares by conjugate gradients, preconditioned by the diagonal.

        Without a full rank it finds one of the solutions, all of which fit alike.
        """
        prior = self.zero()
        prior[self.slopes] = SLOPE_SD**-2
        diagonal = self.sums(weights, squared=True) + prior
        diagonal[diagonal == 0] = 1
        solution = start.copy()
        left = self.sums(weights * (values - self.predict(solution))) - prior * solution
        step = left / diagonal
        direction, power = step, float(left @ step)
        for _ in range(2 * ROUNDS):
            # In units of standard errors: what is left to change is far below what is known.
            if power <= 1e-6 * len(left):
                break
            moved = self.sums(weights * self.predict(direction)) + prior * direction
            length = power / float(direction @ moved)
            solution += length * direction
            left = left - length * moved
            step = left / diagonal
            before, power = power, float(left @ step)
            direction = step + power / before * direction
        return solution

    def freedom(self, weights: Floats) -> Floats:
        """Rows [groups] less what their effects and slopes take of them."""
        groups, count = self.factors[self.within], self.sizes[self.within]
        taken = np.zeros(len(groups))
        for name, codes in self.factors.items():
            sums = total(weights, codes, self.sizes[name])
            taken += weights / np.maximum(sums, 1e-300)[codes]
        rows = np.bincount(groups, minlength=count)
        return rows - total(taken, groups, count) - len(self.covariates)

    def errors(self, name: str, counted: Floats, scores: Floats, luck: float) -> Floats:
        """Standard errors [levels] of a factor's effects; ``counted``, ``scores`` are of rows.

        The larger of two: from the groups' spread, and from the level's own residuals (the
        sandwich), so that neither few rows nor an erratic level look sure. They grow by ``luck``,
        or where rows of one level in one group agree more than that, by as much.
        """
        codes, count = self.factors[name], self.sizes[name]
        information = np.full(count, np.inf)
        own, lucky = np.zeros(count), np.zeros(count)
        for other, others in self.factors.items():
            if other == name:
                continue
            cell, cells = np.unique(codes * self.sizes[other] + others, return_inverse=True)
            level, peer = cell // self.sizes[other], cell % self.sizes[other]
            weight = total(counted, cells, len(cell))
            of_peer = total(weight, peer, self.sizes[other])[peer]
            share = weight / np.maximum(of_peer, 1e-300)
            known = total(weight * (1 - share), level, count)
            if other == self.within:
                lucky = luck**2 * total(weight**2 * (1 - share), level, count)
                known -= self._confounded(cells, level, peer, counted, count)
            square = total(scores**2, cells, len(cell))
            around = total(square, peer, self.sizes[other])[peer] - square
            spent = total((1 - share) ** 2 * square + share**2 * around, level, count)
            fewer = known < information
            information[fewer], own[fewer] = known[fewer], spent[fewer]
        rows = np.bincount(codes, minlength=count)
        sandwich = own * rows / np.maximum(rows - 1, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.maximum(1 / information, sandwich / information**2)
            agreeing = variance * self._agreement(name, counted, scores)
            variance = np.maximum(agreeing, variance + lucky / information**2)
        variance[~(information > 1e-9 * total(counted, codes, count))] = np.inf
        errors: Floats = np.sqrt(variance)
        return errors

    def _confounded(
        self, cells: Ints, level: Ints, peer: Ints, counted: Floats, count: int
    ) -> Floats:
        """What the slopes leave unknown of each level [levels]: it had the large tasks, say."""
        lost = np.zeros(count)
        for covariate in self.covariates:
            along = total(counted * covariate, cells, len(level))
            length = total(
                counted * covariate**2, self.factors[self.within], self.sizes[self.within]
            )
            lost += total(along**2 / (length[peer] + SLOPE_SD**-2), level, count)
        return lost

    def _agreement(self, name: str, counted: Floats, scores: Floats) -> float:
        """How much more the cells' means vary than their rows' spread explains: 1 or more."""
        sizes, groups = self.sizes[self.within], self.factors[self.within]
        cell, cells = np.unique(self.factors[name] * sizes + groups, return_inverse=True)
        weight = total(counted, cells, len(cell))
        levels = len(np.unique(cell // sizes))
        parts = len(np.unique(connected(self.factors[name], groups)))
        free = len(cell) - levels - len(np.unique(cell % sizes)) + parts
        known = weight > 0
        if free < 1 or not known.any():
            return 1.0
        squares = total(scores, cells, len(cell))[known] ** 2 / weight[known]
        # 0.455 is the median of the square of a standard normal.
        return max(1.0, float(np.median(squares)) / (0.455 * free / len(cell)))


def _orthogonal(covariates: Sequence[Floats], groups: Ints) -> Floats:
    """The covariates [covariates, rows] centred in each group, each without those before it."""
    count = int(groups.max(initial=-1)) + 1
    rows = np.maximum(np.bincount(groups, minlength=count), 1)
    done: list[Floats] = []
    for covariate in covariates:
        column = covariate - (total(covariate, groups, count) / rows)[groups]
        for other in done:
            length = total(other**2, groups, count)
            along = total(column * other, groups, count) / np.maximum(length, 1e-12)
            column = column - along[groups] * other
        # What is left of a copy is rounding, which no slope shall blow up.
        left = total(column**2, groups, count) > 1e-9 * rows
        done.append(np.where(left[groups], column, 0.0))
    return np.array(done).reshape(len(done), len(groups))


def _spread(residuals: Floats, groups: Ints, freedom: Floats) -> Floats:
    """Standard deviation [groups] by median deviations; small groups lean on the others."""
    count = len(freedom)
    rows = np.bincount(groups, minlength=count)
    deviation = np.nan_to_num(medians(np.abs(residuals), groups, count))
    free = np.maximum(freedom, 0)
    # With few rows free, fitted residuals are smaller than the errors were.
    variance = (MAD * deviation) ** 2 * rows / np.maximum(free, 1)
    pool = float(np.average(variance, weights=free)) if free.sum() > 0 else LEAST_SPREAD**2
    drawn = (free * variance + PRIOR_ROWS * pool) / (free + PRIOR_ROWS)
    spread: Floats = np.maximum(np.sqrt(drawn), LEAST_SPREAD)
    return spread
