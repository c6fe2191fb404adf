"""What one host says of itself, in one go: all that the quick checks need.

Comes after the text of job/cgroup.py, which reads the limits of control groups.
"""

import contextlib
import glob
import json
import os
import pwd
import re
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any
from xml.etree import ElementTree

MEBIBYTE = 2**20
LISTENING = "0A"  # state of a socket in /proc/net/tcp
NAMES_S = 10.0  # all look-ups together
CONNECT_S = 3.0  # one connection
CACHE_S = 5.0  # adding up the localiser's cache
AT_ONCE = 16


def text(path: str) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def units(names: list[str]) -> dict[str, dict[str, Any]]:
    """State of systemd's units; those it does not know are left out."""
    shown = "Id,LoadState,ActiveState,SubState,MainPID,NRestarts,Result,MemoryMax,FragmentPath"
    command = ["systemctl", "show", "--property", shown, *[f"{name}.service" for name in names]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    found = {}
    for block in done.stdout.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("LoadState") != "loaded":
            continue
        pid, memory = int(unit["MainPID"]), unit["MemoryMax"]
        configuration = text(unit["FragmentPath"])
        found[unit["Id"].removesuffix(".service")] = {
            "active": unit["ActiveState"],
            "sub": unit["SubState"],
            "result": unit["Result"],
            "restarts": int(unit["NRestarts"]),
            "pid": pid,
            "memory_max_mb": int(memory) // MEBIBYTE if memory.isdigit() else None,
            "heap_mb": mebibytes("-Xmx|SPARK_DAEMON_MEMORY=", configuration),
            "offers_mb": mebibytes("--memory ", configuration),  # a Spark worker, to executors
            "open_files": open_files(pid),
            "java": java(f"/proc/{pid}/exe") if pid else None,
        }
    return found


def mebibytes(pattern: str, configuration: str) -> int | None:
    """The last size that follows a pattern, as the JVM takes its options."""
    found = re.findall(rf"(?:{pattern})(\d+)([kmg])", configuration, re.IGNORECASE)
    if not found:
        return None
    number, unit = found[-1]
    return int(int(number) * {"k": 1 / 1024, "m": 1, "g": 1024}[unit.lower()])


def open_files(pid: int) -> int | None:
    """The soft limit of open files of a process."""
    limit = re.search(r"^Max open files\s+(\d+)", text(f"/proc/{pid}/limits"), re.MULTILINE)
    return int(limit.group(1)) if pid and limit else None


def java(program: str) -> str | None:
    """The version of the Java that a path leads to: every release has a file that says it."""
    try:
        home = os.path.dirname(os.path.dirname(os.path.realpath(program, strict=True)))  # noqa: PTH120
    except OSError:
        return None
    found = re.search(r'^JAVA_VERSION="([^"]+)"', text(f"{home}/release"), re.MULTILINE)
    return found.group(1) if found else "unknown"


def settings(files: list[str], wanted: list[str]) -> dict[str, str]:
    """Values of Hadoop's configuration files."""
    values = {}
    for file in files:
        try:
            root = ElementTree.parse(file).getroot()
        except (OSError, ElementTree.ParseError):
            continue
        for prop in root.iter("property"):
            if (name := prop.findtext("name")) in wanted:
                values[str(name)] = (prop.findtext("value") or "").strip()
    return values


def listed(folders: str) -> list[str]:
    """Folders as Hadoop lists them: with commas, perhaps as URLs, perhaps behind "[SSD]"."""
    each = (part.strip().split("]")[-1] for part in folders.split(","))
    return [part.removeprefix("file://") for part in each if part]


def disks(folders: list[str]) -> list[dict[str, Any]]:
    """Room in each folder's file system, or in that of the closest folder above it."""
    found = []
    for folder in folders:
        there = folder
        while not os.path.isdir(there):  # noqa: PTH112
            there = os.path.dirname(there)  # noqa: PTH120
        room = os.statvfs(there)
        found.append(
            {
                "folder": folder,
                "exists": there == folder,
                "file_system": os.stat(there).st_dev,  # noqa: PTH116
                "size_mb": room.f_blocks * room.f_frsize // MEBIBYTE,
                "free_mb": room.f_bavail * room.f_frsize // MEBIBYTE,
                # As the NodeManager's disk checker sees it: what is not usable, of all.
                "used_percent": 100 * (1 - room.f_bavail / max(room.f_blocks, 1)),
                "inodes_free_percent": 100 * room.f_favail / room.f_files if room.f_files else 100,
            }
        )
    return found


def cache_mb(folders: list[str]) -> int:
    """What the NodeManager's public cache holds, as far as it can be added up in time."""
    ends, total = time.monotonic() + CACHE_S, 0
    for folder in folders:
        for at, _, files in os.walk(f"{folder}/filecache"):
            for name in files:
                try:
                    total += os.lstat(f"{at}/{name}").st_blocks * 512
                except OSError:
                    continue
            if time.monotonic() > ends:
                break
    return total // MEBIBYTE


def swap() -> dict[str, Any]:
    """Size and use of all swap."""
    rows = [line.split() for line in text("/proc/swaps").splitlines()[1:]]
    return {
        "size_mb": sum(int(row[-3]) for row in rows) // 1024,
        "used_mb": sum(int(row[-2]) for row in rows) // 1024,
        "swappiness": int(text("/proc/sys/vm/swappiness") or 60),
    }


def cpu() -> dict[str, Any]:
    """Governor and frequency limits; empty where the host has no say in them."""
    found: dict[str, Any] = {}
    for folder in glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq"):  # noqa: PTH207
        for name in ("scaling_governor", "scaling_driver", "scaling_max_freq", "cpuinfo_max_freq"):
            if value := text(f"{folder}/{name}"):
                found.setdefault(name, []).append(value)
    throttled = glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")  # noqa: PTH207
    return {
        **{name: sorted(set(values)) for name, values in found.items()},
        "thermal_throttles": sum(int(text(path) or 0) for path in throttled),
    }


def sockets(folder: str) -> list[str]:
    """The inodes of the sockets among a process's open files, in its folder of /proc."""
    found = []
    with contextlib.suppress(OSError):  # it has ended, or is not ours to see
        for number in os.listdir(folder):  # noqa: PTH208
            with contextlib.suppress(OSError):  # closed meanwhile
                link = os.readlink(f"{folder}/{number}")  # noqa: PTH115
                if link.startswith("socket:["):
                    found.append(link[8:-1])
    return found


def processes() -> tuple[dict[str, int], dict[int, str]]:
    """The process behind each socket's inode, and the systemd unit of each such process."""
    owners, unit_of = {}, {}
    for folder in glob.glob("/proc/[0-9]*/fd"):  # noqa: PTH207
        pid = int(folder.split("/")[2])
        if held := sockets(folder):
            owners.update(dict.fromkeys(held, pid))
            unit = re.search(r"/([^/\n]+)\.service", text(f"/proc/{pid}/cgroup"))
            unit_of[pid] = unit.group(1) if unit else ""
    return owners, unit_of


def address(hexadecimal: str) -> str:
    """An address of /proc/net/tcp or tcp6 as people write it."""
    words = bytes.fromhex(hexadecimal)
    count = len(words) // 4
    raw = struct.pack(f">{count}I", *struct.unpack(f"<{count}I", words))
    written = socket.inet_ntop(socket.AF_INET if count == 1 else socket.AF_INET6, raw)
    return written.removeprefix("::ffff:")


def listening() -> list[dict[str, Any]]:
    """Every TCP socket that takes connections, and who holds it."""
    owners, unit_of = processes()
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text(table).splitlines()[1:]:
            column = line.split()
            if column[3] != LISTENING:
                continue
            at, port = column[1].split(":")
            uid, pid = int(column[7]), owners.get(column[9])
            try:
                user = pwd.getpwuid(uid).pw_name
            except KeyError:
                user = str(uid)
            found.append(
                {
                    "address": address(at),
                    "port": int(port, 16),
                    "user": user,
                    "unit": unit_of.get(pid, "") if pid else "",
                    "program": text(f"/proc/{pid}/comm") if pid else "",
                }
            )
    return found


def interfaces() -> list[dict[str, Any]]:
    """IPv4 and IPv6 addresses that other machines may use, with the link's speed where known."""
    done = subprocess.run(
        ["ip", "-j", "address", "show", "up"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    found = []
    for link in filter(None, json.loads(done.stdout or "[]")):  # one that is down is empty
        folder = f"/sys/class/net/{link['ifname']}"
        speed = text(f"{folder}/speed")
        found += [
            {
                "interface": link["ifname"],
                "address": entry["local"],
                # A bridge or a virtual link says -1 or nothing.
                "speed_mbit": int(speed) if speed.isdigit() else None,
                "duplex": text(f"{folder}/duplex") or None,
            }
            for entry in link["addr_info"]
            if entry.get("scope") == "global"
        ]
    return found


def names(expected: dict[str, str]) -> list[dict[str, str]]:
    """Host names and addresses that this host does not look up as expected."""
    # Where a name server does not answer, a look-up would take half a minute.
    os.environ["RES_OPTIONS"] = "timeout:2 attempts:1"

    def forward(name: str) -> list[str]:
        return sorted({str(row[4][0]) for row in socket.getaddrinfo(name, None, socket.AF_INET)})

    def backward(at: str) -> list[str]:
        name, aliases, _ = socket.gethostbyaddr(at)
        return [name, *aliases]

    wrong = []
    pool = ThreadPoolExecutor(AT_ONCE)
    asked = {pool.submit(forward, name): (name, at) for name, at in expected.items()}
    asked |= {pool.submit(backward, at): (at, name) for name, at in expected.items()}
    wait(asked, timeout=NAMES_S)
    for future, (question, answer) in asked.items():
        if not future.done():
            got = "no answer"
        elif future.exception():
            got = "unknown"
        elif answer == future.result()[0]:
            continue
        else:
            got = ", ".join(future.result())
        wrong.append({"asked": question, "expected": answer, "got": got})
    pool.shutdown(wait=False, cancel_futures=True)
    return wrong


def connections(targets: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Those of the targets that cannot be connected to from here."""

    def attempt(target: tuple[str, int]) -> str | None:
        try:
            socket.create_connection(target, CONNECT_S).close()
        except OSError as error:
            return error.strerror or str(error)
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(pool.map(attempt, [(at, port) for at, port in targets]))
    return [
        {"address": at, "port": port, "error": error}
        for (at, port), error in zip(targets, said, strict=True)
        if error
    ]


def main() -> None:
    """Print the facts, then answer with the time until there is nothing more to read."""
    asked = json.loads(sys.argv[1])
    values = settings(asked["configuration"], asked["settings"])
    state = units(asked["units"] + asked["services"])
    folders = list(asked["folders"])
    for name in asked["folder_settings"]:
        folders += listed(values.get(name, ""))
    memory = dict(re.findall(r"^(\w+):\s+(\d+)", text("/proc/meminfo"), re.MULTILINE))
    limit = memory_limit_mb()  # type: ignore[name-defined]  # noqa: F821
    print(
        json.dumps(
            {
                "root": os.geteuid() == 0,
                "hostname": socket.gethostname(),
                "container": text("/run/systemd/container"),
                "units": {name: unit for name, unit in state.items() if name in asked["units"]},
                "services": {
                    name: unit["active"]
                    for name, unit in state.items()
                    if name in asked["services"]
                },
                "java": java("/usr/bin/java"),
                "settings": values,
                "disks": disks(list(dict.fromkeys(folders))),
                "cache_mb": cache_mb(listed(values.get(asked["cache_setting"], ""))),
                "memory": {
                    "total_mb": int(memory["MemTotal"]) // 1024,
                    "available_mb": int(memory["MemAvailable"]) // 1024,
                    "limit_mb": None if limit is None else int(limit),
                },
                "cpus": cpu_quota(),  # type: ignore[name-defined]  # noqa: F821
                "cpu": cpu(),
                "swap": swap(),
                "listening": listening(),
                "interfaces": interfaces(),
                "names": names(asked["names"]),
                "unreachable": connections(asked["connect"]),
            }
        ),
        flush=True,
    )
    os._exit(0)  # a look-up without an answer may still hold a thread


main()
