"""Cheap counters of this process, for the cost of each image."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from job import cgroup


class Delta(NamedTuple):
    """What was used since the previous call, in ms; None where the kernel does not count it.

    cpu_ms        CPU time of all threads
    run_delay_ms  time threads stood ready without a CPU, summed over threads (schedstat)
    throttled_ms  time a CPU quota held the cgroup back, summed over CPUs
    """

    cpu_ms: float
    run_delay_ms: float | None
    throttled_ms: float | None


class Counters:
    """Differences between calls. One per process, made after any fork, used by one thread.

    Run delay is kept per thread: a thread new since the last call counts from its start, one that
    ended is forgotten with what it waited after the last call. So the sum may be a little low,
    and is never negative. The files stay open, for opening them is most of the cost.
    """

    def __init__(self, root: Path = cgroup.ROOT) -> None:
        self._tasks = str(root / "proc/self/task")
        self._threads: dict[str, tuple[int, int]] = {}  # thread id -> open schedstat, ns seen
        self._cpu_levels = cgroup.levels("cpu", root)
        self._cpu_ns = 0
        self._throttled_ms = 0.0
        self.delta()

    def delta(self) -> Delta:
        """What was used since the previous call, or since this object was made."""
        cpu_ns = time.process_time_ns()
        cpu_ms = (cpu_ns - self._cpu_ns) / 1e6
        self._cpu_ns = cpu_ns
        return Delta(cpu_ms, self._run_delay_ms(), self._throttled())

    def close(self) -> None:
        """Close the files; the object must not be used after that."""
        for thread in tuple(self._threads):
            self._forget(thread)

    def _run_delay_ms(self) -> float | None:
        try:
            alive = os.listdir(self._tasks)  # noqa: PTH208  (called for every image)
        except OSError:
            return None
        waited = read = 0
        for thread in alive:
            try:
                if thread in self._threads:
                    file, before = self._threads[thread]
                else:
                    file, before = os.open(f"{self._tasks}/{thread}/schedstat", os.O_RDONLY), 0
                    self._threads[thread] = file, before
                now = int(os.pread(file, 64, 0).split()[1])
            except (OSError, IndexError):  # ended meanwhile, or a kernel without schedstat
                self._forget(thread)
                continue
            self._threads[thread] = file, now
            waited += now - before
            read += 1
        for thread in self._threads.keys() - set(alive):
            self._forget(thread)
        return waited / 1e6 if read else None

    def _throttled(self) -> float | None:
        counted = cgroup.throttling(self._cpu_levels)
        if counted is None:
            return None
        since = counted.throttled_ms - self._throttled_ms
        self._throttled_ms = counted.throttled_ms
        return since

    def _forget(self, thread: str) -> None:
        if thread in self._threads:
            os.close(self._threads.pop(thread)[0])
