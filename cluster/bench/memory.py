"""Peak memory of a process and all it started: PSS, which counts a shared page once."""

import ctypes
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
INTERVAL_S = 0.5  # reading the sums costs some 25 ms


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Highest sums seen, in MiB; ``without_jvm`` leaves out every ``java``."""

    total_mb: float
    without_jvm_mb: float


def run_watched(command: Sequence[str]) -> tuple[str, Peak]:
    """Run COMMAND to its end; gives its standard output and its peak memory.

    Raises CalledProcessError, with what it printed, where it fails.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509  one system call, before any thread
    ) as process:
        watch = _Watch(process.pid)
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()  # the driver takes its JVM and workers along
            raise
        finally:
            peak = watch.end()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output, errors)
    return output, peak


def _end_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, however that ends (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _Watch:
    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._total = self._without_jvm = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> Peak:
        self._ended.set()
        self._thread.join()
        return Peak(total_mb=self._total, without_jvm_mb=self._without_jvm)

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            total = without_jvm = 0.0
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in processes:
                try:
                    pss, name = _pss_mb(process.pid), process.name()
                except (OSError, psutil.NoSuchProcess):
                    continue  # it ended meanwhile
                total += pss
                without_jvm += 0.0 if name == "java" else pss
            self._total = max(self._total, total)
            self._without_jvm = max(self._without_jvm, without_jvm)


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
