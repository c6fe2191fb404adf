"""When a host was slower than it should be: stretches of steps, by a likelihood ratio."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from job.stragglers.lines import Lines
from job.stragglers.work import Floats

DRIFT = 0.03  # by how much (log) a healthy host's pace wanders from one part of a run to another
SHARED = 0.08  # and that of all hosts of one computer together
LEAST_NOISE, USUAL_NOISE = 0.02, 0.3  # of one image's time (log)
PARTIAL = 8.0  # what a stretch must gain (z squared) that does not last all the run
LEAST_IMAGES = 4.0
LEAST_SPAN = 0.1  # of the run's steps
LEAST_SHARE = 0.3  # of an image: less of one in a step says nothing
MARGIN = 0.05  # log: who is slower by less is not slow
FALSE_ALARMS = 0.004  # in a run
ROUNDS = 12
SMALL = 12  # hosts: of so many each is compared with the others alone
OTHERS = 0.25  # of the slow hosts' images: fewer by the others say nothing of a time
MEDIAN_VARIANCE = 1.57  # of a median, times that of a mean
_QUANTILES = {0.5: 0.6745, 0.8: 1.2816, 0.95: 1.96}  # of the distance from 0, in spreads


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """``host`` was slow from step ``first`` to before ``last``, by the log ``size`` +- ``error``.

    ``z`` says how sure that is, in standard deviations.
    """

    host: int
    first: int
    last: int
    size: float
    error: float
    z: float


@dataclass(frozen=True, kw_only=True)
class Paces:
    """Log paces beside what was expected and beside the others at that time [hosts, steps].

    NaN where a host did nothing. ``spreads`` [hosts]: by how much what was expected may be wrong.
    """

    deviation: Floats
    variance: Floats
    images: Floats
    spreads: Floats


def slow_stretches(
    seen: Lines, expected: Floats, spreads: Floats
) -> tuple[dict[int, Stretch], Paces]:
    """The slow stretch of each slow host, and all paces beside the others without those.

    ``expected`` [hosts] is what each should do, ``spreads`` [hosts] how wrong that may be (log).
    """
    raw = _log_paces(seen, expected)
    with np.errstate(divide="ignore"):
        variance = _noise(raw, seen.images) ** 2 / np.maximum(seen.images, 1e-9)
    threshold = NormalDist().inv_cdf(1 - FALSE_ALARMS / max(1, len(seen.hosts)))
    slow = np.zeros(raw.shape, dtype=bool)
    found: dict[int, Stretch] = {}
    for _ in range(ROUNDS):
        deviation, spare = _beside_others(raw, variance, slow)
        paces = Paces(
            deviation=deviation, variance=variance + spare, images=seen.images, spreads=spreads
        )
        now = {each.host: each for each in search(paces, threshold) if each.size > MARGIN}
        fresh = sorted((each for each in now.values() if each.host not in found), key=_unsure)
        found = {host: now[host] for host in found if host in now}
        if not fresh:
            break
        # One by one where hosts are few: a slow one makes its peers look fast, or another slow.
        found |= {each.host: each for each in fresh[: max(1, len(seen.hosts) // 10)]}
        slow = _no_example(found, seen.images)
    return found, paces


def search(paces: Paces, threshold: float, *, partial: float = PARTIAL) -> list[Stretch]:
    """The slowest stretch of each host that has one of more than THRESHOLD standard deviations.

    What a host is compared with is what was expected of it, and its own other steps.
    """
    hosts, steps = paces.deviation.shape
    weight = _weights(paces)
    sums = _sums(paces, weight)
    prior = paces.spreads[:, np.newaxis] ** 2
    least = max(1, math.ceil(LEAST_SPAN * steps))
    best = np.full(hosts, -np.inf)
    chosen = np.zeros((hosts, 4))
    every = np.arange(hosts)
    for first in range(steps + 1 - least):
        last = np.arange(first + least, steps + 1)
        weights, values, images = (each.split(first, last) for each in sums)
        alone = images[1] < LEAST_IMAGES / 2
        size, error, odd = _beside_rest(weights, values, alone, prior)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = size / error
        score = np.where(z > 0, z**2, -1.0) - np.where(alone, 0.0, partial)
        score -= np.where(odd > 0, np.maximum(0.0, odd**2 - 2), 0.0)
        score[~(images[0] >= LEAST_IMAGES)] = -np.inf
        at = np.argmax(score, axis=1)
        better = score[every, at] > best
        best = np.where(better, score[every, at], best)
        found = np.column_stack(
            [np.full(hosts, first), last[at], size[every, at], error[every, at]]
        )
        chosen[better] = found[better]
    stretches = []
    for host in np.flatnonzero(best > threshold**2).tolist():
        wide = _widened(
            -paces.deviation[host], weight[host], int(chosen[host, 0]), int(chosen[host, 1])
        )
        stretches.append(
            Stretch(
                host=host,
                first=wide[0],
                last=wide[1],
                size=float(chosen[host, 2]),
                error=float(chosen[host, 3]),
                z=math.sqrt(best[host]),
            )
        )
    return stretches


def measured(paces: Paces, host: int, first: int, last: int) -> Stretch | None:
    """How slow a host was from step FIRST to before LAST; None of too few images or steps."""
    own = Paces(**{name: values[[host]] for name, values in vars(paces).items()})
    ends = np.array([last])
    weights, values, images = (each.split(first, ends) for each in _sums(own, _weights(own)))
    few = images[0] < LEAST_IMAGES or last - first < LEAST_SPAN * paces.images.shape[1]
    if few or not weights[0] > 0:
        return None
    alone = (images[1] < LEAST_IMAGES / 2) | ~(weights[1] > 0)
    size, error, _ = _beside_rest(weights, values, alone, own.spreads[:, np.newaxis] ** 2)
    return Stretch(
        host=host,
        first=first,
        last=last,
        size=float(size[0, 0]),
        error=float(error[0, 0]),
        z=float(size[0, 0] / error[0, 0]),
    )


def _beside_rest(
    weights: tuple[Floats, Floats],
    values: tuple[Floats, Floats],
    alone: npt.NDArray[np.bool_],
    prior: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Of stretches [hosts, stretches] how slow (log) they are, by how much that errs, and how odd
    the rest is.

    ``weights`` and weighted ``values`` are sums over the stretch and over the rest, which tells
    nothing where the stretch is ``alone``; ``prior`` is the variance of what was expected. The rest
    must be as was expected of the host, or it was slow there, too: it is odd by so many errors.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        inside, inside_variance = values[0] / weights[0], 1 / weights[0] + DRIFT**2
        rest, rest_variance = values[1] / weights[1], 1 / weights[1] + DRIFT**2
        rest = np.where(alone, 0.0, rest)
        precision = 1 / prior + np.where(alone, 0.0, 1 / rest_variance)
        base = rest / np.where(alone, 1.0, rest_variance) / precision
        odd = np.where(alone, 0.0, rest / np.sqrt(rest_variance + prior))
    return inside - base, np.sqrt(inside_variance + 1 / precision), odd


def factor_of(stretch: Stretch, seen: Lines, expected: Floats, paces: Paces) -> float:
    """Log of the host's time in the stretch over what its work would have taken it.

    That is as was expected of it, and as it did otherwise.
    """
    host, part = stretch.host, slice(stretch.first, stretch.last)
    others = _log_paces(seen, expected)[host, part] - paces.deviation[host, part]
    known = ~np.isnan(others)
    would = (seen.cost[host, part] / expected[host])[known] * np.exp(-others[known])
    inside = float(np.log(seen.busy[host, part][known].sum() / would.sum()))
    rest = ~np.isnan(paces.deviation[host])
    rest[part] = False
    if paces.images[host][rest].sum() < LEAST_IMAGES / 2:
        return inside
    weight = 1 / paces.variance[host][rest]
    usual = -float(np.average(paces.deviation[host][rest], weights=weight))
    sure, own = 1 / (1 / weight.sum() + DRIFT**2), 1 / paces.spreads[host] ** 2
    return float(inside - usual * sure / (sure + own))


def level(paces: Paces, host: int) -> tuple[float, float]:
    """Log of how much longer a host took over all steps than it should, and its error."""
    known = ~np.isnan(paces.deviation[host])
    weight = 1 / paces.variance[host][known]
    if not weight.sum() > 0:
        return math.nan, math.nan
    mean = -float(np.average(paces.deviation[host][known], weights=weight))
    return mean, math.sqrt(1 / weight.sum() + DRIFT**2)


def _no_example(found: Mapping[int, Stretch], images: Floats) -> npt.NDArray[np.bool_]:
    """Where hosts are no example of how fast a healthy one is [hosts, steps].

    That is in their slow stretch, and where hardly any but those that have one does any of the
    IMAGES: at a run's end they are what it waits for, and beside each other they look healthy.
    """
    slow = np.zeros(images.shape, dtype=bool)
    suspects = np.zeros(len(images), dtype=bool)
    for each in found.values():
        slow[each.host, each.first : each.last] = True
        suspects[each.host] = True
    if not suspects.all():
        theirs = images[suspects].sum(axis=0)
        slow |= suspects[:, np.newaxis] & (images[~suspects].sum(axis=0) < OTHERS * theirs)
    return slow


def _weights(paces: Paces) -> Floats:
    """How much each pace says [hosts, steps]; 0 where there is none."""
    return np.where(np.isnan(paces.deviation), 0.0, 1 / paces.variance)


def _sums(paces: Paces, weight: Floats) -> tuple["_Sums", "_Sums", "_Sums"]:
    """Of the weights, of how slow hosts were by these, and of the images."""
    slower = -np.nan_to_num(paces.deviation)
    images = np.where(np.isnan(paces.deviation), 0.0, paces.images)
    return _Sums(weight), _Sums(slower * weight), _Sums(images)


class _Sums:
    """Sums of values [hosts, steps] over any steps."""

    def __init__(self, values: Floats) -> None:
        self._upto = np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))

    def split(self, first: int, last: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """From FIRST to before each of LAST [hosts, lasts], and over all other steps."""
        inside = self._upto[:, last] - self._upto[:, [first]]
        return inside, self._upto[:, [-1]] - inside


def _unsure(stretch: Stretch) -> float:
    return -stretch.z


def _log_paces(seen: Lines, expected: Floats) -> Floats:
    """Log of cost/s over what was EXPECTED [hosts, steps]; NaN where there is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        paces = np.log(seen.cost / seen.busy / expected[:, np.newaxis])
    return np.where((seen.images < LEAST_SHARE) | (seen.busy <= 0), np.nan, paces)


