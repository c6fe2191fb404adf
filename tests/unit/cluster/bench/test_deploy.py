from pathlib import Path

import pytest
import yaml

from cluster.bench.deploy import inventory_of
from cluster.inventory import Inventory
from cluster.validation import validate


@pytest.mark.parametrize("count", [1, 5])
def test_an_inventory_of_any_size_is_one_that_deploys(count: int, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory_of(count)))
    inventory = Inventory.load(tmp_path)
    assert [host.name for host in inventory.hosts] == [f"node{n + 1}" for n in range(count)]
    assert len(inventory.group("yarn_nodemanager")) == count
    assert len(inventory.group("hdfs_namenode")) == 1
    assert validate(inventory) == []
