"""Runs of images on a lab, watched from outside, and what can happen to its machines meanwhile."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cluster.inventory import Inventory
from cluster.lab import cgroups, network, nspawn
from cluster.lab.faults.order import fault
from cluster.places import repository
from job.model import Model
from job.yolact.compare import differences
from tests.scenarios.labs import COMMAND, OperatedLab

SAMPLES = repository() / "models" / "images"
MODEL = Model.find("yolact-shapes")
# Longer than any fault may hold a run up: a lost host is noticed in 30 to 60 s.
RUN_S = 420.0


def many(folder: Path, count: int) -> Path:
    """COUNT images, copies of the shipped ones under names of their own."""
    folder.mkdir()
    shipped = sorted(SAMPLES.rglob("*.jpg"))
    for number in range(count):
        shutil.copy(shipped[number % len(shipped)], folder / f"{number:04}.jpg")
    return folder


@dataclass
class Running:
    """``cluster run`` in a process of its own."""

    lab: OperatedLab
    arguments: Sequence[str]
    within: Sequence[str] = ()
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = [COMMAND, "-i", str(self.lab.inventory), "run", *self.arguments]
        command = [*self.within, *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.lab.environment},
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream,))
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            print(f"{time.strftime('%X')} {line}", end="", file=sys.stderr)
            self.said.append(line.rstrip())

    @property
    def id(self) -> str:
        """The run's name on the edge host; empty until it has one."""
        started = [line for line in self.said if line.startswith("Started as ")]
        return started[0].split()[2] if started else ""

    def until_done(self, images: int) -> None:
        """Wait until so many images are done."""
        while self._done() < images:
            assert self.process.poll() is None, self.said
            time.sleep(0.5)

    def _done(self) -> int:
        if not self.id:
            return 0
        path = f"/data/runs/{self.id}/status.json"
        said = json.loads(self.lab.run(self.lab.edge, f"cat {path} || echo '{{}}'"))
        return int(said.get("progress", {}).get("done", 0))

    def end(self) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(RUN_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for reader in self._readers:
                reader.join()


@dataclass(frozen=True)
class InsideLab:
    """This computer as a machine of the lab's network that knows the hosts of the file NAMES."""

    lab: OperatedLab
    names: Path

    def start(self, arguments: Sequence[str]) -> Running:
        """``cluster run`` there."""
        own = network.NAMESPACES / nspawn.Lab.of(self.lab.inventory).name
        script = f'mount --bind {self.names} /etc/hosts && exec "$@"'
        within = ["nsenter", f"--net={own}", "unshare", "--mount", "sh", "-c", script, "sh"]
        return Running(self.lab, arguments, within)


def run_json(output: Path) -> Any:
    """What the run says of itself."""
    return json.loads((output / "run.json").read_text(encoding="utf-8"))


def timings(output: Path) -> list[dict[str, Any]]:
    """The timing rows."""
    rows: list[dict[str, Any]] = pq.read_table(output / "timings.parquet").to_pylist()
    return rows


def detections(output: Path) -> Mapping[str, list[dict[str, Any]]]:
    """Objects by image; of images without any, none."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in timings(output):
        found[row["image_id"]] = []
    for row in pq.read_table(output / "detections.parquet").to_pylist():
        found[row["image_id"]].append(row)
    return found


def assert_complete(output: Path, count: int) -> None:
    """Every image has its result once."""
    counts = run_json(output)["counts"]
    assert (counts["done"], counts["errors"], counts["missing"]) == (count, 0, 0), counts
    coco = json.loads((output / "detections.json").read_text(encoding="utf-8"))
    names = [image["file_name"] for image in coco["images"]]
    assert len(names) == len(set(names)) == count
    assert counts["detections"] == len(coco["annotations"])


def assert_same(output: Path, other: Path) -> None:
    """As the design defines the same detections."""
    assert differences(detections(output), detections(other), model=MODEL) == []


def local_run(folder: Path) -> Path:
    """What the shipped images give on this machine."""
    output = folder / "local"
    command = [COMMAND, "run", "--mode", "local", "--input", str(SAMPLES), "--output", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    return output


@dataclass(frozen=True)
class Machine:
    """One machine of a lab, as seen from the computer that it runs on."""

    lab: OperatedLab
    host: str

    @property
    def _lab(self) -> str:
        return nspawn.Lab.of(self.lab.inventory).name

    def power_off(self) -> None:
        """As if the cable were pulled."""
        cgroups.kill(self._lab, self.host)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes stand still."""
        inventory = Inventory.load(self.lab.inventory)
        with fault(inventory, "freeze", self.host, seconds=RUN_S):
            yield

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Its link is down."""
        self._link("down")
        try:
            yield
        finally:
            self._link("up")

    def _link(self, state: str) -> None:
        own = network.namespace(self._lab, self.host)
        command = ["ip", "-n", own, "link", "set", network.INTERFACE, state]
        subprocess.run(command, check=True)

    @contextmanager
    def disk_full(self, folder: str) -> Iterator[None]:
        """A folder is on a file system without room."""
        fill = f"dd if=/dev/zero of={folder}/full bs=1M count=2 2>/dev/null || :"
        self.lab.run(
            self.host, f"sudo mount -t tmpfs -o size=1m full {folder}; sudo sh -c '{fill}'"
        )
        try:
            yield
        finally:
            self.lab.run(self.host, f"sudo umount -l {folder}")

    def kill_executor(self) -> None:
        """End the JVM of its executor at once."""
        self.lab.run(self.host, "sudo pkill -9 -f '[C]oarseGrainedExecutorBackend'")