def _noise(paces: Floats, images: Floats) -> float:
    """Spread (log) of one image's time: from one step to the next, so that faults do not count."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.diff(paces, axis=1) / np.sqrt(1 / images[:, 1:] + 1 / images[:, :-1])
    steps = np.abs(steps[np.isfinite(steps)])
    if not len(steps):
        return USUAL_NOISE
    # The largest, for tails are heavier than normal ones.
    spreads = np.quantile(steps, tuple(_QUANTILES)) / tuple(_QUANTILES.values())
    return max(LEAST_NOISE, float(spreads.max()))


def _beside_others(
    paces: Floats, variance: Floats, slow: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Paces less the others' at that time, and its variance; where hosts are SLOW they are none.

    The others' is their mean where they are one or two, else their median, by how sure they are.
    Where there is none at a time, it is their usual one.
    """
    weight = np.where(slow | np.isnan(paces), 0.0, 1 / variance)
    value = np.where(np.isnan(paces), 0.0, paces)
    hosts = len(paces)
    if hosts > SMALL:
        middle, spare = _middle(value, weight)
        return paces - middle, np.broadcast_to(spare, paces.shape)
    reference, spare = np.zeros(paces.shape), np.zeros(paces.shape)
    for host in range(hosts):
        others = np.arange(hosts) != host
        reference[host], spare[host] = _middle(value[others], weight[others])
    return paces - reference, spare


