"""Orders faults, for a command or for a program that measures.

``with fault(inventory, "cpu-quota", "node2", factor=3) as truth: ...`` lasts as long as its block;
afterwards ``truth.began`` and ``truth.ended`` say when it was there.
"""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.lab import access, nspawn, vagrant
from cluster.lab.faults import record
from cluster.lab.faults.kinds import DEFAULT_S, Order, Truth
from cluster.lab.faults.nspawn import NspawnMachine
from cluster.lab.faults.virtual import VirtualMachine
from cluster.lab.machines import Machine, machines_of
from job.errors import UsageError


@contextmanager
def fault(
    inventory: Inventory,
    kind: str,
    host: str,
    *,
    factor: float | None = None,
    seconds: float = DEFAULT_S,
    **options: float,
) -> Iterator[Truth]:
    """Have a host of a lab that is up suffer a fault, for as long as this goes or SECONDS at most.

    The options are those of the kind (``kinds.KINDS``). At the end ``truth.ended`` is set.

    Raises:
        UsageError: there is no such kind or host, or a number is out of bounds.
        ClusterError: the lab is not up, or cannot make the fault; nothing was changed.
    """
    order = Order(kind=kind, host=host, factor=factor, seconds=seconds, options=options)
    ordered = Ordered(inventory, order)
    try:
        yield ordered.truth
    finally:
        ordered.end()


class Ordered:
    """A fault that was ordered, and is there.

    Raises as ``fault`` does.
    """

    def __init__(self, inventory: Inventory, order: Order) -> None:
        told = _fault(inventory, order).dump()
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "cluster.lab.faults.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Who waits for the end of what this process says need not wait for a guardian.
            stderr=subprocess.DEVNULL if order.background else None,
            text=True,
            start_new_session=True,
        )
        try:
            self._input.write(f"{json.dumps(told)}\n")
            self._input.flush()
            self.truth = Truth.parse(self._hear())
        except BaseException:
            self._guardian.communicate()  # closes its input, by which it ends
            raise

    def end(self) -> None:
        """Take it away, if it is still there; ``truth.ended`` is set then.

        Raises:
            ClusterError: something of it is left.
        """
        with self._guardian:
            self._input.close()
            self.truth.ended = self._hear()["to"]

    def wait(self, seconds: float) -> bool:
        """Whether the fault is over, waited for so long."""
        ready, _, _ = select.select([self._output], [], [], seconds)
        return bool(ready)

    @property
    def _input(self) -> IO[str]:
        assert self._guardian.stdin
        return self._guardian.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._guardian.stdout
        return self._guardian.stdout

    def _hear(self) -> dict[str, Any]:
        said = json.loads(self._output.readline() or "{}")
        if "truth" in said:
            row: dict[str, Any] = said["truth"]
            return row
        sentence = said.get("error", "The guardian of the fault ended: `cluster lab fault clear`.")
        raise UsageError(sentence) if said.get("usage") else ClusterError(sentence)


def folder(inventory: Path) -> Path:
    """Where the lab of an inventory keeps its faults."""
    if vagrant.is_up(inventory):
        return inventory.resolve() / vagrant.FAULTS
    return nspawn.Lab.of(inventory).faults


def _fault(inventory: Inventory, order: Order) -> record.Fault:
    host = inventory[order.host]
    machine: NspawnMachine | VirtualMachine
    if vagrant.is_up(inventory.path):
        machine = VirtualMachine(
            inventory=str(inventory.path.resolve()),
            name=host.name,
            bandwidth_mbit=Machine.of(host).bandwidth_mbit,
        )
    else:
        lab = nspawn.Lab.of(inventory.path)
        state = lab.state(host.name)
        if state == "missing":
            raise access.not_up(inventory.path)
        if state == "stopped":
            raise ClusterError(
                f"{host.name} is stopped: `cluster -i {inventory.path} lab up` starts it."
            )
        every = machines_of(inventory)
        number = next(at for at, each in enumerate(every) if each.name == host.name)
        machine = NspawnMachine(
            lab=lab.name,
            folder=str(lab.folder),
            name=host.name,
            number=number,
            cpus=every[number].cpus,
            memory_mb=every[number].memory_mb,
            bandwidth_mbit=every[number].bandwidth_mbit,
        )
    return record.Fault(folder=folder(inventory.path), machine=machine, order=order)
