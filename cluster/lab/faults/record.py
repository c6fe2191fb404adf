"""What a lab's folder keeps of its faults: a file for each that goes on, and the ground truth.

A fault's file is locked as long as its guardian lives, and there as long as something of the fault
may be left. So a fault whose guardian was killed is known, and so is what it takes to end it.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from cluster.errors import ClusterError
from cluster.lab.faults.kinds import Order, Truth
from cluster.lab.faults.nspawn import NspawnMachine
from cluster.lab.faults.virtual import VirtualMachine
from job.errors import UsageError

TRUTHS = "truth.jsonl"
PROVIDERS: Mapping[str, type[NspawnMachine] | type[VirtualMachine]] = {
    "nspawn": NspawnMachine,
    "vagrant": VirtualMachine,
}
# To give a machine back its memory, all that it has in swap is read.
CLEAR_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of a machine, in the folder where the machine's lab keeps its faults."""

    folder: Path
    machine: NspawnMachine | VirtualMachine
    order: Order

    def dump(self) -> dict[str, Any]:
        """As JSON; ``load`` reads it."""
        return {
            "folder": str(self.folder),
            "provider": next(n for n, of in PROVIDERS.items() if isinstance(self.machine, of)),
            "machine": asdict(self.machine),
            "order": asdict(self.order),
        }

    @classmethod
    def load(cls, told: Mapping[str, Any]) -> "Fault":
        """Of what ``dump`` gave."""
        machine = PROVIDERS[told["provider"]](**told["machine"])
        return cls(folder=Path(told["folder"]), machine=machine, order=Order(**told["order"]))

    @contextlib.contextmanager
    def file(self) -> Iterator[IO[str]]:
        """The fault's file, locked; what a killed guardian has left is taken away first.

        Raises:
            UsageError: a guardian has it.
            JobError: what was left stays.
        """
        path = self.folder / f"{self.order.host}.{self.order.kind}.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            with path.open("a+") as file:
                if not _lock(file):
                    raise UsageError(
                        f"{self.order.host} has the fault {self.order.kind} already: wait until it"
                        " is over, or `cluster lab fault clear`."
                    )
                if _end_left(file):
                    continue
                yield file
                return

    def note(self, file: IO[str], truth: Truth) -> None:
        """Write into the fault's file what it takes to end it."""
        file.seek(0)
        file.truncate()
        json.dump({"guardian": os.getpid(), "fault": self.dump(), "truth": truth.row()}, file)
        file.flush()

    def end(self, file: IO[str], truth: Truth) -> None:
        """Take the fault away, and write the line of ground truth.

        Raises:
            JobError: something of it is left.
        """
        self.machine.remove(self.order, truth.details)
        truth.ended = time.time()
        with (self.folder / TRUTHS).open("a") as truths_:
            truths_.write(f"{json.dumps(truth.row())}\n")
        Path(file.name).unlink()


def truths(folder: Path) -> list[Truth]:
    """What was true of the faults of a lab, in the order they ended; last those that go on."""
    path = folder / TRUTHS
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    rows += [told["truth"] for path in sorted(folder.glob("*.json")) if (told := _told(path))]
    return [Truth.parse(row) for row in rows]


def clear(folder: Path) -> list[Truth]:
    """Take away all faults of a lab, by their guardians where those live; what was true of them.

    Raises:
        JobError: something of one is left.
    """
    before = sum(truth.ended is not None for truth in truths(folder))
    for path in folder.glob("*.json"):
        _clear(path)
    return truths(folder)[before:]


def _clear(path: Path) -> None:
    deadline = time.monotonic() + CLEAR_S
    with path.open("r+") as file:
        while not _lock(file):
            if time.monotonic() > deadline:
                raise ClusterError(f"The fault of {path} did not end in {CLEAR_S:g} s.")
            if told := _told(path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(told["guardian"], signal.SIGTERM)
            time.sleep(0.1)
        _end_left(file)


def _end_left(file: IO[str]) -> bool:
    """By a fault's locked file, end what is left of it; False where the file is a new one."""
    if not os.fstat(file.fileno()).st_nlink:
        return True  # its guardian has ended it just now
    if not (told := _told(Path(file.name))):
        return False
    Fault.load(told["fault"]).end(file, Truth.parse(told["truth"]))
    return True


def _told(path: Path) -> Mapping[str, Any]:
    """What a fault's file says; nothing yet, or no longer, where it is gone."""
    try:
        told: Mapping[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return told


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