def _middle(value: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Of values [hosts, steps] the middle one of each step [steps], and its variance."""
    total, count = weight.sum(axis=0), (weight > 0).sum(axis=0)
    if not count.any():
        return np.zeros(value.shape[1]), np.full(value.shape[1], np.inf)
    order = np.argsort(value, axis=0)
    ascending = np.take_along_axis(value, order, axis=0)
    share = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
    low = np.argmax(share >= 0.5 * total - 1e-9, axis=0)
    high = np.argmax(share > 0.5 * total + 1e-9, axis=0)
    steps = np.arange(value.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, spare = (value * weight).sum(axis=0) / total, 1 / total
    middle = np.where(count > 2, (ascending[low, steps] + ascending[high, steps]) / 2, mean)
    spare = np.where(count > 2, MEDIAN_VARIANCE * spare, spare)
    usual = float(np.average(middle[count > 0], weights=total[count > 0]))
    return np.where(count > 0, middle, usual), np.where(count > 0, spare, SHARED**2)


def _widened(slower: Floats, weight: Floats, first: int, last: int) -> tuple[int, int]:
    """The stretch with the steps beside it that are on average half as slow or more."""
    known = ~np.isnan(slower)
    value = np.nan_to_num(slower) * weight
    least = 0.5 * value[first:last].sum() / max(float(weight[first:last].sum()), 1e-9)
    before = _while_positive(value[:first][::-1] - least * weight[:first][::-1])
    after = _while_positive(value[last:] - least * weight[last:])
    first, last = first - before, last + after
    return (
        first if known[:first].any() else 0,
        last if known[last:].any() else len(known),
    )


def _while_positive(values: Floats) -> int:
    """How many of VALUES there are at most, from the first on, whose sum is above 0."""
    above = np.flatnonzero(np.cumsum(values) > 0)
    return int(above[-1]) + 1 if len(above) else 0
