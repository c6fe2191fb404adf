"""Runs remote/host.py, or a program that speaks like it, on hosts, and gives what it tells."""

import json
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.inventory import Host
from cluster.ssh import Fleet

REMOTE = Path(__file__).with_name("remote")
# Program and arguments come by its input, for sudo logs command lines and everyone sees them.
START = "import sys; exec(compile(sys.stdin.buffer.read({size}), 'host.py', 'exec'))"

# Seconds after which the host itself ends an operation, should the connection be gone unnoticed.
LIMIT_S = 7200

# How a host gets on: its name, the step, and how much of it is done, both 0 where nobody knows.
Tell = Callable[[str, str, int, int], None]


def operate(
    fleet: Fleet,
    host: Host,
    operation: str,
    arguments: Any,
    *,
    chunks: Iterable[bytes] = (),
    tell: Tell,
    hear: Callable[[dict[str, Any]], None] = lambda _: None,
    program: Path = REMOTE / "host.py",
) -> Any:
    """The result of an operation of PROGRAM on a host; ``hear`` gets its other lines.

    Raises:
        ClusterError: it failed; the sentence names the host.
    """
    source = program.read_bytes()
    words = ["timeout", "-k", "5", str(LIMIT_S), "/usr/bin/python3", "-c"]
    words += [START.format(size=len(source)), operation]
    last: dict[str, Any] = {}

    def told(line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = {"error": line}
        if "step" in said:
            tell(host.name, said["step"], said.get("done", 0), said.get("total", 0))
        elif "result" in said or "error" in said:
            last.update(said)
        else:
            hear(said)

    def given() -> Iterable[bytes]:
        yield source + json.dumps(arguments).encode() + b"\n"
        yield from chunks

    done = fleet.feed(host, shlex.join(words), given(), told)
    if "error" in last:
        raise ClusterError(_sentence(host, last["error"]))
    if "result" not in last:
        said = (done.stderr.strip() or f"it ended with {done.code}").splitlines()[-1]
        raise ClusterError(_sentence(host, said))
    return last["result"]


def _sentence(host: Host, said: str) -> str:
    # HDFS's own sentences are whole.
    return said if said.endswith(".") else f"{host.name}: {said}."
