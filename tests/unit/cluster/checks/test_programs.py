"""The programs that are sent to hosts, run on this one."""

import getpass
import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from cluster.checks.program import source_of

LOOPBACK = "127.0.0.1"
QUESTION = {
    "units": ["hdfs-namenode"],
    "services": ["chrony"],
    "configuration": [],
    "settings": ["dfs.datanode.data.dir", "yarn.nodemanager.local-dirs"],
    "folders": ["/"],
    "folder_settings": ["dfs.datanode.data.dir"],
    "cache_setting": "yarn.nodemanager.local-dirs",
    "names": {},
    "connect": [],
}


def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin
    process.stdin.write(source_of(program))
    process.stdin.close()
    process.stdin = None
    return process


def answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    said: dict[str, Any] = json.loads(out)
    return said


def facts(**changes: Any) -> dict[str, Any]:
    return answer(start("facts", json.dumps({**QUESTION, **changes})))


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_who_listens_where_is_seen() -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as one,
        socket.create_server(("::", 0), family=socket.AF_INET6) as other,
    ):
        found = facts()["listening"]
        port, wild = one.getsockname()[1], other.getsockname()[1]
    at = {entry["port"]: entry for entry in found}
    mine = at[port]
    assert (mine["address"], mine["user"]) == (LOOPBACK, getpass.getuser())
    assert Path("/proc/self/comm").read_text(encoding="utf-8").strip() == mine["program"]
    assert at[wild]["address"] == "::"


def test_who_listens_is_seen_while_it_opens_and_closes_files() -> None:
    ended = threading.Event()

    def open_and_close() -> None:
        while not ended.is_set():
            files = [open(os.devnull, "rb") for _ in range(200)]  # noqa: PTH123,SIM115
            for file in files:
                file.close()

    busy = threading.Thread(target=open_and_close)
    busy.start()
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            port = server.getsockname()[1]
            found = [entry for _ in range(10) for entry in facts()["listening"]]
    finally:
        ended.set()
        busy.join()
    assert all(entry["program"] for entry in found if entry["port"] == port)


def test_ports_are_tried() -> None:
    shut = free_port()
    with socket.create_server((LOOPBACK, 0)) as server:
        targets = [(LOOPBACK, server.getsockname()[1]), (LOOPBACK, shut)]
        found = facts(connect=targets)["unreachable"]
    assert found == [{"address": LOOPBACK, "port": shut, "error": "Connection refused"}]


def test_only_names_that_are_wrong_are_told() -> None:
    names = {"localhost": LOOPBACK, "no-such-host.invalid": "192.0.2.9"}
    found = facts(names=names)["names"]
    assert {row["asked"]: row["expected"] for row in found} == {
        "no-such-host.invalid": "192.0.2.9",
        "192.0.2.9": "no-such-host.invalid",
    }
    (wrong,) = facts(names={"localhost": "192.0.2.1"})["names"][:1]
    assert wrong == {"asked": "localhost", "expected": "192.0.2.1", "got": LOOPBACK}


def test_settings_lead_to_the_folders_they_name(tmp_path: Path) -> None:
    there, planned = tmp_path / "one", tmp_path / "two" / "deep"
    (there / "filecache").mkdir(parents=True)
    (there / "filecache" / "jar").write_bytes(b"x" * (3 * 2**20))
    site = tmp_path / "site.xml"
    site.write_text(
        f"""<configuration>
        <property><name>dfs.datanode.data.dir</name>
          <value>file://{there}, [SSD]file://{planned}</value></property>
        <property><name>yarn.nodemanager.local-dirs</name><value>{there}</value></property>
        <property><name>something.else</name><value>1</value></property>
        </configuration>""",
        encoding="utf-8",
    )
    found = facts(configuration=[str(site), str(tmp_path / "missing.xml")])
    assert set(found["settings"]) == {"dfs.datanode.data.dir", "yarn.nodemanager.local-dirs"}
    disks = {disk["folder"]: disk["exists"] for disk in found["disks"]}
    assert disks == {"/": True, str(there): True, str(planned): False}
    assert found["cache_mb"] == 3


def test_memory_and_disks_are_those_of_this_machine() -> None:
    found = facts()
    assert found["memory"]["total_mb"] > found["memory"]["available_mb"] > 0
    (disk,) = found["disks"]
    assert 0 < disk["free_mb"] < disk["size_mb"]
    assert 0 < disk["used_percent"] < 100
    assert found["cpus"] > 0


def test_two_threads_do_not_wait_for_one_another() -> None:
    measured = answer(start("cpu", 0.4))
    every, single = measured["all"], measured["single"]
    assert single["threads"] == 1
    assert single["units_per_s"] > 0
    assert 0 < single["cpus_used"] < 1.1
    assert every["cpus_used"] <= every["threads"] * 1.1
    assert 0 <= measured["stolen"] <= 1
    assert measured["zlib"] == zlib.ZLIB_RUNTIME_VERSION


def test_the_disk_probe_leaves_nothing_and_ends_in_time(tmp_path: Path) -> None:
    measured = answer(start("disk", tmp_path / "not" / "there", 8, 5))
    assert measured["folder"] == str(tmp_path)
    assert measured["written_mb"] == 8
    assert measured["write_mb_s"] > 0
    assert measured["read_mb_s"] > 0
    assert list(tmp_path.iterdir()) == []
    assert answer(start("disk", tmp_path, 10**6, 0.2))["written_mb"] < 10**4


def test_a_link_is_measured_in_both_directions() -> None:
    port = free_port()
    shared = (LOOPBACK, port, LOOPBACK, 0.6)
    sides = [start("link", role, *shared, "token") for role in ("listen", "connect")]
    for side in sides:
        assert answer(side)["received_mbit"] > 10
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))


def test_a_stranger_is_not_measured() -> None:
    port = free_port()
    listener = start("link", "listen", LOOPBACK, port, LOOPBACK, 0.4, "token")
    strangers = start("link", "connect", LOOPBACK, port, LOOPBACK, 0.4, "other")
    assert "error" in answer(strangers)
    assert answer(start("link", "connect", LOOPBACK, port, LOOPBACK, 0.4, "token"))
    assert answer(listener)["received_mbit"] > 10
