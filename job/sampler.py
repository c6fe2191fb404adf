"""One sample a second of what this host is doing, beside the job."""

import fcntl
import functools
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from job import cgroup
from job.host import hostname

Row = dict[str, str | float | None]

FIELDS = {
    "host": (str, "name of the host"),
    "at": (float, "end of the second described, in s since the epoch"),
    "source": (str, "cgroup: a container or limited cgroup; machine: all of the machine"),
    "cpu_busy": (float, "CPUs busy, 0 to the number of CPUs; waiting for I/O is not busy"),
    "cpu_steal": (float, "CPUs the hypervisor gave to others; machine only"),
    "throttled": (float, "share of the second a running CPU was held back by its quota"),
    "psi_cpu": (float, "share of the second in which some task waited for a CPU"),
    "psi_io": (float, "share of the second in which some task waited for I/O"),
    "psi_memory": (float, "share of the second in which some task waited for memory"),
    "rss_mb": (float, "anonymous memory resident, MiB"),
    "major_faults": (float, "page faults that needed I/O, per s"),
    "swap_in": (float, "read from swap, 10^6 bytes per s"),
    "swap_out": (float, "written to swap, 10^6 bytes per s"),
    "disk_read_mbs": (float, "read from disks, 10^6 bytes per s"),
    "disk_write_mbs": (float, "written to disks, 10^6 bytes per s"),
    "disk_await_ms": (float, "mean time of a disk request, ms; null in a second without"),
    "net_rx_mbs": (float, "received, 10^6 bytes per s, without the loopback"),
    "net_tx_mbs": (float, "sent, 10^6 bytes per s, without the loopback"),
    "mhz": (float, "mean clock of the CPUs, from cpufreq; machine only"),
}
"""A host sample. Null is "cannot be known": a container's /proc shows the physical machine."""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_CLOCKED_CPUS = 8  # reading a clock costs some 10 us; more CPUs would not change the mean much


class Sampler:
    """Takes samples from a thread of its own, on a fixed grid of the monotonic clock.

    A sample missed (the host stood still) is left out, not made up; rates are over the time that
    really passed. A context manager: started on entry, stopped on exit.
    """

    def __init__(self, host: str, *, interval_s: float = 1.0, root: Path = cgroup.ROOT) -> None:
        self.lock: IO[str] | None = None
        self._host = host
        self._interval_s = interval_s
        self._probe = Probe(root)
        self._rows: list[Row] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="host-sampler", daemon=True)

    def start(self) -> None:
        """Start sampling; the first sample is there one interval later."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. What was sampled can still be drained."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def drain(self) -> list[Row]:
        """The samples since the last drain, in order."""
        with self._lock:
            rows, self._rows = self._rows, []
        return rows

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        started = time.monotonic()
        self._probe.sample(started)  # rates need a reading to start from
        beat = 0
        while True:
            passed = time.monotonic() - started
            beat = max(beat, int(passed // self._interval_s)) + 1
            if self._stopping.wait(beat * self._interval_s - passed):
                return
            row = {"host": self._host, "at": time.time(), **self._probe.sample(time.monotonic())}
            with self._lock:
                self._rows.append(row)


@functools.cache
def of_this_host() -> Sampler | None:
    """The sampler that goes on beside a host's tasks; None where another process has it."""
    # Open as long as the process: its end lets another one sample.
    lock = (Path(tempfile.gettempdir()) / f"cluster-sampler-{os.getuid()}").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    sampler = Sampler(hostname())
    sampler.lock = lock
    sampler.start()
    return sampler


