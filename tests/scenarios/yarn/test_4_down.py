"""The end of a lab, after all that the README does with it."""

from typing import Any

from cluster.lab import cgroups, nspawn
from tests.scenarios.labs import OperatedLab
from tests.scenarios.readme import IN_README, as_in_readme, seen

INVENTORY = "lab-yarn"


def test_down_leaves_nothing(lab: OperatedLab, deployed: Any) -> None:
    own = nspawn.Lab.of(lab.inventory)
    as_in_readme(lab, "lab down")
    assert not own.folder.exists()
    assert cgroups.processes(own.name) == set()
    assert not list(lab.inventory.glob("lab.yml")) + list(lab.inventory.glob(".lab"))


def test_each_command_of_the_readme_was_run() -> None:
    assert seen == IN_README
