"""What the probes measured stays beside the inventory."""

from datetime import UTC, datetime
from pathlib import Path

from cluster.checks import probes
from cluster.inventory import Inventory


def test_a_new_result_replaces_its_own_kind_alone(tmp_path: Path) -> None:
    assert probes.load(tmp_path) == {}
    probes.keep(tmp_path, "cpu-speed", {"a": {"rate": 1}, "b": {"rate": 2}})
    probes.keep(tmp_path, "disk-speed", {"a": {"rate": 3}})
    probes.keep(tmp_path, "cpu-speed", {"a": {"rate": 4}, "b": {"error": "It broke."}})
    kept = probes.load(tmp_path)
    assert kept["a"]["cpu-speed"]["rate"] == 4
    assert kept["a"]["disk-speed"]["rate"] == 3
    assert kept["b"]["cpu-speed"]["rate"] == 2
    age = datetime.now(UTC) - datetime.fromisoformat(kept["a"]["cpu-speed"]["measured_at"])
    assert abs(age.total_seconds()) < 60
    assert [path.name for path in tmp_path.iterdir()] == [probes.FILE]


def test_ansible_does_not_take_it_for_an_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {a: }}\n", encoding="utf-8")
    probes.keep(tmp_path, "cpu-speed", {"a": {"rate": 1}})
    assert [host.name for host in Inventory.load(tmp_path).hosts] == ["a"]
    # An inventory may be one file: then it is beside it.
    assert probes.load(tmp_path / "hosts.yml") == probes.load(tmp_path)
