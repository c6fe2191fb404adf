"""The program that is sent to hosts, run on this one in a folder of the test's own."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.env.hosts import REMOTE, START
from cluster.env.parcels import tar

DIGEST, BIGDL = "00c0ffee00c0ffee", "bigdl-0123456789abcdef"
MONTH_S = 30 * 86400.0


class HostOfTest:
    """A host whose /opt/cluster is ROOT."""

    def __init__(self, root: Path) -> None:
        self.root = root
        source = (REMOTE / "host.py").read_text(encoding="utf-8")
        for old, new in (
            ('Path("/opt/cluster")', f'Path("{root}")'),
            ("LOCK_PATIENCE_S = 30.0", "LOCK_PATIENCE_S = 0.5"),
            ("SAY_EVERY_S = 0.5", "SAY_EVERY_S = 0.0"),
        ):
            assert old in source
            source = source.replace(old, new)
        self._program = source.encode()

    def start(self, operation: str, arguments: Any) -> "subprocess.Popen[bytes]":
        start = START.format(size=len(self._program))
        process = subprocess.Popen(
            [sys.executable, "-c", start, operation],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin
        process.stdin.write(self._program + json.dumps(arguments).encode() + b"\n")
        process.stdin.flush()
        return process

    def do(self, operation: str, arguments: Any, stream: bytes = b"") -> dict[str, Any]:
        """The last line: {"result": ...} or {"error": ...}."""
        out, err = self.start(operation, arguments).communicate(stream, timeout=60)
        assert out, err
        last: dict[str, Any] = json.loads(out.splitlines()[-1])
        return last

    def inside(self) -> set[str]:
        """What there is, but for the lock."""
        found = (path.relative_to(self.root) for path in self.root.glob("*/*"))
        return {str(path) for path in found}


@pytest.fixture
def host(tmp_path: Path) -> HostOfTest:
    return HostOfTest(tmp_path / "opt")


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    """An environment and jars, packed."""
    files = {}
    for name, mode, inside in (
        ("environment", "w:gz", {"bin/python": b"python", "lib/large": os.urandom(2_000_000)}),
        ("bigdl", "w", {"a.jar": b"jar"}),
    ):
        files[name] = tmp_path / name
        with tarfile.open(files[name], mode) as archive:
            for path, content in inside.items():
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(content), 0o755
                archive.addfile(entry, io.BytesIO(content))
    return files


def items(archives: dict[str, Path]) -> list[dict[str, Any]]:
    kinds = {
        "environment": ("environments", DIGEST, "-xzpf", {".bigdl": BIGDL.partition("-")[2]}),
        "bigdl": ("jars", BIGDL, "-xpf", {}),
    }
    return [
        {
            "file": file,
            "folder": folder,
            "name": name,
            "options": options,
            "notes": notes,
            "bytes": archives[file].stat().st_size,
            "sha256": hashlib.sha256(archives[file].read_bytes()).hexdigest(),
        }
        for file, (folder, name, options, notes) in kinds.items()
    ]


def wanted(archives: dict[str, Path], **other: Any) -> dict[str, Any]:
    total = sum(path.stat().st_size for path in archives.values())
    return {
        "total": total,
        "unpack": items(archives),
        "publish": None,
        "serve": None,
        **other,
    }


def test_what_is_received_is_unpacked_under_its_name(
    host: HostOfTest, archives: dict[str, Path]
) -> None:
    stream = b"".join(tar(archives))
    assert "result" in host.do("receive", wanted(archives), stream)
    assert host.inside() == {f"environments/{DIGEST}", f"jars/{BIGDL}"}
    python = host.root / "environments" / DIGEST / "bin" / "python"
    assert python.read_bytes() == b"python" and os.access(python, os.X_OK)
    assert python.parents[1].stat().st_mode & 0o777 == 0o755
    seen = host.do("look", {})["result"]
    assert seen["environments"] == {DIGEST: BIGDL.partition("-")[2]}
    assert seen["jars"] == [BIGDL]
    assert not list(host.root.glob(".part-*"))


def test_a_connection_that_ends_early_leaves_nothing_whole(
    host: HostOfTest, archives: dict[str, Path]
) -> None:
    stream = b"".join(tar(archives))
    said = host.do("receive", wanted(archives), stream[: len(stream) // 2])
    assert "ended too early" in said["error"]
    assert host.inside() == set()


def test_what_a_kill_has_left_is_removed_by_the_next(
    host: HostOfTest, archives: dict[str, Path]
) -> None:
    stream = b"".join(tar(archives))
    killed = host.start("receive", wanted(archives))
    assert killed.stdin and killed.stdout
    killed.stdin.write(stream[: len(stream) // 2])
    killed.stdin.flush()
    killed.stdout.readline()
    killed.kill()
    killed.communicate()
    assert list(host.root.glob(".part-*"))
    (host.root / "environments" / f".part-{DIGEST}").mkdir()
    assert "result" in host.do("receive", wanted(archives), stream)
    assert not list(host.root.glob("**/.part-*"))


def test_two_at_once_are_refused(host: HostOfTest, archives: dict[str, Path]) -> None:
    first = host.start("receive", wanted(archives))
    deadline = time.monotonic() + 10
    while not list(host.root.glob(".part-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "another `cluster env push`" in host.do("receive", wanted(archives))["error"]
    out, _ = first.communicate(b"".join(tar(archives)), timeout=60)
    assert "result" in json.loads(out.splitlines()[-1])


def test_an_archive_that_tar_refuses_is_told(host: HostOfTest, archives: dict[str, Path]) -> None:
    archives["environment"].write_bytes(b"no archive" * 1000)
    said = host.do("receive", wanted(archives), b"".join(tar(archives)))
    assert "tar failed" in said["error"]
    assert host.inside() == set()


def test_other_hosts_fetch_what_one_serves(
    host: HostOfTest, archives: dict[str, Path], tmp_path: Path
) -> None:
    serve = {"address": "127.0.0.1", "token": "0" * 32}
    serving = host.start("receive", wanted(archives, serve=serve))
    assert serving.stdin and serving.stdout
    serving.stdin.write(b"".join(tar(archives)))
    serving.stdin.flush()
    port = 0
    while not port:
        port = json.loads(serving.stdout.readline()).get("serving", 0)
    pull = {**serve, "port": port, "unpack": items(archives)}
    other = HostOfTest(tmp_path / "other")
    assert "did not come whole" in other.do("pull", {**pull, "token": "1" * 32})["error"]
    changed = [{**item, "sha256": "0" * 64} for item in items(archives)]
    assert "did not come whole" in other.do("pull", {**pull, "unpack": changed})["error"]
    assert {name for name in other.inside() if ".part-" not in name} == set()
    assert "result" in other.do("pull", pull)
    out, _ = serving.communicate(timeout=60)
    assert "result" in json.loads(out.splitlines()[-1])
    assert other.inside() == host.inside() == {f"environments/{DIGEST}", f"jars/{BIGDL}"}


def test_gc_spares_what_is_in_use(host: HostOfTest) -> None:
    now = time.time()
    ages = {"old": 3, "tagged": 3, "runs": 3, "new": 0}
    for name, months in ages.items():
        folder = host.root / "environments" / name
        (folder / "bin").mkdir(parents=True)
        (folder / ".bigdl").write_text(name)
        jars = host.root / "jars" / f"bigdl-{name}"
        jars.mkdir(parents=True)
        for used in (folder / ".used", jars / ".used"):
            used.touch()
            os.utime(used, (now - months * MONTH_S,) * 2)
    program = host.root / "environments" / "runs" / "bin" / "sleep"
    shutil.copy(Path("/usr/bin/sleep").resolve(), program)
    asked = {"in_use": {"tagged": "application_1 uses it"}, "before": now - MONTH_S}
    with subprocess.Popen([program, "60"]) as running:
        before = host.inside()
        told = host.do("gc", {**asked, "dry_run": True})["result"]
        assert host.inside() == before
        assert host.do("gc", {**asked, "dry_run": False})["result"] == told
        running.kill()
    why = {Path(each["name"]).name: each["why"] for each in told if not each["dropped"]}
    assert set(why) == {"tagged", "runs", "new", "bigdl-tagged", "bigdl-runs", "bigdl-new"}
    assert why["tagged"] == "application_1 uses it"
    assert why["runs"] == f"process {running.pid} runs it"
    assert why["new"] == "used lately"
    assert host.inside() == before - {"environments/old", "jars/bigdl-old"}
