"""Facts recorded on real hosts, with the inventory they belong to."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster.checks.base import Facts
from cluster.inventory import Inventory

RECORDED = Path(__file__).with_name("facts")
INVENTORIES = Path(__file__).resolve().parents[4] / "inventory"

Change = Callable[[Any], None]


class Site:
    """The facts of an inventory's hosts; ``but`` gives the same with one host's changed."""

    def __init__(self, facts: Mapping[str, Facts], inventory: Inventory) -> None:
        self.facts = facts
        self.inventory = inventory

    def but(self, host: str, change: Change) -> "Site":
        facts: Any = copy.deepcopy(self.facts)
        change(facts[host])
        return Site(facts, self.inventory)

    def with_variables(self, host: str, **variables: object) -> "Site":
        hosts = tuple(
            type(each)(
                name=each.name, groups=each.groups, variables={**each.variables, **variables}
            )
            if each.name == host
            else each
            for each in self.inventory.hosts
        )
        changed = Inventory(path=self.inventory.path, hosts=hosts, groups=self.inventory.groups)
        return Site(self.facts, changed)


def recorded(name: str, inventory: str) -> Site:
    facts = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return Site(facts, Inventory.load(INVENTORIES / inventory))
