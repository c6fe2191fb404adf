"""Mistakes in inventories: each is found, named by host and key, and the sound ones have none."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.inventory import Inventory, ansible
from cluster.places import repository
from cluster.validation import require_valid, validate
from job.errors import UsageError

SHIPPED = sorted(path.parent for path in (repository() / "inventory").glob("*/hosts.yml"))

# An inventory with a mistake of every kind that stands in a file of its own.
HOSTS = """
all:
  hosts:
    node1: {ansible_host: 192.0.2.1, lab_cpus: two}
    node2: {ansible_host: 192.0.2.2, lab_cpus: 1, hadoop_way: torrent}
    node3: {ansible_host: 192.0.2.3, lab_cpus: 1}
  vars: {lab_memory_mb: 4096, lab_memory: 4096}
  children:
    hdfs_namenode: {hosts: {node1: , node2: }}
    hdfs_datanodes: {hosts: {node1: , node2: , node3: }}
    yarn_resourcemanager: {hosts: {node1: }}
    yarn_nodemanager: {hosts: {node1: , node2: , node3: }}
    class_old: {hosts: {node2: , node3: }}
    class_of_ini: {hosts: {node3: }}
    edge: {hosts: {node1: }}
"""
GROUP_VARS = "hadoop_yarn_memory_mb: 6144\nhadoop_yarn_vcors: 3\nhadoop_lost_host_s: soon\n"
HOST_VARS = (
    "java_packages: {openjdk: 17}\njava_hom: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n"
)
INI = "[class_of_ini:vars]\nbase_firewall = maybe\n"


def inventory(path: Path, hosts: dict[str, dict[str, Any]], **groups: list[str]) -> Inventory:
    """As Ansible would list it."""
    listing = {
        "_meta": {"hostvars": hosts},
        "all": {"children": ["ungrouped", *groups], "hosts": list(hosts)},
        **{name: {"hosts": members} for name, members in groups.items()},
    }
    return Inventory.parse(path, listing)


def three(**variables: Any) -> dict[str, dict[str, Any]]:
    return {f"node{i}": {"ansible_host": f"192.0.2.{i}", **variables} for i in (1, 2, 3)}


SPARK: dict[str, list[str]] = {
    "spark_master": ["node1"],
    "spark_worker": ["node1", "node2", "node3"],
    "edge": ["node1"],
}
HADOOP: dict[str, list[str]] = {
    "hdfs_namenode": ["node1"],
    "hdfs_datanode": ["node2", "node3"],
    "yarn_resourcemanager": ["node1"],
    "yarn_nodemanager": ["node2", "node3"],
    "edge": ["node1"],
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.name))
def test_shipped_inventories_have_no_mistake(path: Path) -> None:
    assert validate(Inventory.load(path)) == []


def test_every_mistake_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS, encoding="utf-8")
    (tmp_path / "group_vars" / "class_old").mkdir(parents=True)
    (tmp_path / "group_vars" / "class_old" / "main.yml").write_text(GROUP_VARS, encoding="utf-8")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "node3.yml").write_text(HOST_VARS, encoding="utf-8")
    (tmp_path / "more.ini").write_text(INI, encoding="utf-8")
    hosts, ini = tmp_path / "hosts.yml", tmp_path / "more.ini"
    old, node3 = tmp_path / "group_vars/class_old/main.yml", tmp_path / "host_vars/node3.yml"
    assert validate(Inventory.load(tmp_path)) == [
        "Group hdfs_datanodes is no role and sets no variables (did you mean hdfs_datanode?): "
        "rename it, take it out, or give it group_vars.",
        "Group hdfs_namenode has 2 hosts (node1, node2): leave one, for there is no high "
        "availability here.",
        "Group hdfs_datanode has no host, and node1 is in hdfs_namenode: put one into "
        "hdfs_datanode, for files have no other place.",
        f"Host node1: lab_cpus in {hosts} is 'two', and must be a number above 0, not a template.",
        f"Host node1: lab_memory in {hosts} is known to no role (did you mean lab_memory_mb?): "
        "correct it, or take it out.",
        f"Host node2: hadoop_lost_host_s in {old} is 'soon', and must be of type int.",
        f"Host node2: hadoop_way in {hosts} is 'torrent', and must be one of maven, archive.",
        f"Host node2: hadoop_yarn_vcors in {old} is known to no role (did you mean "
        "hadoop_yarn_vcores?): correct it, or take it out.",
        f"Host node3: base_firewall in {ini} is 'maybe', and must be of type bool.",
        f"Host node3: java_hom in {node3} is known to no role (did you mean java_home?): "
        "correct it, or take it out.",
        f"Host node3: java_packages in {node3} is {{'openjdk': 17}}, and must be of type list of "
        "str.",
        "Host node2: hadoop_yarn_memory_mb (6144) is more than its lab_memory_mb (4096): lower "
        "hadoop_yarn_memory_mb, or raise lab_memory_mb.",
        "Host node3: hadoop_yarn_memory_mb (6144) is more than its lab_memory_mb (4096): lower "
        "hadoop_yarn_memory_mb, or raise lab_memory_mb.",
    ]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({**HADOOP, "hdfs_namenode": []}, "Group hdfs_namenode has no host, and node2 is in"),
        ({**HADOOP, "hdfs_datanode": []}, "Group hdfs_datanode has no host, and node1 is in"),
        (
            {**HADOOP, "yarn_resourcemanager": []},
            "Group yarn_resourcemanager has no host, and node2 is in yarn_nodemanager",
        ),
        ({**HADOOP, "yarn_nodemanager": []}, "Group yarn_nodemanager has no host, and node1 is"),
        (
            {**HADOOP, "hdfs_namenode": [], "hdfs_datanode": []},
            "Group hdfs_namenode has no host, and node1 is in yarn_resourcemanager",
        ),
        ({**SPARK, "spark_master": []}, "Group spark_master has no host, and node1 is in"),
        ({**SPARK, "spark_worker": []}, "Group spark_worker has no host, and node1 is in"),
        ({**SPARK, "spark_master": ["node1", "node3"]}, "Group spark_master has 2 hosts (node1, "),
        (
            {**HADOOP, "yarn_resourcemanager": ["node1", "node2"]},
            "Group yarn_resourcemanager has 2 hosts (node1, node2): leave one",
        ),
        ({**SPARK, "spark_history": ["node1", "node2"]}, "Group spark_history has 2 hosts"),
        ({**SPARK, "edge": []}, "Group edge has no host: put the one into it"),
        ({**SPARK, "class_slow": ["node3"]}, "Group class_slow is no role and sets no variables"),
        ({**SPARK, "spark_workers": ["node3"]}, "(did you mean spark_worker?)"),
        ({**SPARK, "node2": ["node3"]}, "node2 is the name of a host and of a group: rename"),
    ],
)
def test_wrong_groups(tmp_path: Path, groups: dict[str, list[str]], said: str) -> None:
    assert any(said in problem for problem in validate(inventory(tmp_path, three(), **groups)))


@pytest.mark.parametrize("groups", [SPARK, HADOOP, {**HADOOP, **SPARK}])
def test_right_groups(tmp_path: Path, groups: dict[str, list[str]]) -> None:
    assert validate(inventory(tmp_path, three(), **groups)) == []


def test_groups_of_groups_need_no_variables(tmp_path: Path) -> None:
    body = {"ansible_host": "192.0.2.1"}
    listing = {
        "_meta": {"hostvars": {"node1": body}},
        "all": {"children": ["everything"]},
        "everything": {"children": ["spark", "edge"]},
        "spark": {"children": ["spark_master", "spark_worker"]},
        "spark_worker": {"children": ["machines"]},
        "machines": {"hosts": ["node1"]},
        "spark_master": {"hosts": ["node1"]},
        "edge": {"hosts": ["node1"]},
    }
    assert validate(Inventory.parse(tmp_path, listing)) == []


@pytest.mark.parametrize(
    ("node2", "said"),
    [
        ({}, "Host node2 has no address: give its IP address in ansible_host."),
        (
            {"ansible_host": "192.0.2.1"},
            "Host node2: ansible_host 192.0.2.1 is node1's too: give each host its own.",
        ),
        (
            {"ansible_host": "node2.example.org"},
            "Host node2: ansible_host node2.example.org is no IP address, which the other hosts "
            "need: give one in cluster_address, beside it.",
        ),
        (
            {"ansible_host": "node2.example.org", "cluster_address": "node2"},
            "Host node2: cluster_address node2 is no IP address, which the other hosts need: "
            "give one.",
        ),
    ],
)
def test_wrong_addresses(tmp_path: Path, node2: dict[str, Any], said: str) -> None:
    hosts = {**three(), "node2": node2}
    assert validate(inventory(tmp_path, hosts, **SPARK)) == [said]


def test_one_gateway_with_a_port_for_each_host(tmp_path: Path) -> None:
    hosts = {
        f"node{i}": {
            "ansible_host": "gateway.example.org",
            "ansible_port": 2200 + i,
            "cluster_address": f"198.51.100.{i}",
        }
        for i in (1, 2, 3)
    }
    assert validate(inventory(tmp_path, hosts, **SPARK)) == []
    hosts["node3"]["ansible_port"] = 2202
    hosts["node2"]["cluster_address"] = "198.51.100.1"
    assert validate(inventory(tmp_path, hosts, **SPARK)) == [
        "Host node2: cluster_address 198.51.100.1 is node1's too: give each host its own.",
        "Host node3: ansible_host gateway.example.org (port 2202) is node2's too: give each host "
        "its own.",
    ]


@pytest.mark.parametrize("name", ["node_1", "-node", "node-", "a..b", "192.0.2.9", "n" * 64])
def test_names_that_dns_does_not_take(tmp_path: Path, name: str) -> None:
    hosts = {name: {"ansible_host": "192.0.2.1"}}
    groups = {group: [name] for group in SPARK}
    problems = validate(inventory(tmp_path, hosts, **groups))
    assert [problem.split(":")[0] for problem in problems] == [
        f"Host {name} has a name that is not valid in DNS"
    ]


@pytest.mark.parametrize("name", ["node1", "Rack-2.example.org"])
def test_names_that_dns_takes(tmp_path: Path, name: str) -> None:
    hosts = {name: {"ansible_host": "192.0.2.1"}}
    assert validate(inventory(tmp_path, hosts, **{group: [name] for group in SPARK})) == []


def test_no_host(tmp_path: Path) -> None:
    problems = validate(inventory(tmp_path, {}))
    assert problems == [f"The inventory {tmp_path} has no host: add one under all, hosts."]


@pytest.mark.parametrize("value", [0, -1, "2", "{{ 1 }}", True, None, float("nan"), [2]])
@pytest.mark.parametrize("name", ["lab_cpus", "lab_memory_mb", "lab_bandwidth_mbit"])
def test_lab_variables_are_numbers_as_they_stand(tmp_path: Path, name: str, value: object) -> None:
    problems = validate(inventory(tmp_path, three(**{name: value}), **SPARK))
    assert problems == [
        f"Host node1: {name} is {value!r}, and must be a number above 0, not a template."
    ]


def test_variables_that_are_right(tmp_path: Path) -> None:
    hosts = three(
        lab_cpus=0.25,
        lab_memory_mb=2048,
        ansible_python_interpreter="/usr/bin/python3.11",
        base_swappiness="10",  # a number, as -e and INI files give it
        java_home="{{ _java }}",
        _java="/opt/java",
        base_packages=["procps"],
    )
    assert validate(inventory(tmp_path, hosts, **SPARK)) == []


@pytest.mark.parametrize(
    ("variables", "sums"),
    [
        ({"spark_worker_memory_mb": 1500, "spark_worker_reserve_mb": 400}, False),
        ({"spark_worker_memory_mb": 1500, "spark_worker_reserve_mb": 600}, True),
        ({"spark_worker_memory_mb": 2049}, True),
        ({"spark_worker_memory_mb": "{{ 9000 }}", "spark_worker_reserve_mb": 600}, False),
        ({"spark_worker_reserve_mb": 9000}, False),  # the play judges what is left
    ],
)
def test_more_memory_than_the_machine_has(
    tmp_path: Path, variables: dict[str, Any], sums: bool
) -> None:
    hosts = three(lab_memory_mb=2048, **variables)
    problems = validate(inventory(tmp_path, hosts, **SPARK))
    assert [problem.split(":")[0] for problem in problems] == [
        f"Host node{i}" for i in (1, 2, 3) if sums
    ]
    assert all("is more than its lab_memory_mb (2048)" in problem for problem in problems)
    on_one = {**SPARK, "spark_worker": ["node2"]}
    assert len(validate(inventory(tmp_path, hosts, **on_one))) == int(sums)


def test_the_first_mistake_is_the_error(tmp_path: Path) -> None:
    require_valid(inventory(tmp_path, three(), **SPARK))
    with pytest.raises(UsageError, match=r"^Group edge has no host: [^()]*$"):
        require_valid(inventory(tmp_path, three(), **{**SPARK, "edge": []}))
    wrong = inventory(tmp_path, three(lab_cpus=0), **{**SPARK, "edge": []})
    with pytest.raises(UsageError, match=r"\(1 more: \S+python -m cluster\.validation .*\)$"):
        require_valid(wrong)


def test_plain_ansible_stops_at_a_mistake_before_it_reaches_a_host(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        # A host that nobody can reach: the play would say so.
        "all: {hosts: {node1: {ansible_host: 127.0.0.1, ansible_port: 1, base_swappines: 1}}}\n",
        encoding="utf-8",
    )
    command = [ansible("ansible-playbook"), "-i", str(tmp_path), "playbooks/site.yml"]
    done = subprocess.run(
        [*command, "--limit", "node1"],
        cwd=repository(),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 2
    assert "Group edge has no host: put the one into it" in done.stdout
    assert "base_swappines in" in done.stdout and "did you mean base_swappiness?" in done.stdout
    assert "unreachable=0    failed=1" in done.stdout
    assert "See whether the hosts fit it" not in done.stdout


def test_the_command_takes_one_inventory() -> None:
    command = [sys.executable, "-m", "cluster.validation", "inventory/a", "inventory/b"]
    done = subprocess.run(command, cwd=repository(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "Give one inventory, not 2: inventory/a inventory/b\n"
