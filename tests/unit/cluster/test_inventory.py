"""Inventories as Ansible reads them: one of every feature the commands rely on, loaded for real."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from job.errors import UsageError

HOSTS = """
all:
  hosts:
    head: {ansible_host: 192.0.2.1, cluster_address: 198.51.100.1}
    slow: {ansible_host: 192.0.2.2, lab_cpus: 0.25}
    plain: {}
  vars: {lab_cpus: 2, lab_memory_mb: "{{ 2 * 1024 }}"}
  children:
    edge: {hosts: {head: }}
    hdfs_datanode:
      children:
        class_old: {hosts: {slow: }}
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    path = tmp_path_factory.mktemp("inventory")
    (path / "hosts.yml").write_text(HOSTS, encoding="utf-8")
    (path / "group_vars").mkdir()
    (path / "group_vars" / "class_old.yml").write_text("hadoop_yarn_vcores: 1\n", encoding="utf-8")
    return Inventory.load(path)


def test_hosts_keep_their_order_and_their_addresses(loaded: Inventory) -> None:
    # Ansible lists hosts of no group but `all` first.
    assert sorted(host.name for host in loaded.hosts) == ["head", "plain", "slow"]
    assert (loaded["head"].ssh_address, loaded["head"].address) == ("192.0.2.1", "198.51.100.1")
    assert (loaded["slow"].ssh_address, loaded["slow"].address) == ("192.0.2.2", "192.0.2.2")
    assert loaded["plain"].address == "plain"


def test_a_group_has_the_hosts_of_the_groups_in_it(loaded: Inventory) -> None:
    assert loaded.groups == {"edge", "hdfs_datanode", "class_old"}
    assert [host.name for host in loaded.group("hdfs_datanode")] == ["slow"]
    assert loaded["slow"].groups == {"hdfs_datanode", "class_old"}
    assert loaded.children["hdfs_datanode"] == {"class_old"}
    assert loaded.group("spark_master") == ()


def test_variables_are_merged_and_templates_left(loaded: Inventory) -> None:
    assert loaded["slow"].variables["hadoop_yarn_vcores"] == 1
    assert [loaded[name].variables["lab_cpus"] for name in ("head", "slow")] == [2, 0.25]
    assert loaded["head"].variables["lab_memory_mb"] == "{{ 2 * 1024 }}"


def test_the_first_of_a_group(loaded: Inventory) -> None:
    assert loaded.first("edge").name == "head"
    with pytest.raises(ClusterError, match=r"has no host in group spark_master\.$"):
        loaded.first("spark_master")
    with pytest.raises(UsageError, match=r"has no host nobody: it has .*slow"):
        loaded["nobody"]


def test_no_such_inventory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no inventory .*/missing: give one with -i"):
        Inventory.load(tmp_path / "missing")


def test_an_inventory_with_an_error_is_not_read_in_part(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("all: {hosts: {one: {ansible_host: 192.0.2.1}}}\n", "utf-8")
    (tmp_path / "b.yml").write_text("all: {hosts: [\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be read: .*b\.yml"):
        Inventory.load(tmp_path)


def test_an_inventory_without_hosts(tmp_path: Path) -> None:
    listing = json.loads('{"_meta": {"hostvars": {}}, "all": {"children": ["ungrouped"]}}')
    found = Inventory.parse(tmp_path, listing)
    assert (found.hosts, found.groups) == ((), frozenset())


def test_a_folder_of_inventories_is_none(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.yml").write_text(HOSTS, encoding="utf-8")
    with pytest.raises(UsageError, match=r"several inventories: give one of \S+/one, \S+/two"):
        Inventory.load(tmp_path)


def test_a_copy_does_not_operate_the_lab_of_the_original(tmp_path: Path) -> None:
    original, copy = tmp_path / "a place", tmp_path / "copy"
    original.mkdir()
    arguments = f"-F {shlex.quote(str(original / '.lab' / 'ssh_config'))}"
    lab = {"all": {"vars": {"ansible_ssh_common_args": arguments}}}
    (original / "hosts.yml").write_text(HOSTS, encoding="utf-8")
    (original / "lab.yml").write_text(json.dumps(lab), encoding="utf-8")
    assert Inventory.load(original).hosts
    shutil.copytree(original, copy)
    with pytest.raises(UsageError, match=r"copy/lab\.yml is of the lab of .*a place: remove it"):
        Inventory.load(copy)
