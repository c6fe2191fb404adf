"""The process that a fault lasts with: it makes it, holds it, and takes it away.

It has a session of its own, so that neither Ctrl-C nor the death of who ordered the fault ends it:
it sees that its input is closed, or that the time is over. The first line of its input is a JSON
object of record.Fault; it prints {"truth"} when the fault is there and when it is gone, or
{"error", "usage"}.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cluster.lab.faults.kinds import KINDS, Truth
from cluster.lab.faults.record import Fault
from job.errors import JobError, UsageError


def hold(fault: Fault, stop: int) -> None:
    """Make the fault, and take it away after its time, when the input ends, or by STOP."""
    order = fault.order

    def truth(**details: Any) -> Truth:
        return Truth(
            kind=order.kind,
            host=order.host,
            factor=order.factor,
            details={**order.options, **details},
            began=time.time(),
        )

    with fault.file() as file:
        fault.note(file, truth())
        try:
            made = truth(**fault.machine.apply(order))
        except Exception:
            Path(file.name).unlink()
            raise
        fault.note(file, made)
        say(truth=made.row())
        if not KINDS[order.kind].at_once:
            ends = [stop] if order.background else [stop, sys.stdin]
            select.select(ends, [], [], order.seconds)
        fault.end(file, made)
    say(truth=made.row())


def say(**values: Any) -> None:
    """One line to who ordered the fault, if they are still there."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{json.dumps(values)}\n".encode())


def main() -> None:
    """Run until the fault is gone."""
    for ignored in (signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    stop, wake = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(wake, b"."))
    fault = Fault.load(json.loads(sys.stdin.buffer.readline()))
    try:
        hold(fault, stop)
    except JobError as error:
        say(error=str(error), usage=isinstance(error, UsageError))


if __name__ == "__main__":
    main()
