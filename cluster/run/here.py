"""A run's driver on this machine, which is inside the cluster's network: ``--submit-from here``.

As on the edge host (cluster/run/edge.py), a process of its own session, which goes on without us.
It holds a lock as long as it lives, for its number may be another process's one day.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pyspark

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.places import state
from cluster.run.edge import HADOOP_CONF, EdgeRun, Status, unpack
from cluster.ssh import CHUNK
from job.errors import UsageError
from job.spec import ClusterSpec

OPTION = "--submit-from here"
# Which address of ours the cluster sees; nothing is sent there.
ANY_PORT = 9


@dataclass(frozen=True, kw_only=True)
class HereRun(EdgeRun):
    """One run whose driver is on this machine. ``edge`` still tells how the cluster is set up."""

    @property
    def is_here(self) -> bool:
        """Files of this machine need not be sent."""
        return True

    @property
    def root(self) -> str:
        """Where runs are."""
        return str(state() / "runs")

    @property
    def place(self) -> str:
        """Where the driver is, in a sentence."""
        return "this machine"

    @property
    def end_it(self) -> str:
        """The command that ends the driver at once."""
        return f"kill -9 {self._pid()}"

    @property
    def again(self) -> str:
        """The command that follows the run."""
        return f"{super().again} {OPTION}"

    def http(self, port: int) -> httpx.Client:
        """A client for the driver's pages."""
        return httpx.Client(base_url=f"http://{self._address()}:{port}", trust_env=False)

    def adapt(self, cluster: ClusterSpec, inventory: Inventory) -> ClusterSpec:
        """The cluster for a driver on this machine.

        Raises:
            UsageError: this machine is not inside the network, or has another Spark.
        """
        named = [*inventory.group("yarn_resourcemanager"), *inventory.group("hdfs_namenode")]
        named += inventory.group("spark_master")
        for host in named:
            with contextlib.suppress(OSError):
                if socket.gethostbyname(host.name) == host.address:
                    continue
            raise UsageError(
                f"{OPTION}: this machine does not know {host.name} as {host.address}: write the"
                " cluster's hosts into its /etc/hosts, or leave the option out."
            )
        jars = self.fleet.run(self.edge, "cd /opt/spark/jars && echo spark-core_*.jar").check()
        if not jars.stdout.strip().endswith(f"-{pyspark.__version__}.jar"):
            raise UsageError(
                f"{OPTION}: this machine has Spark {pyspark.__version__}, the cluster"
                f" {jars.stdout.strip()}: `cluster deploy` makes them alike."
            )
        return replace(cluster, address=self._address())

    def start(self, request: Mapping[str, Any], python: str, code: str) -> None:
        """Start the driver, by the Python that runs this: PYTHON is the edge host's."""
        self._send_request(request)
        folder = Path(self.folder)
        hadoop = folder / "hadoop"
        hadoop.mkdir()
        unpack(self.fleet.receive(self.edge, f"tar -C {HADOOP_CONF} -chf - ."), hadoop)
        environment = {
            **os.environ,
            "PYTHONPATH": code,
            "PYTHONUNBUFFERED": "1",
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "HADOOP_CONF_DIR": str(hadoop),
            "HADOOP_USER_NAME": request["cluster"]["user"],
            # Else Spark looks its own name up, which a machine need not know.
            "SPARK_LOCAL_IP": request["cluster"]["address"],
        }
        with (folder / "driver.log").open("ab") as log, self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            driver = subprocess.Popen(
                [sys.executable, "-m", "job", self.folder],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        (folder / "pid").write_text(str(driver.pid), encoding="utf-8")

    def status(self) -> Status:
        """What the driver says of itself, and whether it lives."""
        active = self._is_active()
        return self._status(self._sh(self._telling), active=active)

    def interrupt(self) -> None:
        """As Ctrl-C does to a driver in a terminal."""
        if self._is_active():
            os.kill(self._pid(), signal.SIGINT)

    @property
    def _lock(self) -> Path:
        return Path(self.folder) / "lock"

    def _pid(self) -> int:
        return int((Path(self.folder) / "pid").read_text(encoding="utf-8"))

    def _is_active(self) -> bool:
        try:
            with self._lock.open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _address(self) -> str:
        """Our address on the way to the cluster."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((self.edge.address, ANY_PORT))
            return str(probe.getsockname()[0])

    def _sh(self, command: str) -> str:
        return _sh(command).decode()

    def _send(self, command: str, chunks: Iterable[bytes]) -> None:
        _sh(command, chunks)

    def _receive(self, command: str) -> Iterator[bytes]:
        with subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE) as process:
            assert process.stdout
            while chunk := process.stdout.read(CHUNK):
                yield chunk
        if process.returncode:
            raise ClusterError(f"This machine: `{command}` failed (exit {process.returncode}).")


def _sh(command: str, chunks: Iterable[bytes] = ()) -> bytes:
    """What a shell command of this machine prints that reads the chunks from its input."""
    process = subprocess.Popen(
        ["bash", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        for chunk in chunks:
            process.stdin.write(chunk)
    out, errors = process.communicate()
    if process.returncode:
        said = (errors.decode(errors="replace").strip() or "it said nothing").splitlines()[-1]
        raise ClusterError(f"This machine: `{command}` failed: {said}.")
    return out
