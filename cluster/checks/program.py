"""Runs the programs in remote/ on hosts."""

import inspect
import json
import shlex
from pathlib import Path
from typing import Any

import job.cgroup
from cluster.errors import ClusterError
from cluster.inventory import Host
from cluster.ssh import Fleet, SshError

REMOTE = Path(__file__).with_name("remote")
READS_CGROUPS = ("facts", "cpu", "host")
# How much longer the connection is given than the program.
GRACE_S = 10.0
# `timeout` ended it.
TOO_LONG = 124

# As root where sudo asks for no password. The program comes by a pipe, for sudo logs command lines.
COMMAND = (
    "sudo -n -- true 2>/dev/null && become='sudo -n --';"
    " printf %s {source} | $become timeout -k 2 {seconds:g} /usr/bin/python3 - {arguments}"
)


def call(
    fleet: Fleet, host: Host, program: str, *arguments: object, seconds: float
) -> dict[str, Any]:
    """Run remote/PROGRAM.py with arguments, and give the object it prints.

    It ends after so many seconds, also where the connection is cut: the host itself sees to it.

    Raises:
        ClusterError: the host cannot be reached, or the program failed there.
    """
    source = source_of(program)
    command = COMMAND.format(
        source=shlex.quote(source),
        seconds=seconds,
        arguments=shlex.join(str(argument) for argument in arguments),
    )
    try:
        done = fleet.run(host, command, timeout=seconds + GRACE_S)
    except SshError as error:
        # The sentence has the command in it, which is a whole program.
        raise SshError(str(error).replace(command, f"the probe {program}")) from error
    except ClusterError as error:
        raise ClusterError(str(error).replace(command, f"the probe {program}")) from error
    if not done.ok:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        why = f"not done in {seconds:g} s" if done.code == TOO_LONG else said
        raise ClusterError(f"The probe {program} failed on {host.name}: {why}.")
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise ClusterError(
            f"The probe {program} on {host.name} answered with {done.stdout[:80]!r}: does its"
            " shell print something when it starts?"
        ) from error
    return answer


def source_of(program: str) -> str:
    """The text of remote/PROGRAM.py with what it comes after."""
    own = (REMOTE / f"{program}.py").read_text(encoding="utf-8")
    return f"{inspect.getsource(job.cgroup)}\n\n{own}" if program in READS_CGROUPS else own
