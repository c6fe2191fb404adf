"""What the scenarios share: the lab of a shipped inventory, up for one test file, then gone."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.inventory import Inventory
from cluster.lab import requirements
from cluster.lab.machines import machines_of
from cluster.places import repository
from job.errors import JobError
from tests.scenarios.labs import OperatedLab
from tests.scenarios.running import local_run


@dataclass
class OneLab:
    """The lab that is up; at most one, which test files of one inventory in a row share."""

    new_folder: Callable[[str], Path]
    inventory: str = ""
    lab: OperatedLab | None = None
    told: Any = None  # by the first deployment

    def of(self, inventory: str) -> OperatedLab:
        """The machines of a copy of a shipped inventory."""
        if self.lab is None or self.inventory != inventory:
            self.down()
            self._up(inventory)
        assert self.lab
        return self.lab

    def _up(self, inventory: str) -> None:
        folder = self.new_folder("inventory") / inventory
        shutil.copytree(
            repository() / "inventory" / inventory,
            folder,
            ignore=shutil.ignore_patterns(".lab", "lab.yml"),
        )
        loaded = Inventory.load(folder)
        can_run(loaded)
        self.inventory, self.told = inventory, None
        self.lab = OperatedLab(
            inventory=folder,
            environment={"XDG_STATE_HOME": str(self.new_folder("state"))},
            edge=loaded.first("edge").name,
        )
        up = self.lab.cluster("lab", "up")
        assert up.returncode == 0, up.stderr

    def down(self) -> None:
        """Take it down."""
        if self.lab is not None:
            down = self.lab.cluster("lab", "down")
            self.lab = None
            assert down.returncode == 0, down.stderr


@pytest.fixture(scope="session")
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneLab]:
    """Whatever is up at the end is taken down."""
    one = OneLab(tmp_path_factory.mktemp)
    try:
        yield one
    finally:
        one.down()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, one_lab: OneLab) -> OperatedLab:
    """The machines of a copy of the inventory that the test file names in INVENTORY."""
    return one_lab.of(request.module.INVENTORY)


@pytest.fixture(scope="module")
def deployed(lab: OperatedLab, one_lab: OneLab) -> Any:
    """What the first deployment told."""
    if one_lab.told is None:
        one_lab.told = lab.deploy()
    return one_lab.told


@pytest.fixture(scope="module")
def pushed(lab: OperatedLab, deployed: Any) -> None:
    """The environment is on the cluster."""
    done = lab.cluster("env", "push")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the shipped images in local mode."""
    return local_run(tmp_path_factory.mktemp("local"))


def can_run(inventory: Inventory) -> None:
    """Leave the test out where the lab cannot be; in CI nothing is left out."""
    try:
        requirements.check(machines_of(inventory))
    except JobError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
