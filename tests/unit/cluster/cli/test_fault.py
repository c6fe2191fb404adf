"""``cluster lab fault`` without a lab: what it refuses; a lab's faults are in the scenarios."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli.fault import fault
from cluster.lab.faults.kinds import KINDS
from tests.unit.cluster.cli.conftest import ROOT, SAMPLES, Cluster


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns(".lab", "lab.yml")
    return shutil.copytree(ROOT / "inventory" / "lab-yarn", tmp_path / "lab", ignore=ignored)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["freeze", "node2"], 1, "is not up"),
        (["freeze", "node9"], 2, "has no host node9: it has node1, node2, node3."),
        (["cpu-quota", "node2", "--factor", "1"], 2, "--factor is 1, and must be above 1"),
        (["link", "node2", "--factor", "2", "--mbit", "5"], 2, "Give --factor or --mbit"),
        (["freeze", "node2", "--for", "4000"], 2, "--for is 4000"),
        (["freeze", "node2", "--factor", "2"], 2, "--factor"),
        (["heat", "node2"], 2, "heat"),
    ],
)
def test_what_cannot_be_is_refused(
    cluster: Cluster, inventory: Path, arguments: list[str], code: int, words: str
) -> None:
    done = cluster("-i", inventory, "lab", "fault", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["clear", "list"])
def test_without_a_fault_nothing_is_to_do(cluster: Cluster, inventory: Path, command: str) -> None:
    done = cluster("-i", inventory, "lab", "fault", command)
    assert (done.returncode, done.stdout) == (0, "")
    assert "There was no fault." in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_help_has_an_example_of_every_kind(kind: str) -> None:
    assert f"cluster lab fault {kind} node" in CliRunner().invoke(fault, [kind, "--help"]).output


def test_skew_prints_its_ground_truth(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "skewed"
    arguments = ("--input", SAMPLES / "scenes", "--output", output, "--format", "json")
    done = cluster("lab", "fault", "skew", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (output / ".fault.json").read_text()
