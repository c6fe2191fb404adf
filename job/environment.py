"""Checks a copy of the environment on the host it runs on, by any Python's standard library alone.

Its input's first line is a JSON object: "folder" of the copy, "imports" that must run in it, and
"files", whether all files are compared with the copy's manifest. It prints JSON objects, one a
line: {"step", "done", "total"} as it goes on, last {"result"}. It always ends with 0: a copy whose
own Python does not start is a result, too.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# In a copy: each of its files with its digest, as sha256sum writes and checks it.
MANIFEST = "environment.sha256"
CHUNK = 2**20
SAY_EVERY_S = 2.0


def say(**values: Any) -> None:
    """One line to whoever has started it."""
    print(json.dumps(values), flush=True)


def sha256(path: Path) -> str:
    """A file's digest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def manifest_of(folder: Path) -> str:
    """The manifest of what is in a folder; links are told by what they lead to."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    lines = (f"{sha256(path)}  {path.relative_to(folder)}\n" for path in files)
    return "".join(lines)


def damaged(folder: Path) -> dict[str, str]:
    """The files of a copy that are not as its manifest says, and in which way."""
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return {MANIFEST: str(error.strerror)}
    found: dict[str, str] = {}
    said_at = 0.0
    for done, line in enumerate(lines):
        wanted, _, name = line.partition("  ")
        try:
            if sha256(folder / name) != wanted:
                found[name] = "another content"
        except (OSError, ValueError) as error:
            found[name] = getattr(error, "strerror", None) or "not readable"
        if time.monotonic() > said_at + SAY_EVERY_S:
            say(step="Checking files", done=done, total=len(lines))
            said_at = time.monotonic()
    return found


def failure(folder: Path, imports: str) -> str:
    """Why a fresh interpreter of the copy does not import what a run does; empty where it does."""
    # Whoever runs this may write there, and is not to.
    command = [str(folder / "bin" / "python"), "-I", "-B", "-c", imports]
    try:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
            while True:
                say(step="Importing", done=0, total=0)
                try:
                    _, said = program.communicate(timeout=SAY_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
    except OSError as error:
        return f"its Python does not start: {error.strerror}"
    if program.returncode == 0:
        return ""
    last = (said.strip() or "it said nothing").splitlines()[-1]
    ended = (
        f"exit {program.returncode}" if program.returncode > 0 else f"signal {-program.returncode}"
    )
    return f"its Python does not import what a run does ({ended}): {last[:300]}"


def check(wanted: dict[str, Any]) -> dict[str, Any]:
    """What is to be said of the copy in a folder."""
    folder = Path(wanted["folder"])
    began = time.monotonic()
    wrong = damaged(folder) if wanted["files"] else {}
    compared = time.monotonic()
    manifest = folder / MANIFEST
    return {
        "host": socket.gethostname().split(".")[0],
        # In a container it is a link to the host's one copy.
        "folder": os.path.realpath(folder),
        "manifest": sha256(manifest) if manifest.is_file() else "",
        "damaged": wrong,
        "failure": failure(folder, wanted["imports"]),
        "files_s": compared - began,
        "imports_s": time.monotonic() - compared,
    }


if __name__ == "__main__":
    say(result=check(json.loads(sys.stdin.readline())))
