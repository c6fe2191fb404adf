"""Whole builds, of a lock with two small packages."""

import hashlib
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from cluster.env.build import LOCK, build, digest, pack
from cluster.errors import ClusterError
from cluster.places import CACHE_VARIABLE, repository

IMPORTS = "import markupsafe, six"
PROGRAM = "import sys; from pathlib import Path; from cluster.env.build import build;"
PROGRAM += f"build(Path(sys.argv[1]), imports='{IMPORTS}', tell=print)"


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages of the environment's lock."""
    entries = (repository() / LOCK).read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    named = [line for line in entries if line.startswith(("six==", "markupsafe=="))]
    assert len(named) == 2
    path = tmp_path_factory.mktemp("lock") / "small.lock"
    path.write_text("\n".join(named) + "\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_same_input_gives_the_same_bytes_anywhere(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = []
    for place in ("one", "another/longer place"):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / place))
        built = build(lock, imports=IMPORTS, tell=lambda _: None)
        for format_ in ("tar", "tar.gz"):
            archive = pack(built, format_, 1, tell=lambda _: None)
            sums.append(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert sums[:2] == sums[2:]
    said = subprocess.run(
        ["tar", "-xOf", archive, "environment.sha256"], capture_output=True, text=True, check=True
    )
    names = [line.partition("  ")[2] for line in said.stdout.splitlines()]
    assert {"lib/python311.zip", "lib/python3.11/site-packages/markupsafe/__init__.pyc"} <= set(
        names
    )
    with tarfile.open(archive) as tar:
        packed = {member.name for member in tar if member.isfile()}
    assert set(names) <= packed


def test_its_modules_are_in_few_files(lock: Path) -> None:
    """A package with a binary stays a folder, of compiled modules; all else is in one file."""
    built = build(lock, imports=IMPORTS, tell=lambda _: None)
    asked = (
        "import importlib.metadata as about, inspect, json, markupsafe, markupsafe._speedups, six;"
        " print(json.dumps([six.__file__, markupsafe.__file__, about.version('six'),"
        " inspect.getsource(six.ensure_str), json.__cached__]))"
    )
    command = [built.prefix / "bin" / "python", "-I", "-c", asked]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    six, markupsafe, version, source, cached = json.loads(said)
    assert (
        six == cached.replace("json/__init__", "six") == f"{built.prefix}/lib/python311.zip/six.pyc"
    )
    assert markupsafe.endswith("site-packages/markupsafe/__init__.pyc")
    assert version == "1.17.0"
    assert source.startswith("def ensure_str(")
    modules = built.prefix / "lib" / "python3.11"
    outside = {path.name for path in modules.glob("*") if not path.is_dir()}
    assert outside <= {"os.py", "sitecustomize.py", "LICENSE.txt"}
    assert not list(modules.rglob("__pycache__"))


def test_what_is_there_is_not_made_again(lock: Path) -> None:
    told: list[str] = []
    first = build(lock, imports=IMPORTS, tell=told.append)
    archive = pack(first, "tar.gz", 1, tell=told.append)
    assert told == ["Copying CPython", "Installing small.lock", f"Packing {archive.name}"]
    assert build(lock, imports=IMPORTS, tell=told.append) == first
    assert pack(first, "tar.gz", 1, tell=told.append) == archive
    assert len(told) == 3
    assert first.digest in archive.name
    (dropped,) = first.dropped
    assert first.whole_bytes == first.bytes + dropped.bytes


def test_another_lock_has_another_name(lock: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.lock"
    other.write_text(lock.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert digest(other) != digest(lock)
    assert digest(lock) == digest(lock)


@pytest.mark.parametrize("seconds", [0.5, 1.5, 3])
def test_after_a_kill_the_next_build_finishes(lock: Path, cache: Path, seconds: float) -> None:
    killed = subprocess.Popen([sys.executable, "-c", PROGRAM, str(lock)], stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    killed.kill()
    killed.wait()
    built = build(lock, imports=IMPORTS, tell=lambda _: None)
    assert built.prefix.is_dir()
    assert not list(cache.rglob("*.part"))


def test_what_does_not_start_is_not_kept(lock: Path, cache: Path) -> None:
    with pytest.raises(ClusterError, match=r"does not start: ModuleNotFoundError.*no_such"):
        build(lock, imports="import no_such", tell=lambda _: None)
    assert not (cache / "environments" / digest(lock)).exists()


def test_a_lock_that_cannot_be_installed_names_the_log(tmp_path: Path) -> None:
    bad = tmp_path / "bad.lock"
    bad.write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(ClusterError, match=r"^pip failed \(exit 1\): see (.*)\.$") as caught:
        build(bad, imports=IMPORTS, tell=lambda _: None)
    log = Path(str(caught.value).partition("see ")[2].removesuffix("."))
    assert "DO NOT MATCH THE HASHES" in log.read_text(encoding="utf-8")
