"""What the Vagrantfile makes of an inventory, without making it."""

import json
import math
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.inventory import Inventory
from tests.scenarios.vagrant.conftest import HERE, ROOT, Vagrant


def machines(ruby: Vagrant, lab: object) -> dict[tuple[str, str], dict[str, Any]]:
    done = ruby("/usr/bin/ruby", HERE / "machines.rb", LAB=lab)
    assert done.returncode == 0, done.stderr
    return {(one["machine"], one["provider"]): one for one in json.loads(done.stdout)}


@pytest.mark.parametrize("lab", ["lab-yarn", "lab-hetero"])
def test_the_machines_are_those_of_the_inventory(ruby: Vagrant, lab: str) -> None:
    inventory = Inventory.load(ROOT / "inventory" / lab)
    found = machines(ruby, lab)
    assert len(found) == 2 * len(inventory.hosts)
    for host in inventory.hosts:
        cpus, link = host.variables["lab_cpus"], host.variables.get("lab_bandwidth_mbit")
        for provider in ("virtualbox", "libvirt"):
            machine = found[f"{lab}-{host.name}", provider]
            assert machine["hostname"] == host.name
            assert machine["cpus"] == math.ceil(cpus)
            assert machine["memory_mb"] == host.variables["lab_memory_mb"]
            assert machine["networks"] == [host.address]
            assert machine["box"] == "debian/bookworm64"
            assert machine["folders"] == []
            if link is None:
                assert machine["link"] is None
            else:
                assert machine["link"].split()[:2] == [host.address, str(float(link))]
        assert found[f"{lab}-{host.name}", "virtualbox"]["cap"] == 100 * cpus / math.ceil(cpus)
    # Once for all machines, and on request only: the others may not be up yet.
    deploys = [one["deploy"] for one in found.values() if one["deploy"]]
    assert deploys == 2 * [["never", "playbooks/site.yml", str(inventory.path), "all"]]
    assert (ROOT / "playbooks" / "site.yml").is_file()


def test_a_fraction_is_whole_virtual_cpus_with_a_cap(ruby: Vagrant, lab: Path) -> None:
    set_variable(lab, "fast1", "lab_cpus", 1.5)
    found = machines(ruby, f"{lab}/")
    virtualbox = {
        machine.removeprefix("lab-"): (one["cpus"], one["cap"])
        for (machine, provider), one in found.items()
        if provider == "virtualbox"
    }
    assert virtualbox == {"fast1": (2, 75), "medium1": (1, 50), "slow1": (1, 25)}
    assert found["lab-fast1", "libvirt"]["cpus"] == 2


@pytest.mark.parametrize("provider", ["libvirt", "virtualbox"])
def test_vagrant_finds_nothing_wrong(ruby: Vagrant, provider: str) -> None:
    done = ruby("vagrant", "validate", LAB="lab-hetero", VAGRANT_DEFAULT_PROVIDER=provider)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("lab_cpus", "two", "a number above 0 as lab_cpus"),
        ("ansible_host", "slow1.example.org", "an IPv4 address as ansible_host"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(
    ruby: Vagrant, lab: Path, key: str, value: str, sentence: str
) -> None:
    set_variable(lab, "slow1", key, value)
    assert refused(ruby, lab) == f'Host slow1 of {lab} needs {sentence}: it is "{value}".'


def test_an_inventory_that_is_not_there_or_cannot_be_read(ruby: Vagrant, lab: Path) -> None:
    assert refused(ruby, "lab-none") == (
        f"There is no inventory {ROOT}/inventory/lab-none: set LAB to the name of a folder in "
        "inventory/, or to a folder's path."
    )
    with (lab / "hosts.yml").open("a", encoding="utf-8") as file:
        file.write("  broken: [\n")
    said = refused(ruby, lab)
    assert said.startswith(f"The inventory {lab} cannot be read: ")
    assert f", near {lab}/hosts.yml:" in said


def test_a_lab_can_be_reached_while_it_is_up(ruby: Vagrant, lab: Path, tmp_path: Path) -> None:
    log, names = tmp_path / "virsh.log", ["lab-fast1", "lab-medium1", "lab-slow1"]

    def after(command: str, *machines: str) -> None:
        program = ("/usr/bin/ruby", HERE / "triggers.rb")
        done = ruby(*program, "after", command, *machines, LAB=lab, VIRSH_LOG=log)
        assert done.returncode == 0, done.stderr

    after("up", *names, "lab-slow1")  # a second time changes nothing
    # The share of each virtual CPU, as libvirt counts it.
    assert sorted(log.read_text(encoding="utf-8").splitlines()) == [
        f"-c qemu:///system schedinfo id-of-{name} --live --config "
        f"vcpu_period=100000 vcpu_quota={quota}"
        for name, quota in zip([*names, "lab-slow1"], (-1, 50_000, 25_000, 25_000), strict=True)
    ]
    hosts = Inventory.load(lab).hosts
    assert {host.variables["ansible_user"] for host in hosts} == {"vagrant"}
    assert (lab / ".lab").stat().st_mode & 0o777 == 0o700
    known_hosts = lab / ".lab" / "known_hosts"
    assert sorted(known_hosts.read_text(encoding="utf-8").splitlines()) == [
        f"{host.name},{host.address} ssh-ed25519 KEY-OF-lab-{host.name}" for host in hosts
    ]
    arguments = hosts[0].variables["ansible_ssh_common_args"]
    for host in hosts:
        for name in (host.name, host.address):  # people say the one, Ansible the other
            seen = ssh_settings(arguments, name)
            assert (seen["hostname"], seen["user"]) == (host.address, "vagrant")
            assert seen["identityfile"] == f"/keys of/lab-{host.name}"
            assert seen["stricthostkeychecking"] == "true"
            assert seen["userknownhostsfile"] == str(known_hosts)

    after("destroy", "lab-slow1")
    assert ssh_settings(arguments, "slow1")["user"] != "vagrant"
    assert ssh_settings(arguments, "fast1")["user"] == "vagrant"
    assert "slow1" not in known_hosts.read_text(encoding="utf-8")
    after("destroy", *names)
    assert not (lab / ".lab").exists()
    assert not (lab / "lab.yml").exists()


def test_another_lab_of_the_inventory_is_left_alone(ruby: Vagrant, lab: Path) -> None:
    (lab / "lab.yml").write_text("# By another\nall: {}\n", encoding="utf-8")
    done = ruby("/usr/bin/ruby", HERE / "triggers.rb", "before", "up", "lab-slow1", LAB=lab)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{lab}/lab.yml says that a lab of this inventory is up already")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A copy of lab-hetero, in a folder whose name has a space."""
    return shutil.copytree(ROOT / "inventory" / "lab-hetero", tmp_path / "a place" / "lab")


def set_variable(lab: Path, host: str, key: str, value: object) -> None:
    file = lab / "host_vars" / f"{host}.yml"
    file.parent.mkdir()
    file.write_text(f"{key}: {json.dumps(value)}\n", encoding="utf-8")


def refused(ruby: Vagrant, lab: object) -> str:
    done = ruby("vagrant", "validate", LAB=lab)
    assert done.returncode == 1
    return done.stderr.removeprefix("Vagrant failed to initialize at a very early stage:").strip()


def ssh_settings(arguments: str, host: str) -> dict[str, str]:
    """What ssh would use with Ansible's arguments."""
    shown = subprocess.run(
        ["ssh", "-G", *shlex.split(arguments), host], capture_output=True, text=True, check=True
    )
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
