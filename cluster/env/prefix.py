"""A whole CPython prefix that runs wherever it is unpacked, copied from the one that runs this.

A virtual environment needs its base where it was made, and Orca sets PYTHONHOME to the prefix; so
executors get interpreter, standard library and packages in one folder. The libraries that they are
linked to come along, but for the C library and the C++ runtime, which every Debian has.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import ClusterError

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
# A program that outlives a killed build would go on writing.
WITH_US = ("setpriv", "--pdeathsig", "KILL")
# Of the standard library: what no program of ours imports, and what is for building extensions.
LEFT_OUT = (
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter"),
    *("turtledemo", "ensurepip", "venv", "lib2to3", "pydoc_data", "config-*", "_tkinter.*"),
    *("EXTERNALLY-MANAGED", "sitecustomize.py"),
)
# Of the host: the C library and its parts, the loader, and the C++ runtime.
OF_THE_HOST = re.compile(
    r"^(linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|util|resolv|nsl|crypt|gcc_s|stdc\+\+)\.so)"
)
GLIBC = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")
LINKED = re.compile(r"^\s*(\S+) => (/\S+)", re.MULTILINE)


def make(folder: Path) -> Path:
    """Make the prefix in FOLDER, without packages; gives the folder of its packages.

    Raises:
        ClusterError: something in it is linked to a library that is missing.
    """
    stdlib = folder / "lib" / VERSION
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(sysconfig.get_path("stdlib"), stdlib, ignore=ignored)
    (folder / "bin").mkdir()
    program = folder / "bin" / VERSION
    shutil.copy2(Path(sysconfig.get_config_var("BINDIR")) / VERSION, program)
    for alias in ("python", "python3"):
        (folder / "bin" / alias).symlink_to(VERSION)
    packages = stdlib / "site-packages"
    packages.mkdir()
    # Debian's CPython looks for packages in a folder of another name.
    (stdlib / "sitecustomize.py").write_text(
        f"import site, sys\nsite.addsitedir(sys.prefix + '/lib/{VERSION}/site-packages')\n"
    )
    bring_libraries(folder)
    return packages


def binaries(folder: Path) -> Iterator[Path]:
    """The ELF files below FOLDER, each once."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def glibc(folder: Path) -> str:
    """The least version of the C library that its binaries ask for, as in "2.34"."""
    asked = {
        tuple(map(int, version))
        for binary in binaries(folder)
        for version in GLIBC.findall(binary.read_bytes())
    }
    return ".".join(map(str, max(asked)))


def bring_libraries(folder: Path) -> None:
    """Copy what the interpreter is linked to into lib/, and have it looked for there."""
    library = folder / "lib"
    todo = list(binaries(folder))
    while todo:
        binary = todo.pop()
        for name, found in _linked(binary):
            target = library / name
            if not OF_THE_HOST.match(name) and not target.exists():
                shutil.copy2(Path(found).resolve(), target)
                target.chmod(0o755)
                todo.append(target)
        here = os.path.relpath(library, binary.parent)
        _run("patchelf", "--set-rpath", f"$ORIGIN/{here}", str(binary))


def _linked(binary: Path) -> list[tuple[str, str]]:
    shown = _run("ldd", str(binary))
    if missing := re.search(r"^\s*(\S+) => not found", shown, re.MULTILINE):
        raise ClusterError(f"{binary.name} needs {missing[1]}, which is not on this machine.")
    return LINKED.findall(shown)


def _run(*command: str) -> str:
    own = Path(sys.executable).with_name(command[0])
    program = own if own.exists() else shutil.which(command[0])
    if program is None:
        raise ClusterError(f"{command[0]} was not found: install it, then build again.")
    words = [str(program), *command[1:]]
    try:
        done = subprocess.run([*WITH_US, *words], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"`{' '.join(words)}` failed: {error.stderr.strip()}") from error
    return done.stdout
