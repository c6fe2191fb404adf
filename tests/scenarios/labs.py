"""A lab for a scenario: a copy of a shipped inventory, its commands, and where it cannot run."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.lab import requirements

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600

Completed = subprocess.CompletedProcess[str]


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Runs commands on one lab; a command that fails fails the test, with what it printed."""

    inventory: Path

    def run(self, *command: str, check: bool = True) -> Completed:
        """A command in the repository's root, with this inventory as the default one."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"CLUSTER_INVENTORY": str(self.inventory)},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        said = f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0 or not check, said
        return done

    def cluster(self, *arguments: str, check: bool = True) -> Completed:
        """The command `cluster`."""
        return self.run(str(Path(sys.executable).with_name("cluster")), *arguments, check=check)

    def deploy(self, *arguments: str) -> dict[str, Any]:
        """What `cluster deploy --format json` says."""
        done = self.cluster("deploy", *arguments, "--format", "json")
        return dict(json.loads(done.stdout))

    def status(self) -> tuple[int, dict[str, Any]]:
        """The exit code and the object of `cluster status --format json`."""
        done = self.cluster("status", "--format", "json", check=False)
        return done.returncode, json.loads(done.stdout)

    def until_ready(self, seconds: float) -> None:
        """Wait until `cluster status` says that all services are."""
        deadline = time.monotonic() + seconds
        while self.status()[0] != 0:
            if time.monotonic() > deadline:
                pytest.fail(
                    f"not ready after {seconds} s:\n{self.cluster('status', check=False).stdout}"
                )
            time.sleep(2)

    def ssh(self, host: str, script: str, *, check: bool = True) -> str:
        """What a shell script prints on a host."""
        config = str(self.inventory / ".lab" / "ssh_config")
        return self.run("ssh", "-F", config, host, script, check=check).stdout


@contextmanager
def lab_of(name: str, folder: Path) -> Iterator[Lab]:
    """A lab of a copy of inventory/NAME, not up yet, taken down at the end in any case."""
    if sentence := requirements.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    inventory = folder / name
    ignore = shutil.ignore_patterns(".lab", "lab.yml")
    shutil.copytree(ROOT / "inventory" / name, inventory, ignore=ignore)
    lab = Lab(inventory=inventory)
    try:
        yield lab
    finally:
        lab.cluster("lab", "down", check=False)


def kill_and_wait_for_another(lab: Lab, host: str, unit: str) -> None:
    """kill -9 of a daemon; systemd has to start another process within 30 s."""
    ask = f"systemctl show --value --property MainPID {unit}"
    before = lab.ssh(host, ask).strip()
    assert before not in ("", "0"), f"{unit} does not run on {host}"
    lab.ssh(host, f"sudo kill -9 {before}")
    after = lab.ssh(
        host,
        f"for i in $(seq 60); do p=$({ask}); [ $p != 0 ] && [ $p != {before} ] && break;"
        " sleep 0.5; done; echo $p",
    ).strip()
    assert after not in ("0", before), f"{unit} on {host} was not started again"
