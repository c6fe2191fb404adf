"""What of the program for virtual machines does not change the computer it runs on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.lab.faults.remote import machine

YARN_SITE = """<configuration>
<property><name>yarn.nodemanager.log-dirs</name><value>/data/logs</value></property>
<property>
  <name>yarn.nodemanager.local-dirs</name><value>file:///data/one, /data/two</value>
</property>
</configuration>"""
# The program with a fault that is lines in a file.
STAND_IN = """
import sys
from cluster.lab.faults.remote import machine
def write(word):
    with open(sys.argv[2], "a") as file:
        file.write(word)
def make(order):
    if order["factor"] == 13:
        raise machine.FaultError("it is unlucky")
    write("made ")
    return {"cpus": 1}
machine.FAULTS["cpu-quota"] = (make, lambda details: write(f"gone with {details.get('cpus')}"))
machine.main()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    site = tmp_path / machine.YARN_SITE
    site.parent.mkdir(parents=True)
    site.write_text(YARN_SITE)
    for folder in ("data/one/filecache/10/env", "data/two/usercache/u/filecache/11"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_bytes(bytes(1 << 20))
    (tmp_path / "data/one/nmPrivate").mkdir()
    return tmp_path


def test_what_yarn_has_localised_goes_and_its_own_stays(root: Path) -> None:
    assert machine.empty_cache(root) == 2
    left = {str(path.relative_to(root / "data")) for path in (root / "data").rglob("*")}
    assert left == {
        *("one", "one/filecache", "one/nmPrivate"),
        *("two", "two/usercache", "two/usercache/u", "two/usercache/u/filecache"),
    }


def test_the_cache_of_a_run_is_left_alone(root: Path) -> None:
    (root / "data/one/usercache/u/appcache/application_1_2").mkdir(parents=True)
    with pytest.raises(machine.FaultError, match="application_1_2 uses the cache"):
        machine.empty_cache(root)
    assert (root / "data/one/filecache/10/env/file").exists()


def test_a_machine_without_yarn_has_nothing_localised(tmp_path: Path) -> None:
    assert machine.empty_cache(tmp_path) == 0


def test_files_are_forgotten_whatever_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to("missing")
    os.mkfifo(tmp_path / "pipe")
    file = tmp_path / "file"
    file.write_bytes(bytes(1 << 20))

    def resident() -> int:
        command = ["fincore", "--noheadings", "--bytes", "--output", "RES", str(file)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    if resident() == 0 or not on_disk(tmp_path):
        pytest.skip(f"{tmp_path} is on a file system without a page cache of its own")
    machine.forget(tmp_path)
    assert resident() == 0


def on_disk(folder: Path) -> bool:
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout != "tmpfs\n"


class Program:
    """The program with a stand-in for a fault, and what it says."""

    def __init__(self, log: Path, **order: object) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-c", STAND_IN, "cpu-quota", str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        given = {"seconds": 60, "factor": 2, "options": {}, "details": None, **order}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()

    def said(self) -> dict[str, object]:
        assert self.process.stdout
        line: dict[str, object] = json.loads(self.process.stdout.readline())
        return self.said() if "step" in line else line

    def end(self) -> str:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)
        return self.log.read_text()


@pytest.mark.parametrize("way", ["its input ends", "its time is over", "SIGTERM"])
def test_a_fault_ends(tmp_path: Path, way: str) -> None:
    program = Program(tmp_path / "log", seconds=0.2 if "time" in way else 60)
    assert program.said() == {"made": {"cpus": 1}}
    began = time.monotonic()
    if way == "SIGTERM":
        program.process.send_signal(signal.SIGTERM)
    if way != "its input ends":
        program.process.wait(30)
    assert program.end() == "made gone with 1"
    assert time.monotonic() - began < 10
    assert program.said() == {"result": {}}


def test_a_fault_ends_although_nobody_hears_it(tmp_path: Path) -> None:
    program = Program(tmp_path / "log")
    assert program.said() == {"made": {"cpus": 1}}
    assert program.process.stdout
    program.process.stdout.close()
    assert program.end() == "made gone with 1"


def test_what_is_left_is_only_taken_away(tmp_path: Path) -> None:
    program = Program(tmp_path / "log", details={"cpus": 7})
    assert program.said() == {"result": {}}
    assert program.end() == "gone with 7"


def test_a_fault_that_cannot_be_is_one_sentence_and_nothing_is_left(tmp_path: Path) -> None:
    program = Program(tmp_path / "log", factor=13)
    assert program.said() == {"error": "it is unlucky"}
    assert program.end() == "gone with None"
