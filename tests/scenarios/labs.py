"""A lab of nspawn machines, operated as a user does: by the command ``cluster`` and by ssh."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("cluster"))
# A deployment from nothing, on a computer that has other things to do.
TIMEOUT_S = 480.0
# A Spark worker that finds no master asks again once a minute.
READY_S = 300.0
FETCH = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"


@dataclass(frozen=True, kw_only=True)
class OperatedLab:
    """``environment`` is that of every command, ``edge`` the host that jobs are started from."""

    inventory: Path
    environment: Mapping[str, str]
    edge: str

    def cluster(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """``cluster -i INVENTORY ...``, however it ends."""
        command = [COMMAND, "-i", str(self.inventory), *arguments]
        return self._run(command, TIMEOUT_S)

    def run(self, host: str, command: str, *, timeout: float = TIMEOUT_S) -> str:
        """What a shell command on a host prints; it must succeed. sudo asks for no password."""
        config = self.inventory / ".lab" / "ssh_config"
        done = self._run(["ssh", "-F", str(config), host, command], timeout)
        assert done.returncode == 0, f"{host}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def deploy(self, *arguments: str) -> Any:
        """What ``cluster deploy --format json`` tells: hosts, changed, failed, roles, seconds."""
        done = self.cluster("deploy", "--format", "json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def status(self) -> Any:
        """What ``cluster status --format json`` tells; something may be down."""
        done = self.cluster("status", "--format", "json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def until_ready(self) -> None:
        """Wait until every service is ready by its own word."""

        def waits_for() -> str:
            told = self.status()
            if told["ready"]:
                return ""
            services = [(h["host"], s) for h in told["hosts"] for s in h["services"]]
            late = [f"{host}'s {s['service']} is {s['state']}" for host, s in services]
            return ", ".join([h["error"] for h in told["hosts"] if h["error"]] + late)

        until(waits_for)

    def fetch(self, url: str) -> Any:
        """The JSON at an address of the cluster's network, asked from the edge host."""
        return json.loads(self.run(self.edge, f"python3 -c '{FETCH}' '{url}'"))

    def processes(self, host: str, units: Sequence[str]) -> dict[str, int]:
        """The main process of each unit; 0 where it does not run."""
        listed = self.run(host, f"systemctl show --property=MainPID --value {' '.join(units)}")
        return dict(zip(units, map(int, listed.split()), strict=True))

    def kill(self, host: str, units: Sequence[str]) -> None:
        """``kill -9`` the main process of each."""
        self.run(host, f"sudo systemctl kill --signal=KILL --kill-whom=main {' '.join(units)}")

    def reboot(self, host: str) -> None:
        """Reboot a machine from inside, and wait until systemd in it has started what it should."""
        started = "stat --format=%Y /proc/1"
        before = self.run(host, started)
        self.cluster("lab", "ssh", host, "sudo", "systemctl", "reboot")

        def waits_for() -> str:
            command = f"{started} && systemctl is-system-running"
            done = self.cluster("lab", "ssh", host, command)
            rebooted = done.returncode == 0 and not done.stdout.startswith(before)
            return "" if rebooted else f"the reboot of {host}: {done.stdout}{done.stderr}"

        until(waits_for)

    def _run(self, command: Sequence[str], timeout: float) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
        )


def until(waits_for: Callable[[], str]) -> None:
    """Ask again and again what is waited for, until it is nothing."""
    deadline = time.monotonic() + READY_S
    while reason := waits_for():
        assert time.monotonic() < deadline, f"after {READY_S:.0f} s it still waits for {reason}"
        time.sleep(1)
