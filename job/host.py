"""What this host is: CPUs, memory, and how many threads fit its quota."""

import dataclasses
import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from job import cgroup


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """``cpus_visible`` are the machine's, ``cpus_quota`` what the cgroup allows, memory in MiB.

    ``bf16``: whether the CPU computes in bfloat16, which OpenVINO then picks unless told.
    """

    host: str
    cpus_visible: int
    cpus_quota: float
    memory_mb: int
    cpu_model: str
    bf16: bool

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """The facts as JSON takes them."""
        return dataclasses.asdict(self)


def hostname() -> str:
    """The short name of this host, as every table and report calls it."""
    return socket.gethostname().split(".")[0]


def executor_id(root: Path = cgroup.ROOT) -> str:
    """Spark's name of the executor that this Python worker belongs to: "driver" in local mode.

    Spark tells it to the executor's JVM alone, by an argument; the JVM is an ancestor of ours.
    """
    pid = os.getpid()
    while pid > 1:
        words = (cgroup.read(root / f"proc/{pid}/cmdline") or "").split("\0")
        if "--executor-id" in words:
            return words[words.index("--executor-id") + 1]
        stat = cgroup.read(root / f"proc/{pid}/stat") or ") Z 0"
        pid = int(stat.rpartition(")")[2].split()[1])
    return "driver"


def host_facts(root: Path = cgroup.ROOT) -> HostFacts:
    """The facts of the host this process runs on."""
    cpu = _first_of_each((cgroup.read(root / "proc/cpuinfo") or "").partition("\n\n")[0])
    memory = _first_of_each(cgroup.read(root / "proc/meminfo") or "")
    total_mb = int(memory["MemTotal"].split()[0]) / 1024  # kB
    limit_mb = cgroup.memory_limit_mb(root)
    return HostFacts(
        host=hostname(),
        cpus_visible=os.cpu_count() or 1,
        cpus_quota=cgroup.cpu_quota(root),
        memory_mb=int(total_mb if limit_mb is None else min(total_mb, limit_mb)),
        cpu_model=cpu.get("model name", "unknown"),
        bf16=not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu.get("flags", "").split()),
    )


def threads_for(quota: float, slots: int) -> int:
    """Inference threads for each of ``slots`` workers that share ``quota`` CPUs.

    To the nearest whole number, halves up, at least one: 0.25 -> 1, 1.4 -> 1, 1.5 -> 2. A thread
    too few leaves that part of a CPU to decoding and masks only; a thread too many is throttled,
    which costs latency and little throughput, since requests run side by side. So an error of
    half a CPU either way is the least; rounding down would idle a third of 1.5 CPUs.
    """
    if quota <= 0 or slots < 1:
        raise ValueError(f"quota {quota} and slots {slots} must be positive")
    return max(1, math.floor(quota / slots + 0.5))


def _first_of_each(text: str) -> dict[str, str]:
    """The "key : value" lines of a file in /proc."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
