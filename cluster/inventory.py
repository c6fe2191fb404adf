"""The Ansible inventory as the commands see it: hosts, their groups and variables."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from job.errors import UsageError

DEFAULT = Path("inventory/lab-yarn")
VARIABLE = "CLUSTER_INVENTORY"
# In an inventory's folder, where its lab is up.
LAB_CONFIG = Path(".lab", "ssh_config")
# The group of the hosts that jobs are started from.
EDGE = "edge"


@dataclass(frozen=True, kw_only=True)
class Host:
    """One machine. ``variables`` are its own and its groups' merged, templates unrendered."""

    name: str
    groups: frozenset[str]
    variables: Mapping[str, Any]

    @property
    def address(self) -> str:
        """On the network that the cluster's daemons listen on."""
        return str(self.variables.get("cluster_address", self.ssh_address))

    @property
    def ssh_address(self) -> str:
        """Where SSH reaches it."""
        return str(self.variables.get("ansible_host", self.name))

    def ssh_options(self) -> Iterator[tuple[str, str]]:
        """The options -F, -o and -J that Ansible gives to ssh, each with its value."""
        names = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
        words = iter(shlex.split(" ".join(str(self.variables.get(name, "")) for name in names)))
        for word in words:
            if word[:2] in ("-F", "-o", "-J"):
                yield word[:2], word[2:] or next(words, "")


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All hosts of one inventory. Groups are roles and hardware classes."""

    path: Path
    hosts: tuple[Host, ...]
    groups: frozenset[str]
    # The groups in each group.
    children: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Inventory":
        """Read what ``ansible-inventory --list`` gives.

        Raises:
            UsageError: there is no such inventory, or Ansible cannot read it.
        """
        if not path.exists():
            raise UsageError(
                f"There is no inventory {path}: give one with -i, or by {VARIABLE}; "
                f"those shipped are in {DEFAULT.parent}/."
            )
        if path.is_dir() and (inside := sorted(path.glob("*/hosts.yml"))):
            names = ", ".join(str(each.parent) for each in inside)
            raise UsageError(f"{path} holds several inventories: give one of {names}.")
        command = [ansible("ansible-inventory"), "-i", str(path), "--list"]
        # An inventory with an error is refused, not read in part.
        strict = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **strict}
        )
        if done.returncode:
            said = " ".join(done.stderr.split()) or "ansible-inventory failed"
            raise UsageError(f"The inventory {path} cannot be read: {said}")
        found = cls.parse(path, json.loads(done.stdout))
        _refuse_another_lab(found)
        return found

    @classmethod
    def parse(cls, path: Path, listing: Mapping[str, Any]) -> "Inventory":
        """Make it from the JSON object of ``ansible-inventory --list``."""
        variables = listing["_meta"]["hostvars"]
        groups = {name: listing.get(name, {}) for name in listing if name != "_meta"}

        def members(group: str) -> Iterator[str]:
            body = groups.get(group, {})
            yield from body.get("hosts", ())
            for child in body.get("children", ()):
                yield from members(child)

        inside = {group: tuple(dict.fromkeys(members(group))) for group in groups}
        hosts = tuple(
            Host(
                name=name,
                groups=frozenset(g for g in inside if g != "all" and name in inside[g]),
                variables=variables.get(name, {}),
            )
            for name in inside["all"]
        )
        return cls(
            path=path,
            hosts=hosts,
            groups=frozenset(groups) - {"all", "ungrouped"},
            children={name: frozenset(body.get("children", ())) for name, body in groups.items()},
        )

    def group(self, name: str) -> tuple[Host, ...]:
        """The hosts of a group; none where the inventory lacks it."""
        return tuple(host for host in self.hosts if name in host.groups)

    def first(self, group: str) -> Host:
        """The host of a group that has one.

        Raises:
            ClusterError: the group is empty.
        """
        if hosts := self.group(group):
            return hosts[0]
        raise ClusterError(f"The inventory {self.path} has no host in group {group}.")

    def __getitem__(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise UsageError(f"The inventory {self.path} has no host {name}: it has {known}.")


def _refuse_another_lab(inventory: Inventory) -> None:
    """A copy of an inventory whose lab is up would operate that lab's machines."""
    options = (option for host in inventory.hosts for option in host.ssh_options())
    files = {Path(value) for flag, value in options if flag == "-F"}
    labs = {file.parents[1] for file in files if file.parts[-2:] == LAB_CONFIG.parts}
    for lab in labs if inventory.path.is_dir() else ():
        if lab.resolve() != inventory.path.resolve():
            raise UsageError(
                f"{inventory.path / 'lab.yml'} is of the lab of {lab}: remove it, and the folder"
                " .lab beside it, for they were copied with the inventory."
            )


def ansible(program: str) -> str:
    """The path of one of Ansible's programs, from the environment this Python runs in."""
    return str(Path(sys.executable).with_name(program))
