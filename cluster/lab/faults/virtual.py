"""Makes virtual machines slow from inside, over SSH: remote/machine.py does it there."""

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.env.hosts import operate
from cluster.inventory import Inventory
from cluster.lab.faults.kinds import KINDS, Order
from cluster.ssh import Fleet
from job.errors import JobError

PROGRAM = Path(__file__).with_name("remote") / "machine.py"


@dataclass(kw_only=True)
class VirtualMachine:
    """A machine that is to be slow: ``name`` in the inventory with a path."""

    inventory: str
    name: str
    bandwidth_mbit: float | None

    def __post_init__(self) -> None:
        self._held: _Held | None = None

    def apply(self, order: Order) -> Mapping[str, Any]:
        """Make a fault, which the machine ends itself after its time or without a connection.

        Raises:
            JobError: the machine cannot be reached, or says why it cannot; nothing is left.
        """
        held = _Held(self, order, None)
        details = held.next()
        self._held = held
        return details

    def remove(self, order: Order, details: Mapping[str, Any]) -> None:
        """Take a fault away, or what is left of one that could not end itself.

        Raises:
            JobError: something of it is left, or the machine cannot be reached.
        """
        held = self._held or _Held(self, order, details)
        held.over.set()
        held.next()


class _Held:
    """A fault on a virtual machine, and the connection that it lasts with."""

    def __init__(
        self, machine: VirtualMachine, order: Order, left: Mapping[str, Any] | None
    ) -> None:
        """LEFT: only take away a fault, whose details these are."""
        self.over = threading.Event()
        self._machine = machine
        self._kind = order.kind
        self._question = {
            "seconds": 0 if KINDS[order.kind].at_once else order.seconds,
            "factor": order.factor,
            "options": dict(order.options),
            "mbit": machine.bandwidth_mbit,
            "details": left,
        }
        self._outcomes: queue.Queue[Mapping[str, Any] | JobError] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def next(self) -> Mapping[str, Any]:
        """Wait for what it says next: that it is there, then that it is not."""
        outcome = self._outcomes.get()
        if isinstance(outcome, JobError):
            raise outcome
        return outcome

    def _run(self) -> None:
        try:
            inventory = Inventory.load(Path(self._machine.inventory))
            host = inventory[self._machine.name]
            with Fleet(inventory) as fleet:
                ended = operate(
                    fleet,
                    host,
                    self._kind,
                    {**self._question, "address": host.address},
                    chunks=self._until_over(),
                    tell=lambda *_: None,
                    hear=lambda said: self._outcomes.put(said["made"]),
                    program=PROGRAM,
                )
            self._outcomes.put(ended)
        except JobError as error:
            self._outcomes.put(error)

    def _until_over(self) -> Iterator[bytes]:
        """Nothing; the input ends when the fault is to."""
        self.over.wait()
        yield from ()
