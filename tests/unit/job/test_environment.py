"""The check of a copy of the environment, run as it is on hosts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job import environment
from job.environment import MANIFEST, manifest_of


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """An environment of two files, a link and this Python."""
    folder = tmp_path / "copy"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "lib").mkdir()
    (folder / "lib" / "one.py").write_text("one", encoding="utf-8")
    (folder / "lib" / "two.so").write_bytes(bytes(3_000_000))
    (folder / MANIFEST).write_text(manifest_of(folder), encoding="utf-8")
    return folder


def checked(folder: Path, *, files: bool = True, imports: str = "import json") -> Any:
    wanted = {"folder": str(folder), "files": files, "imports": imports}
    done = subprocess.run(
        [sys.executable, environment.__file__],
        input=json.dumps(wanted) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])["result"]


def test_a_copy_as_built(copy: Path) -> None:
    said = checked(copy)
    assert (said["damaged"], said["failure"]) == ({}, "")
    assert said["manifest"] == environment.sha256(copy / MANIFEST)
    assert said["folder"] == str(copy)


def test_the_manifest_is_one_that_sha256sum_checks(copy: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", MANIFEST], cwd=copy, check=True)
    assert [line.split()[1] for line in (copy / MANIFEST).read_text().splitlines()] == [
        "lib/one.py",
        "lib/two.so",
    ]


def test_each_damaged_file_is_named(copy: Path) -> None:
    with (copy / "lib" / "two.so").open("r+b") as file:
        file.seek(2_500_000)
        file.write(b"x")
    (copy / "lib" / "one.py").unlink()
    assert checked(copy)["damaged"] == {
        "lib/one.py": "No such file or directory",
        "lib/two.so": "another content",
    }
    assert checked(copy, files=False)["damaged"] == {}


def test_a_copy_without_a_manifest(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    said = checked(copy)
    assert said["damaged"] == {MANIFEST: "No such file or directory"}
    assert said["manifest"] == ""


def test_a_copy_that_does_not_import(copy: Path) -> None:
    assert (
        "(exit 1): ModuleNotFoundError: No module named 'no_such'"
        in (checked(copy, imports="import no_such")["failure"])
    )
    assert "(signal 11)" in checked(copy, imports="import os; os.kill(os.getpid(), 11)")["failure"]


def test_a_copy_whose_python_is_gone(copy: Path) -> None:
    (copy / "bin" / "python").unlink()
    assert checked(copy)["failure"] == "its Python does not start: No such file or directory"
