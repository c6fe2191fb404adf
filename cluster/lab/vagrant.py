"""Labs of virtual machines: a thin layer over `vagrant`, whose Vagrantfile reads the inventory."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from cluster.errors import ClusterError
from cluster.inventory import LAB_CONFIG, Inventory
from cluster.lab.faults import record
from cluster.places import repository
from job.errors import JobError

# In an inventory's folder: where the faults of its lab are kept.
FAULTS = LAB_CONFIG.with_name("faults")


def up(inventory: Inventory, *, provider: str) -> None:
    """Make and start the machines; Vagrant shows its own progress.

    Raises:
        ClusterError: vagrant is missing or failed.
    """
    _vagrant(inventory.path, "up", "--provider", provider)


def is_up(inventory: Path) -> bool:
    """Whether `up` of Vagrant left its access files for this inventory."""
    config = inventory / LAB_CONFIG
    return config.exists() and "nsenter" not in config.read_text()


def destroy(inventory: Path) -> None:
    """Remove the machines."""
    # A fault goes with its machine; its guardian need not try to reach that.
    with contextlib.suppress(JobError):
        record.clear(inventory / FAULTS)
    _vagrant(inventory, "destroy", "--force")


def _vagrant(inventory: Path, *arguments: str) -> None:
    program = shutil.which("vagrant")
    if program is None:
        raise ClusterError("vagrant was not found: install it, or take --provider nspawn.")
    environment = {**os.environ, "LAB": str(inventory.absolute())}
    done = subprocess.run([program, *arguments], cwd=repository(), env=environment, check=False)
    if done.returncode:
        raise ClusterError(f"`vagrant {' '.join(arguments)}` failed (exit {done.returncode}).")
