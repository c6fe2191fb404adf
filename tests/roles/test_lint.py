"""Roles, playbooks and inventories pass the linters at their strictest, and say what they take."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.inventory import ansible
from cluster.places import repository

LINTED = ("ansible", "playbooks", "inventory")
ROLES = sorted(path for path in (repository() / "ansible" / "roles").iterdir() if path.is_dir())


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=repository(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_yamllint() -> None:
    run(sys.executable, "-m", "yamllint", "--strict", *LINTED, ".yamllint", ".ansible-lint")


def test_ansible_lint() -> None:
    settings = load(repository() / ".ansible-lint")
    assert (settings["profile"], settings["skip_list"]) == ("production", [])
    assert not settings.keys() & {"warn_list", "disable_rules", "mock_modules", "mock_roles"}
    run(ansible("ansible-lint"), "--offline", "--strict", "--nocolor", *LINTED)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role.name))
def test_a_role_specifies_each_of_its_defaults(role: Path) -> None:
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load(role / "defaults" / "main.yml")
    assert options.keys() == defaults.keys()
    for name, option in options.items():
        assert name.startswith(f"{role.name}_"), f"{name} does not carry the role's name"
        assert option["description"]
        # What is computed has no default to print.
        assert option.get("default", defaults[name]) == defaults[name], name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role.name))
def test_each_default_has_a_comment(role: Path) -> None:
    lines = (role / "defaults" / "main.yml").read_text(encoding="utf-8").splitlines()
    commented = False
    for before, line in itertools.pairwise(lines):
        if line and not line.startswith((" ", "#", "-")):
            # One comment may be for the lines that follow it without a gap.
            commented = before.startswith("#") or (commented and before != "")
            assert commented, line
