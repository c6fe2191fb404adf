"""Makes the machine it runs on slow, by its Python's standard library alone, as root.

    machine.py KIND

The first line of its input is a JSON object {"seconds", "factor", "options", "details"}. It prints
one JSON object a line: {"made": details} once the fault is there, {"step"} while it lasts, and last
{"result"} or {"error"}. The fault ends with the seconds, with the input, or by SIGTERM. With
"details" it only takes away what an earlier call has left.

Written for systemd with cgroup v2, as in Debian 11 and later. Jobs and daemons are in system.slice.
Sources: systemd.resource-control(5), tc-tbf(8), tc-netem(8), the kernel's cgroup-v2.rst.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

SLICE = "system.slice"
GROUP = Path("/sys/fs/cgroup") / SLICE
NEIGHBOURS, NEIGHBOUR = "fault.slice", "cluster-fault-neighbour"
BURNER = 'for cpu in $(seq "$1"); do while :; do :; done & done; wait'
SWAP = Path("/var/tmp/cluster-fault.swap")
# The virtual device that what a link receives is sent through, and how long a packet may queue.
INCOMING = "fault-in"
LATENCY = "400ms"
# What counts as the speed of a link or disk that has no limit, where a factor divides it.
LINK_MBIT, DISK_MBS = 1000.0, 200.0
AHEAD_S = 120.0
MIN_RESIDENT_MB = 128
# Who follows takes a connection on which nothing is said for one that broke.
SAY_EVERY_S = 10.0
TIME_SERVICES = ("systemd-timesyncd", "chrony", "chronyd", "ntp", "ntpsec", "openntpd")
YARN_SITE = "etc/hadoop/conf/yarn-site.xml"
LOCAL_FOLDERS = "yarn.nodemanager.local-dirs"

Order = dict[str, Any]


class FaultError(Exception):
    """One sentence for the person at the other end."""


def run(*command: str) -> str:
    """What a program prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FaultError(f"{command[0]} was not found") from None
    if done.returncode:
        raise FaultError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def attempt(*command: str) -> bool:
    """Run a program that may fail, or be missing; whether it did neither."""
    try:
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


def forget(folder: Path) -> None:
    """Drop a folder's files from the page cache; those that are mapped stay.

    posix_fadvise(2) drops what is written to disk already.
    """
    run("sync", "--file-system", str(folder))
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                file = os.open(os.path.join(at, name), flags)  # noqa: PTH118  (speed)
                try:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(file)


def empty_cache(root: Path) -> int:
    """Remove what YARN has localised on the machine whose files are at ROOT; how much, in MiB.

    A NodeManager brings a file again that it finds missing.
    """
    freed = 0
    for folder in local_folders(root):
        if running := sorted(folder.glob("usercache/*/appcache/application_*")):
            raise FaultError(f"{running[0].name} uses the cache: order this before or after a run")
        for cached in (*folder.glob("filecache/*"), *folder.glob("usercache/*/filecache/*")):
            inside = (path.lstat() for path in cached.rglob("*"))
            freed += sum(status.st_blocks * 512 for status in inside)
            shutil.rmtree(cached)
    return freed >> 20


def local_folders(root: Path) -> Iterator[Path]:
    """Where the NodeManager keeps what it has localised, by its configuration; none without."""
    site = root / YARN_SITE
    if not site.exists():
        return
    for entry in ElementTree.parse(site).iter("property"):
        if entry.findtext("name") == LOCAL_FOLDERS:
            for folder in (entry.findtext("value") or "").split(","):
                yield root / folder.strip().removeprefix("file://").lstrip("/")


def limit(**properties: str) -> None:
    """Set properties of what holds the daemons, until the next start of the machine."""
    words = [f"{name}={value}" for name, value in properties.items()]
    run("systemctl", "set-property", "--runtime", SLICE, *words)


def cpu_quota(order: Order) -> Order:
    """Its CPUs divided by the factor."""
    cpus = (os.cpu_count() or 1) / order["factor"]
    limit(CPUQuota=f"{cpus:.2%}")
    return {"cpus": round(cpus, 4)}


def end_cpu_quota(_: Order) -> None:
    """No quota."""
    limit(CPUQuota="")


