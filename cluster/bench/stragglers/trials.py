"""Which runs are simulated to score an analysis.

Kinds of fault and factors go by turns; cluster, beginning and length are drawn for each trial:

| what | values |
| --- | --- |
| hosts | 2, 3, 5, 20 or 100; of 35 trials one has 1,000, of 175 one has 5,000 |
| speeds | alike or 1:2:4; of cgroups in a lab (1 CPU; 1/4, 1/2, 1) or machines (4 CPUs; 1, 2, 4) |
| images | 60 or 200 a host and mean CPU of a host; 60 a host of more than 100 hosts |
| faults | each kind alone, two on one host, one on each of two hosts (of 5 or more), none: three |
|        | times, two of them on 1:2:4 |
| factor | 1.15 (twice), 1.3, 1.5, 2, 3, 4; of cold and skew 2, 3, 4; a freeze lasts 3 to 10 s |
| when | from the start, from 40 % of the run, or from 30 % to 80 %; cold and skew at the start |

Trials with even seeds are for choosing thresholds, only those with odd ones are reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import AT_START, KINDS, Fault
from cluster.bench.stragglers.noise import USUAL, Noise
from cluster.bench.stragglers.simulator import Trial, simulate

SIZES = (2, 3, 5, 20, 100)
# No multiples of the turns: every kind gets its turn on them.
LARGE = {35: 1000, 175: 5000}
CLUSTERS = (
    ((1.0,), True),
    ((0.25, 0.5, 1.0), True),
    ((4.0,), False),
    ((1.0, 2.0, 4.0), False),
)
IMAGES = (60, 200)
FACTORS = (1.15, 1.3, 1.5, 1.15, 2.0, 3.0, 4.0)
START_FACTORS = (2.0, 3.0, 4.0)
FREEZE_S = (3, 10)
# Shares of the run.
SPANS = ((0.0, None), (0.4, None), (0.3, 0.8))
# Of different resources, so that both are felt.
PAIRS = (
    ("cpu-quota", "link"),
    ("cpu-neighbour", "disk"),
    ("memory", "link"),
    ("cpu-quota", "disk"),
)
ON_ONE_HOST, ON_TWO_HOSTS, NONE, NONE_UNEVEN = "one host", "two hosts", "none", "none of 1:2:4"
TURNS = (*KINDS, ON_ONE_HOST, ON_TWO_HOSTS, NONE, NONE_UNEVEN, NONE_UNEVEN)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A trial to be simulated."""

    cluster: Cluster
    images: int
    faults: tuple[Fault, ...]
    seed: int

    def simulate(self, noise: Noise) -> Trial:
        """Run it."""
        return simulate(
            self.cluster, images=self.images, faults=self.faults, noise=noise, seed=self.seed
        )


def specs(
    count: int,
    *,
    seed: int = 0,
    noise: Noise = USUAL,
    tuning: bool = False,
) -> Iterator[Spec]:
    """So many trials, the same for the same SEED; for TUNING, those with even seeds."""
    for number in range(1, count + 1):
        random = np.random.default_rng([seed, number, tuning])
        turn = TURNS[number % len(TURNS)]
        cluster = _cluster(number, turn, random)
        images = IMAGES[0] * cluster.hosts
        if cluster.hosts <= SIZES[-1]:
            mean_cpus = max(1.0, float(cluster.quota.mean()))
            images = int(random.choice(IMAGES) * cluster.hosts * mean_cpus)
        yield Spec(
            cluster=cluster,
            images=images,
            faults=_faults(
                turn,
                cluster.hosts,
                factor_turn=number // len(TURNS) + number % len(TURNS),
                seconds=cluster.ideal_s(images, noise),
                random=random,
            ),
            seed=2 * (seed * 1_000_000 + number) + (not tuning),
        )


def _cluster(number: int, turn: str, random: np.random.Generator) -> Cluster:
    large = [hosts for every, hosts in LARGE.items() if number % every == 0]
    sizes = SIZES[2:] if turn == ON_TWO_HOSTS else SIZES
    hosts = large[-1] if large else int(random.choice(sizes))
    kinds = [kind for kind in CLUSTERS if turn != NONE_UNEVEN or len(kind[0]) > 1]
    cpus, lab = kinds[random.integers(len(kinds))]
    return Cluster(hosts=hosts, cpus=cpus, lab=lab)


def _faults(
    turn: str, hosts: int, *, factor_turn: int, seconds: float, random: np.random.Generator
) -> tuple[Fault, ...]:
    if turn in (NONE, NONE_UNEVEN):
        return ()
    kinds: tuple[str, ...] = (turn,)
    if turn in (ON_ONE_HOST, ON_TWO_HOSTS):
        kinds = PAIRS[random.integers(len(PAIRS))]
    chosen = random.choice(hosts, len(kinds) if turn == ON_TWO_HOSTS else 1, replace=False)
    begin, end = SPANS[random.integers(len(SPANS))]
    since, until = int(begin * seconds), None if end is None else int(end * seconds) + 1
    found = []
    for at, kind in enumerate(kinds):
        host = int(chosen[at % len(chosen)])
        if kind == "freeze":
            since = int(0.4 * seconds)
            last = since + int(random.integers(FREEZE_S[0], FREEZE_S[1] + 1))
            found.append(Fault(kind=kind, host=host, since=since, until=last))
        elif kind in AT_START:
            factor = START_FACTORS[factor_turn % len(START_FACTORS)]
            found.append(Fault(kind=kind, host=host, factor=factor))
        else:
            factor = FACTORS[factor_turn % len(FACTORS)]
            found.append(Fault(kind=kind, host=host, factor=factor, since=since, until=until))
    return tuple(found)
