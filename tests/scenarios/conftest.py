"""What the scenarios share: the lab of a shipped inventory, up for one test file, then gone."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.inventory import Inventory
from cluster.lab import requirements
from cluster.lab.machines import machines_of
from cluster.places import repository
from job.errors import JobError
from tests.scenarios.labs import OperatedLab


@pytest.fixture(scope="module")
def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatedLab]:
    """The machines of a copy of the inventory that the test file names in INVENTORY."""
    folder = tmp_path_factory.mktemp("inventory") / request.module.INVENTORY
    shutil.copytree(
        repository() / "inventory" / request.module.INVENTORY,
        folder,
        ignore=shutil.ignore_patterns(".lab", "lab.yml"),
    )
    inventory = Inventory.load(folder)
    can_run(inventory)
    own = OperatedLab(
        inventory=folder,
        environment={"XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))},
        edge=inventory.first("edge").name,
    )
    try:
        up = own.cluster("lab", "up")
        assert up.returncode == 0, up.stderr
        yield own
    finally:
        down = own.cluster("lab", "down")
    assert down.returncode == 0, down.stderr


@pytest.fixture(scope="module")
def deployed(lab: OperatedLab) -> Any:
    """What the first deployment told."""
    return lab.deploy()


def can_run(inventory: Inventory) -> None:
    """Leave the test out where the lab cannot be; in CI nothing is left out."""
    try:
        requirements.check(machines_of(inventory))
    except JobError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