def cpu_neighbour(order: Order) -> Order:
    """A burner for each CPU, which weighs what leaves the daemons 1/factor."""
    count, weight = os.cpu_count() or 1, round(100 * (order["factor"] - 1))
    limit(CPUWeight="100")
    unit = ["systemd-run", "--quiet", "--collect", f"--unit={NEIGHBOUR}", f"--slice={NEIGHBOURS}"]
    unit += ["-p", f"RuntimeMaxSec={order['seconds'] + SAY_EVERY_S:g}"]
    run(*unit, "sh", "-c", BURNER, "sh", str(count))
    run("systemctl", "set-property", "--runtime", NEIGHBOURS, f"CPUWeight={min(weight, 10_000)}")
    return {"cpus": round(count / order["factor"], 4)}


def end_cpu_neighbour(_: Order) -> None:
    """No burners."""
    attempt("systemctl", "stop", NEIGHBOUR)
    attempt("systemctl", "revert", NEIGHBOURS)
    limit(CPUWeight="")


def link(order: Order) -> Order:
    """Both directions of the device that has the host's address."""
    options, device = order["options"], device_of(order["address"])
    mbit = link_mbit(order["factor"], options, order["mbit"])
    clear_link(device)
    attempt("modprobe", "-q", "ifb", "numifbs=0")
    run("ip", "link", "add", INCOMING, "type", "ifb")
    run("ip", "link", "set", INCOMING, "up")
    run("tc", "qdisc", "add", "dev", device, "ingress")
    to = ["action", "mirred", "egress", "redirect", "dev", INCOMING]
    run("tc", "filter", "add", "dev", device, "ingress", "matchall", *to)
    for each in (device, INCOMING):
        parent = ["root"]
        if mbit is not None:
            burst = max(32_000, round(mbit * 1e6 / 8 / 250))
            rate = ["rate", f"{round(mbit * 1000)}kbit", "burst", str(burst), "latency", LATENCY]
            run("tc", "qdisc", "add", "dev", each, "root", "handle", "1:", "tbf", *rate)
            parent = ["parent", "1:1"]
        netem = ["loss", f"{options['loss']:g}%"] if "loss" in options else []
        netem += ["delay", f"{options['delay']:g}ms"] if "delay" in options else []
        if netem:
            run("tc", "qdisc", "add", "dev", each, *parent, "netem", *netem)
    return {"device": device} | ({} if mbit is None else {"mbit": mbit})


def link_mbit(
    factor: float | None, options: Mapping[str, float], own: float | None
) -> float | None:
    """The speed ordered for a link, in Mbit/s, that has its OWN without; None: no limit."""
    return (own or LINK_MBIT) / factor if factor else options.get("mbit", own)


def disk_mbs(factor: float | None, options: Mapping[str, float]) -> float:
    """The speed ordered for a disk, in 10^6 bytes/s."""
    return DISK_MBS / factor if factor else options["mbs"]


def end_link(order: Order) -> None:
    """As it was: the service lab-link limits it where the inventory says so."""
    clear_link(device_of(order["address"]))
    attempt("systemctl", "try-restart", "lab-link")


def clear_link(device: str) -> None:
    """Without any limit."""
    for which in ("root", "ingress"):
        attempt("tc", "qdisc", "delete", "dev", device, which)
    attempt("ip", "link", "delete", INCOMING)


def device_of(address: str) -> str:
    """The network device that has an address."""
    found = run("ip", "-oneline", "address", "show", "to", address).split()
    if not found:
        raise FaultError(f"it has no device with the address {address}")
    return found[1]


def memory(order: Order) -> Order:
    """Of the daemons' working set a part stays, and there is swap for the rest."""
    stat = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
    used = int((GROUP / "memory.current").read_text()) - int(stat["inactive_file"])
    left = order["options"].get("mb") or (used >> 20) / order["factor"]
    if left < MIN_RESIDENT_MB:
        raise FaultError(f"{left:.0f} MiB would be left: give --mb, {MIN_RESIDENT_MB} at least")
    size = used >> 20
    if shutil.disk_usage(SWAP.parent).free >> 20 < 2 * size:
        raise FaultError(f"{SWAP.parent} has no room for {size} MiB of swap")
    run("fallocate", "--length", f"{size}MiB", str(SWAP))
    SWAP.chmod(0o600)
    run("mkswap", str(SWAP))
    run("swapon", str(SWAP))
    limit(MemoryHigh=f"{left:.0f}M")
    return {"mb": round(left)}


