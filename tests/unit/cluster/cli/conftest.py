import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
CLUSTER = Path(sys.executable).with_name("cluster")
SAMPLES = ROOT / "models" / "images"

Cluster = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Runs the installed command, in a folder that is not the repository."""
    folder = tmp_path_factory.mktemp("cwd")

    def call(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [CLUSTER, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call
