"""The README's commands on a lab, run as they are there."""

import os
import re
import subprocess
from pathlib import Path

from cluster.places import repository
from tests.scenarios.labs import OperatedLab
from tests.test_readme import COMMANDS, ON_A_LAB

CLUSTER = ".venv/bin/cluster "
IN_README = {command.removeprefix(CLUSTER) for command in COMMANDS if ON_A_LAB.match(command)}
seen: set[str] = set()


def as_in_readme(lab: OperatedLab, command: str, runs: Path | None = None) -> str:
    """Run a command that the README has, letter by letter but for RUNS in the place of runs/."""
    assert command in IN_README
    seen.add(command)
    line = re.sub(r"(?<![\w./-])runs/", f"{runs}/", command) if runs else command
    done = subprocess.run(
        ["bash", "-c", CLUSTER + line],
        cwd=repository(),
        env={**os.environ, **lab.environment, "CLUSTER_INVENTORY": str(lab.inventory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
