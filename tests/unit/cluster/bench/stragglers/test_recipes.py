from collections import Counter

from cluster.bench.stragglers.faults import CLEAN, KINDS
from cluster.bench.stragglers.recipes import CPUS, RECIPES, items
from cluster.lab.faults.kinds import KINDS as ORDERED


def test_every_kind_is_there_in_two_severities_but_cold() -> None:
    counted = Counter(recipe.kind for recipe in RECIPES)
    assert {*counted} == {*KINDS}
    assert all(count > 1 or kind == "cold" for kind, count in counted.items())
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)
    # The skew is one of the input, and ordered another way.
    assert all(recipe.kind in ORDERED or recipe.kind == "skew" for recipe in RECIPES)


def test_six_rounds_have_each_fault_once_on_each_worker_of_each_cluster() -> None:
    found = items(6)
    assert len({item.name for item in found}) == len(found)
    counted = Counter((item.recipe.name, item.cluster, item.host) for item in found if item.recipe)
    assert len(counted) == len(RECIPES) * sum(len(cpus) for cpus in CPUS.values())
    assert set(counted.values()) == {1}


def test_a_round_that_is_broken_off_is_about_as_good() -> None:
    for count in range(6, len(items(2))):
        some = items(2)[:count]
        clusters = Counter(item.cluster for item in some)
        assert abs(clusters["alike"] - clusters["uneven"]) <= 2
        clean = sum(item.kind == CLEAN for item in some)
        assert 0.25 <= clean / count <= 0.4


def test_some_kinds_and_clusters_can_be_chosen() -> None:
    found = items(2, kinds=["link", CLEAN], clusters=["alike"])
    assert {item.kind for item in found} == {"link", CLEAN}
    assert {item.cluster for item in found} == {"alike"}
    assert [item for item in items(2) if item in found] == found
