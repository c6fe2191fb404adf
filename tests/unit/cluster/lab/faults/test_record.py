"""The files of faults that stand on nothing: real machines are in the scenarios."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.lab.faults import record
from cluster.lab.faults.kinds import Order, Truth
from job.errors import UsageError


@dataclass(kw_only=True)
class Paper:
    """A machine whose faults are lines in a file."""

    file: str

    def apply(self, order: Order) -> dict[str, Any]:
        with Path(self.file).open("a") as file:
            file.write(f"apply {order.kind}\n")
        return {"made": 1}

    def remove(self, order: Order, details: dict[str, Any]) -> None:
        with Path(self.file).open("a") as file:
            file.write(f"remove {order.kind} {details}\n")


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> record.Fault:
    monkeypatch.setattr(record, "PROVIDERS", {"paper": Paper})
    machine: Any = Paper(file=str(tmp_path / "log"))
    order = Order(kind="cpu-quota", host="node2", factor=2)
    return record.Fault(folder=tmp_path / "faults", machine=machine, order=order)


def truth(fault: record.Fault) -> Truth:
    return Truth(kind=fault.order.kind, host="node2", factor=2, details={"cpus": 1}, began=1.0)


def test_it_is_loaded_as_it_was_dumped(fault: record.Fault) -> None:
    assert record.Fault.load(json.loads(json.dumps(fault.dump()))) == fault


def test_a_second_of_its_kind_is_refused_while_the_first_lasts(fault: record.Fault) -> None:
    with fault.file() as file:
        fault.note(file, truth(fault))
        with pytest.raises(UsageError, match="node2 has the fault cpu-quota already"):
            fault.file().__enter__()
        (lasting,) = record.truths(fault.folder)
        assert lasting == truth(fault)
        fault.end(file, truth(fault))
    with fault.file():
        pass


def test_what_was_true_is_written_once_it_is_over(fault: record.Fault) -> None:
    with fault.file() as file:
        fault.note(file, truth(fault))
        fault.end(file, truth(fault))
    (over,) = record.truths(fault.folder)
    assert over.ended is not None
    assert over.ended > 1.0
    assert not list(fault.folder.glob("*.json"))


@pytest.mark.parametrize("by", ["clear", "the next"])
def test_what_a_killed_guardian_left_is_taken_away(fault: record.Fault, by: str) -> None:
    with fault.file() as file:
        fault.note(file, truth(fault))
    if by == "clear":
        (cleared,) = record.clear(fault.folder)
        assert (cleared.details, cleared.ended is None) == ({"cpus": 1}, False)
    else:
        with fault.file():
            pass
    log = Path(getattr(fault.machine, "file", "")).read_text()
    assert log == "remove cpu-quota {'cpus': 1}\n"
    assert len([each for each in record.truths(fault.folder) if each.ended]) == 1
    assert record.clear(fault.folder) == []


def test_clear_asks_a_guardian_that_lives(fault: record.Fault) -> None:
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        with fault.file() as file:
            fault.note(file, truth(fault))
            clear = "import sys; from pathlib import Path; from cluster.lab.faults import record; "
            clear += "print(len(record.clear(Path(sys.argv[1]))))"
            clearing = subprocess.Popen(
                [sys.executable, "-c", clear, str(fault.folder)], stdout=subprocess.PIPE, text=True
            )
            assert asked.wait(30)
            fault.end(file, truth(fault))
        assert clearing.communicate(timeout=30)[0] == "1\n"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [path.name for path in fault.folder.iterdir()] == [record.TRUTHS]


def test_nothing_to_clear(tmp_path: Path) -> None:
    assert record.clear(tmp_path / "missing") == []
