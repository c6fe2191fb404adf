"""The end of a lab, after all that was done with it."""

from cluster.lab import cgroups, nspawn
from tests.scenarios.labs import OperatedLab

INVENTORY = "lab-standalone"


def test_down_leaves_nothing(lab: OperatedLab) -> None:
    own = nspawn.Lab.of(lab.inventory)
    assert own.name in cgroups.labs()
    down = lab.cluster("lab", "down")
    assert down.returncode == 0, down.stderr
    assert own.name not in cgroups.labs()
    assert not own.folder.exists()
    assert not (lab.inventory / ".lab").exists()
