"""The recordings that most tests start from."""

import pytest

from tests.unit.cluster.checks.recordings import Site, recorded


@pytest.fixture(scope="session")
def fresh() -> Site:
    """Three unequal machines of a lab before a deployment, their links and disks measured."""
    return recorded("lab-hetero-fresh", "lab-hetero")


@pytest.fixture(scope="session")
def yarn() -> Site:
    """Three machines of a lab with HDFS and YARN."""
    return recorded("lab-yarn", "lab-yarn")
