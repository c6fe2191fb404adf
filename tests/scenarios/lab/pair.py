"""A lab of two unequal machines, and what is asked of it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.lab import cgroups, network, nspawn

COMMAND = str(Path(sys.executable).with_name("cluster"))
HOSTS = """
all:
  hosts:
    whole: {ansible_host: 10.77.0.11, lab_cpus: 8, lab_memory_mb: 512}
    slow: {ansible_host: 10.77.0.12, lab_cpus: 0.5, lab_memory_mb: 256, lab_bandwidth_mbit: 40}
  children:
    edge: {hosts: {whole: }}
"""
# Sends for 3 s what is then divided by the time; ends by itself.
SENDER = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 5999), timeout=10) as s:
    end = time.monotonic() + 3
    while time.monotonic() < end: s.sendall(bytes(65536))
"""
RECEIVER = """
import socket, sys, time
s = socket.create_server((sys.argv[1], 5999)); s.settimeout(20); print("ready", flush=True)
c, _ = s.accept(); c.settimeout(20); n = len(c.recv(1 << 16)); start = time.monotonic()
while b := c.recv(1 << 16): n += len(b)
print(n * 8 / 1e6 / (time.monotonic() - start))
"""


def cluster(inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "-i", str(inventory), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def done(inventory: Path, *arguments: str) -> str:
    result = cluster(inventory, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def inside(inventory: Path, host: str, command: str) -> str:
    return done(inventory, "lab", "ssh", host, "--", command)


def make_inventory(folder: Path) -> Path:
    folder.mkdir()
    (folder / "hosts.yml").write_text(HOSTS)
    return folder


def leftovers(lab: nspawn.Lab) -> list[str]:
    """Whatever a lab can leave behind, in words."""
    name = lab.name
    mounts = Path("/proc/self/mountinfo").read_text()
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    found = [f"cgroup {path}" for path in cgroups.ROOT.glob(f"*/{cgroups.FOLDER}/{name}")]
    found += [f"namespace {path}" for path in network.NAMESPACES.glob(f"{name}*")]
    found += [f"folder {path}" for path in nspawn.LABS.glob(f"{name}*")]
    found += [f"process {line}" for line in processes.stdout.splitlines() if f"/{name}/" in line]
    found += [text for text, where in (("mount", mounts), ("loop device", loops)) if name in where]
    found += [text for text in Path("/proc/swaps").read_text().splitlines() if name in text]
    found += [f"file {path}" for path in lab.inventory.glob(".lab")]
    found += [f"file {path}" for path in Path.home().glob(f".ansible/cp/{name}")]
    return found + [f"file {path}" for path in lab.inventory.glob("lab.yml")]


@contextmanager
def up(folder: Path) -> Iterator[Path]:
    """The machines of an inventory that is made in FOLDER."""
    inventory = make_inventory(folder)
    try:
        done(inventory, "lab", "up")
        yield inventory
    finally:
        cluster(inventory, "lab", "down")


def transfer(inventory: Path, sender: str, receiver: str) -> float:
    """Mbit/s from one machine to the other."""
    address = {"whole": "10.77.0.11", "slow": "10.77.0.12"}[receiver]
    config = str(inventory / ".lab" / "ssh_config")
    listening = subprocess.Popen(
        ["ssh", "-F", config, receiver, f"timeout 30 python3 -c '{RECEIVER}' {address}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listening.stdout is not None
    assert listening.stdout.readline() == "ready\n"
    inside(inventory, sender, f"python3 -c '{SENDER}' {address}")
    return float(listening.communicate(timeout=60)[0])
