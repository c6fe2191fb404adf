"""Which real runs are recorded: clusters, faults, and their order.

One round has every fault once, on one of the two clusters, and a run without faults after every
second one. In the next round each fault is on the other cluster, so that two rounds have all.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cluster.bench.stragglers.faults import CLEAN

CPUS: Mapping[str, tuple[float, ...]] = {"alike": (0.4, 0.4, 0.4), "uneven": (0.22, 0.44, 0.88)}
"""Of each cluster's workers; of the two cores of a small computer, they leave some to a driver."""

BEFORE, FROM_FIRST, MIDWAY = None, 0.0, 0.4
"""When a fault comes: before the run is submitted, or once that share of its images is done."""

CLEAN_EVERY = 2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A fault to order. ``name`` is its kind and how bad it is.

    ``options`` are those of the kind, or ``slows``: what the host reads of its link or disk at its
    usual speed, over what these are to give. It reads in bursts, and is slower by it than that
    says: 0.7 makes it some 1.4 times as slow. A freeze lasts ``seconds``.
    """

    kind: str
    name: str
    at: float | None
    options: Mapping[str, float] = field(default_factory=dict)
    slows: float | None = None
    seconds: float | None = None


RECIPES = (
    Recipe(kind="cpu-quota", name="cpu-quota-mild", at=MIDWAY, options={"factor": 1.4}),
    Recipe(kind="link", name="link-strong", at=FROM_FIRST, slows=2.5),
    Recipe(kind="memory", name="memory-mild", at=MIDWAY, options={"factor": 3.5}),
    Recipe(kind="disk", name="disk-strong", at=MIDWAY, slows=3.0),
    Recipe(kind="freeze", name="freeze-short", at=MIDWAY, seconds=5),
    Recipe(kind="cpu-neighbour", name="cpu-neighbour-strong", at=MIDWAY, options={"factor": 2.5}),
    Recipe(kind="skew", name="skew-mild", at=BEFORE, options={"factor": 9}),
    Recipe(kind="cold", name="cold", at=BEFORE),
    Recipe(kind="cpu-quota", name="cpu-quota-strong", at=BEFORE, options={"factor": 2.5}),
    Recipe(kind="link", name="link-mild", at=MIDWAY, slows=0.7),
    Recipe(kind="memory", name="memory-strong", at=MIDWAY, options={"factor": 4}),
    Recipe(kind="disk", name="disk-mild", at=FROM_FIRST, slows=0.7),
    Recipe(kind="freeze", name="freeze-long", at=MIDWAY, seconds=10),
    Recipe(kind="cpu-neighbour", name="cpu-neighbour-mild", at=BEFORE, options={"factor": 1.4}),
    Recipe(kind="skew", name="skew-strong", at=BEFORE, options={"factor": 36}),
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A run to be recorded, on a cluster; ``recipe`` is None for one without faults.

    Its fault is on worker number ``host``, from 1 on.
    """

    name: str
    cluster: str
    recipe: Recipe | None = None
    host: int = 1

    @property
    def kind(self) -> str:
        """That of its fault, or ``CLEAN``."""
        return self.recipe.kind if self.recipe else CLEAN


def items(
    rounds: int, *, kinds: Collection[str] = (), clusters: Collection[str] = ()
) -> list[Item]:
    """The runs of so many ROUNDS, in order; of some KINDS and CLUSTERS only, where any are given.

    Wherever it is broken off, there are about as many of each cluster, host and severity.
    """
    names = [*CPUS]
    found = []
    for number in range(rounds):
        for at, recipe in enumerate(RECIPES):
            cluster = names[(at + number) % len(names)]
            host = 1 + (at // len(names) + number) % len(CPUS[cluster])
            found.append(
                Item(
                    name=f"{number + 1:02}-{recipe.name}",
                    cluster=cluster,
                    recipe=recipe,
                    host=host,
                )
            )
            if at % CLEAN_EVERY == CLEAN_EVERY - 1:
                cluster = names[(at // CLEAN_EVERY + number) % len(names)]
                found.append(
                    Item(name=f"{number + 1:02}-{CLEAN}-{at // CLEAN_EVERY + 1}", cluster=cluster)
                )
    return [
        item
        for item in found
        if (not kinds or item.kind in kinds) and (not clusters or item.cluster in clusters)
    ]
