from pathlib import Path
from xml.etree import ElementTree

import pytest

from cluster.inventory import Inventory
from cluster.topology import picture

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def drawn() -> str:
    return picture(Inventory.load(ROOT / "inventory/lab-hetero"))


def test_the_picture_in_the_documentation_is_of_the_inventory_as_it_is(drawn: str) -> None:
    assert (ROOT / "docs/topology.svg").read_text() == drawn


def test_a_host_shows_what_it_is(drawn: str) -> None:
    texts = [element.text for element in ElementTree.fromstring(drawn).iter() if element.text]
    for text in ("medium1", "192.168.58.12", "0.5 CPU, 4 GiB", "26 Mbit/s", "class_medium"):
        assert text in texts
    assert texts.count("NodeManager") == 3


def test_names_are_escaped() -> None:
    host = {"ansible_host": "a<b", "lab_cpus": 1, "lab_memory_mb": 1024}
    listing = {"_meta": {"hostvars": {"one": host}}, "all": {"hosts": ["one"]}}
    text = picture(Inventory.parse(Path("x"), listing))
    assert "a&lt;b" in text