class Probe:
    """Reads the kernel's counters and gives the rates since the last reading."""

    def __init__(self, root: Path = cgroup.ROOT) -> None:
        self._proc = root / "proc"
        self.source = "cgroup" if _limited(root) or cgroup.contained(root) else "machine"
        self._cpu_levels = cgroup.levels("cpu", root)
        self._scopes = {
            name: cgroup.scope(name, root)
            for name in ("cpuacct", "memory", "blkio", cgroup.UNIFIED)
        }
        self._disks = _with_device(root / "sys/block")
        self._cards = _with_device(root / "sys/class/net")
        clocks = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._clocks = clocks[:: -(-len(clocks) // _CLOCKED_CPUS) or 1]
        self._at = 0.0
        self._before: Mapping[str, float] = {}

    def sample(self, at: float) -> Row:
        """The fields of a host sample from ``source`` on; rates are null the first time.

        ``at`` is the time of the reading, in s on a monotonic clock.
        """
        now = self._network() | self._throttling()
        now |= self._cgroup() if self.source == "cgroup" else self._machine()
        seconds = at - self._at
        rate = {
            name: since / seconds
            for name, total in now.items()
            if name in self._before and (since := total - self._before[name]) >= 0
        }
        self._at, self._before = at, now

        row: Row = {name: rate.get(name) for name in FIELDS if name not in ("host", "at")}
        row |= {"source": self.source, "rss_mb": now.get("rss_mb"), "mhz": self._mhz()}
        for name in ("psi_cpu", "psi_io", "psi_memory"):
            row[name] = min(1.0, rate[name]) if name in rate else None
        if "held_back" in rate:
            # The kernel sums over CPUs. With less than one CPU asked for, this is the share of
            # the second; above, the mean share over the CPUs that were asked for.
            asked = rate["held_back"] + rate.get("cpu_busy", 0.0)
            row["throttled"] = min(1.0, rate["held_back"] / max(1.0, asked))
        if rate.get("disk_requests"):
            row["disk_await_ms"] = rate["disk_request_ms"] / rate["disk_requests"]
        return row

    def _throttling(self) -> dict[str, float]:
        counted = cgroup.throttling(self._cpu_levels)
        return {} if counted is None else {"held_back": counted.throttled_ms / 1e3}

    def _network(self) -> dict[str, float]:
        lines = (cgroup.read(self._proc / "net/dev") or "").splitlines()[2:]
        cards = {name.strip(): text.split() for name, _, text in (x.partition(":") for x in lines)}
        cards.pop("lo", None)
        # A bridge or tunnel repeats what its card carries; a container has no card of its own.
        used = self._cards & cards.keys() or cards.keys()
        if not used:
            return {}
        return {
            "net_rx_mbs": sum(int(cards[card][0]) for card in used) / 1e6,
            "net_tx_mbs": sum(int(cards[card][8]) for card in used) / 1e6,
        }

    def _machine(self) -> dict[str, float]:
        now = _pressure({name: self._proc / "pressure" / name for name in ("cpu", "io", "memory")})
        cpu = (cgroup.read(self._proc / "stat") or "").partition("\n")[0].split()
        if len(cpu) > 8:
            user, nice, system, _, _, irq, softirq, steal = map(int, cpu[1:9])
            now["cpu_busy"] = (user + nice + system + irq + softirq) / _TICKS
            now["cpu_steal"] = steal / _TICKS
        memory = _memory_kb(self._proc)
        if "AnonPages" in memory:
            now["rss_mb"] = memory["AnonPages"] / 1024
        now |= _paging(cgroup.flat(self._proc / "vmstat"))
        disks = [
            [int(number) for number in words[3:]]
            for line in (cgroup.read(self._proc / "diskstats") or "").splitlines()
            if (words := line.split())[2] in self._disks
        ]
        if disks:  # fields: kernel Documentation/admin-guide/iostats.rst; a sector is 512 bytes
            reads, _, read, read_ms, writes, _, written, write_ms = map(
                sum, list(zip(*disks, strict=False))[:8]
            )
            now |= {
                "disk_read_mbs": read * 512 / 1e6,
                "disk_write_mbs": written * 512 / 1e6,
                "disk_requests": reads + writes,
                "disk_request_ms": read_ms + write_ms,
            }
        return now

    def _cgroup(self) -> dict[str, float]:
        now: dict[str, float] = {}
        if (unified := self._scopes[cgroup.UNIFIED]) is not None:
            now |= _pressure(
                {name: unified / f"{name}.pressure" for name in ("cpu", "io", "memory")}
            )
        if (cpu := self._scopes["cpuacct"]) is not None:
            if used_ns := cgroup.read(cpu / "cpuacct.usage"):
                now["cpu_busy"] = int(used_ns) / 1e9
            elif "usage_usec" in (stat := cgroup.flat(cpu / "cpu.stat")):
                now["cpu_busy"] = stat["usage_usec"] / 1e6
        if (memory := self._scopes["memory"]) is not None:
            stat = cgroup.flat(memory / "memory.stat")
            # v1 counts the groups below in "total_" keys, v2 in the plain ones.
            totals = {key[6:]: stat[key] for key in stat if key.startswith("total_")}
            if (rss := totals.get("rss", stat.get("anon"))) is not None:
                now["rss_mb"] = rss / cgroup.MIB
            now |= _paging(totals or stat)
        if (disk := self._scopes["blkio"]) is not None:
            now |= _cgroup_disk(disk)
        return now

    def _mhz(self) -> float | None:
        if self.source == "cgroup":
            return None
        clocks = [int(khz) / 1e3 for path in self._clocks if (khz := cgroup.read(path))]
        return sum(clocks) / len(clocks) if clocks else None


def _limited(root: Path) -> bool:
    """Whether a cgroup allows this process less than the machine has."""
    cpus, memory_mb = cgroup.cpu_limit(root), cgroup.memory_limit_mb(root)
    return (cpus is not None and cpus < (os.cpu_count() or 1)) or (
        memory_mb is not None and memory_mb < _memory_kb(root / "proc")["MemTotal"] / 1024
    )


def _memory_kb(proc: Path) -> dict[str, int]:
    lines = (line.split() for line in (cgroup.read(proc / "meminfo") or "").splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


def _paging(stat: Mapping[str, int]) -> dict[str, float]:
    """From vmstat or memory.stat; a cgroup counts swapped pages from Linux 6.13 on (v2)."""
    units = {"major_faults": ("pgmajfault", 1.0)}
    units |= {"swap_in": ("pswpin", _PAGE_MB), "swap_out": ("pswpout", _PAGE_MB)}
    return {name: stat[key] * unit for name, (key, unit) in units.items() if key in stat}


def _pressure(files: Mapping[str, Path]) -> dict[str, float]:
    """Seconds in which some task was stalled: "some avg10=.. avg60=.. avg300=.. total=MICROS"."""
    texts = {name: cgroup.read(path) for name, path in files.items()}
    return {
        f"psi_{name}": int(text.split("\n")[0].rpartition("=")[2]) / 1e6
        for name, text in texts.items()
        if text
    }


def _cgroup_disk(level: Path) -> dict[str, float]:
    """Bytes over all disks: v2 "8:0 rbytes=1 wbytes=2 ..", v1 "8:0 Read 1"."""
    words: list[tuple[str, str]] = []
    for line in (cgroup.read(level / "io.stat") or "").splitlines():
        words += [(key, value) for key, _, value in (x.partition("=") for x in line.split()[1:])]
    v1 = cgroup.read(level / "blkio.throttle.io_service_bytes_recursive") or ""
    words += [(x[1], x[2]) for x in map(str.split, v1.splitlines()) if len(x) == 3]
    # v1 may count only where a limit was ever set: no disk listed is not "no bytes" there.
    if not words and not (level / "io.stat").exists():
        return {}
    return {
        "disk_read_mbs": sum(int(n) for key, n in words if key in ("rbytes", "Read")) / 1e6,
        "disk_write_mbs": sum(int(n) for key, n in words if key in ("wbytes", "Write")) / 1e6,
    }


def _with_device(folder: Path) -> set[str]:
    """The devices of a class in sysfs that are hardware, not made of others."""
    return {path.parent.name for path in folder.glob("*/device")}
