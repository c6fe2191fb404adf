import subprocess
from pathlib import Path

import pytest

from cluster.env import prefix
from cluster.errors import ClusterError

# Each needs a library that is not the C library.
IMPORTS = "import bz2, ctypes, hashlib, lzma, sqlite3, ssl, sys, zlib; print(sys.prefix, *sys.path)"


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix that was made elsewhere."""
    made = tmp_path_factory.mktemp("made") / "prefix"
    made.mkdir()
    packages = prefix.make(made)
    (packages / "a_package.py").write_text("NAME = 'found'\n", encoding="utf-8")
    return made.rename(tmp_path_factory.mktemp("moved") / "prefix")


def python(folder: Path, program: str) -> str:
    """What it prints, in an empty environment."""
    command = [str(folder / "bin" / "python"), "-I", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={}).stdout


def test_it_runs_where_it_was_moved_to_and_finds_its_packages(moved: Path) -> None:
    own, *paths = python(moved, IMPORTS).split()
    assert own == str(moved)
    assert all(path.startswith(f"{moved}/") for path in paths)
    assert python(moved, "import a_package; print(a_package.NAME)") == "found\n"


def test_nothing_outside_is_linked_but_what_every_host_has(moved: Path) -> None:
    for binary in prefix.binaries(moved):
        shown = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True)
        for name, path in prefix.LINKED.findall(shown.stdout):
            assert prefix.OF_THE_HOST.match(name) or Path(path).is_relative_to(moved), binary


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    library = tmp_path / "lib"
    library.mkdir()
    source = tmp_path / "needs.c"
    source.write_text("int gone(void); int here(void) { return gone(); }\n", encoding="utf-8")
    gone = tmp_path / "gone.c"
    gone.write_text("int gone(void) { return 1; }\n", encoding="utf-8")
    command = ["gcc", "-shared", "-fPIC", "-o"]
    subprocess.run([*command, str(library / "libgone.so"), str(gone)], check=True)
    linked = [str(library / "needs.so"), str(source), f"-L{library}", "-lgone"]
    subprocess.run([*command, *linked], check=True)
    (library / "libgone.so").unlink()
    with pytest.raises(ClusterError, match=r"^needs\.so needs libgone\.so, which is not"):
        prefix.bring_libraries(tmp_path)
