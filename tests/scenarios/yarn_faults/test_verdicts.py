"""A real run with each kind of fault: the verdict names the host and the cause."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.bench.labs import prepare
from cluster.bench.stragglers import live
from cluster.bench.stragglers.faults import CLEAN
from cluster.bench.stragglers.ours import ours
from cluster.bench.stragglers.recipes import BEFORE, FROM_FIRST, MIDWAY, Item, Recipe
from cluster.bench.stragglers.traces import read_all, trials
from cluster.env import build
from cluster.lab import requirements
from job.model import Model

pytestmark = pytest.mark.skipif(bool(requirements.missing()), reason=requirements.missing())

MODEL = "yolact-shapes"
HOST = 2
# As strong as a fault is that somebody asks about; a bench tells how mild ones may be.
RECIPES = {
    recipe.kind: recipe
    for recipe in (
        Recipe(kind="cpu-quota", name="cpu-quota", at=FROM_FIRST, options={"factor": 3}),
        Recipe(kind="cpu-neighbour", name="cpu-neighbour", at=FROM_FIRST, options={"factor": 3}),
        Recipe(kind="link", name="link", at=FROM_FIRST, slows=3.0),
        Recipe(kind="disk", name="disk", at=MIDWAY, slows=3.0),
        Recipe(kind="memory", name="memory", at=FROM_FIRST, options={"factor": 4}),
        Recipe(kind="freeze", name="freeze", at=MIDWAY, seconds=8),
        Recipe(kind="cold", name="cold", at=BEFORE),
        Recipe(kind="skew", name="skew", at=BEFORE, options={"factor": 36}),
    )
}
SLOW = ("cpu-quota", "cpu-neighbour", "link", "disk", "memory")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Site]:
    """A lab of three alike workers, whose speeds are learned."""
    build.build(tell=print)
    prepare(print)
    traces = tmp_path_factory.mktemp("traces")
    with live.site("alike", RECIPES.values(), Model.locate(MODEL), traces, print) as made:
        yield made


@pytest.mark.parametrize("kind", [CLEAN, *RECIPES])
def test_the_verdict_names_the_host_and_the_cause(
    site: live.Site, kind: str, tmp_path: Path
) -> None:
    item = Item(name=kind, cluster="alike", recipe=RECIPES.get(kind), host=HOST)
    site.record(item)
    traces = [each for each in read_all(site.traces) if each.learns or each.name == kind]
    (trial,) = trials(traces)
    judged = ours(trial.run)
    said = {host: each.cause for host, each in judged.items() if each.cause}
    slow = {host for host, each in judged.items() if each.slow}
    if kind == CLEAN:
        assert (said, slow) == ({}, set())
    elif kind == "skew":
        # Whichever host got the costly images.
        assert set(said.values()) == {"skew"} and set(said) == set(trial.truth) and not slow
    else:
        assert said.pop(f"node{HOST}") == kind
        # A neighbour of one host computes beside others, too.
        assert kind == "cpu-neighbour" or not said
        assert (f"node{HOST}" in slow) == (kind in SLOW)
