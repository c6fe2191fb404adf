"""Vagrant as the tests use it: its home and state are the tests', so it sees no other machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

Vagrant = Callable[..., "subprocess.CompletedProcess[str]"]


def leave_out(reason: str) -> None:
    """Skip, but never in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def installed() -> None:
    """Vagrant, vagrant-libvirt and what they need; installed where that can be."""
    if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run([ROOT / "tests" / "packages"], check=True, timeout=1500)
    elif shutil.which("vagrant") is None:
        leave_out("vagrant is not installed, and installing it takes Debian and root.")


@pytest.fixture(scope="session")
def environment(installed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for every run of Vagrant."""
    folder = tmp_path_factory.mktemp("vagrant")
    return {
        **os.environ,
        "VAGRANT_HOME": str(folder / "home"),
        "VAGRANT_DOTFILE_PATH": str(folder / "state"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_DEFAULT_PROVIDER": "libvirt",
    }


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VirtualBox that has nothing but a version, and a virsh that notes how it is called."""
    folder = tmp_path_factory.mktemp("bin")
    for name, script in {
        "VBoxManage": "echo 7.0.20r163906",
        "virsh": 'echo "$*" >> "$VIRSH_LOG"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def ruby(environment: dict[str, str], programs: Path) -> Vagrant:
    """Runs a command in the repository's root, with the stand-ins for the providers on the PATH."""

    def call(*command: object, **variables: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env={
                **environment,
                "PATH": f"{programs}:{environment['PATH']}",
                **{name: str(value) for name, value in variables.items()},
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call