def end_memory(_: Order) -> None:
    """No limit, no swap of ours."""
    limit(MemoryHigh="infinity")
    if str(SWAP) in Path("/proc/swaps").read_text():
        run("swapoff", str(SWAP))
    SWAP.unlink(missing_ok=True)


def disk(order: Order) -> Order:
    """The disk that /data is on, cache emptied."""
    mbs = disk_mbs(order["factor"], order["options"])
    forget_all()
    folder = "/data" if Path("/data").exists() else "/"
    most = f"{folder} {round(mbs * 1e6)}"
    limit(IOReadBandwidthMax=most, IOWriteBandwidthMax=most)
    return {"mbs": mbs}


def end_disk(_: Order) -> None:
    """No limit."""
    limit(IOReadBandwidthMax="", IOWriteBandwidthMax="")


def freeze(_: Order) -> Order:
    """All daemons and jobs stand still, this program and its connection apart."""
    process = os.getpid()
    # Without libpam-systemd a login belongs to the unit of sshd, which is where this ends.
    while (above := parent(process)) > 1:
        (GROUP.parent / "cgroup.procs").write_text(str(process))
        process = above
    (GROUP / "cgroup.freeze").write_text("1")
    return {}


def parent(process: int) -> int:
    """The process that has started one."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("\nPPid:")[2].split()[0])


def end_freeze(_: Order) -> None:
    """They go on."""
    (GROUP / "cgroup.freeze").write_text("0")


def cold(_: Order) -> Order:
    """Without caches."""
    freed = empty_cache(Path("/"))
    forget_all()
    return {"localised_mb": freed}


def forget_all() -> None:
    """Drop the page cache, which is this machine's alone."""
    run("sync")
    Path("/proc/sys/vm/drop_caches").write_text("3")


def clock(order: Order) -> Order:
    """Ahead, and nobody sets it right."""
    ahead = order["options"].get("ahead", AHEAD_S)
    active = ("systemctl", "is-active", "--quiet")
    services = [service for service in TIME_SERVICES if attempt(*active, service)]
    # First what may be refused: what it has stopped would not be known to who takes it away.
    time.clock_settime(time.CLOCK_REALTIME, time.time() + ahead)
    for service in services:
        attempt("systemctl", "stop", service)
    return {"ahead": ahead, "services": services}


def end_clock(details: Order) -> None:
    """Back by as much."""
    if "ahead" in details:
        time.clock_settime(time.CLOCK_REALTIME, time.time() - details["ahead"])
    for service in details.get("services", ()):
        run("systemctl", "start", service)


def nothing(_: Order) -> None:
    """There is nothing to take away."""


FAULTS: dict[str, tuple[Callable[[Order], Order], Callable[[Order], None]]] = {
    "cpu-quota": (cpu_quota, end_cpu_quota),
    "cpu-neighbour": (cpu_neighbour, end_cpu_neighbour),
    "link": (link, end_link),
    "memory": (memory, end_memory),
    "disk": (disk, end_disk),
    "freeze": (freeze, end_freeze),
    "cold": (cold, nothing),
    "clock": (clock, end_clock),
}


def say(**values: Any) -> None:
    """One line to the other end, if it is still there."""
    with contextlib.suppress(OSError):
        print(json.dumps(values), flush=True)


def hold(seconds: float, stop: int) -> None:
    """Wait until the time is over, the input has ended, or something comes by STOP."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin, stop], [], [], min(left, SAY_EVERY_S))
        if ready:
            return
        say(step="It lasts")


def main() -> None:
    """Make the fault, hold it, and take it away."""
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    stop, wake = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(wake, b"."))
    order = json.loads(sys.stdin.buffer.readline())
    make, undo = FAULTS[sys.argv[1]]
    details = order["details"]
    try:
        try:
            if details is None:
                details = {}
                details = make(order)
                say(made=details)
                hold(order["seconds"], stop)
        finally:
            undo({**order, **(details or {})})
        say(result={})
    except FaultError as error:
        say(error=str(error))
    except OSError as error:
        say(error=f"{error.filename or sys.argv[1]}: {error.strerror}")


if __name__ == "__main__":
    main()
