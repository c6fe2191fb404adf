"""Makes nspawn machines slow, from the computer that they run on.

A fault is found by the names of lab and machine alone, like all of a lab: what made it may be gone.
"""

import contextlib
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.lab import cgroups, network
from cluster.lab.faults.kinds import Order
from cluster.lab.faults.remote import machine as remote
from job.errors import UsageError

# systemd in the machine answers with so much.
MIN_RESIDENT_MB = 48
# Of the disk that swap is on, kept free; of swap, for what else the computer puts there.
SPARE_MB, SPARE_SWAP_MB = 1024, 256
# Burners end by themselves, should nobody be there to end them: so long after the fault's time.
GRACE_S = 30
BURNER = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end: pass
"""
CALL = """
import sys
program = {"__name__": "machine"}
exec(sys.stdin.read(), program)
try:
    print(eval(sys.argv[1], program))
except program["FaultError"] as error:
    sys.exit(str(error))
"""

Details = Mapping[str, Any]
Apply = Callable[["NspawnMachine", Order], Details]
Undo = Callable[["NspawnMachine", Details], None]


@dataclass(frozen=True, kw_only=True)
class NspawnMachine:
    """A machine that is to be slow, and what it is without a fault. ``folder`` is the lab's."""

    lab: str
    folder: str
    name: str
    number: int
    cpus: float
    memory_mb: int
    bandwidth_mbit: float | None

    def apply(self, order: Order) -> Details:
        """Make a fault; what was set for it.

        Raises:
            ClusterError: the kernel or a program refuses; nothing is left.
            UsageError: it would change nothing, or too much.
        """
        apply, _ = FAULTS[order.kind]
        try:
            return apply(self, order)
        except Exception:
            self.remove(order, {})
            raise

    def remove(self, order: Order, details: Details) -> None:
        """Take a fault away, also one that was made in part, or whose machine is gone.

        Raises:
            ClusterError: something of it is left.
        """
        _, undo = FAULTS[order.kind]
        undo(self, details)

    @property
    def link(self) -> network.Ends:
        """The two ends of its link."""
        return network.ends(self.lab, self.number, self.name)

    @property
    def swap(self) -> Path:
        """The file that it swaps to while it is short of memory."""
        return Path(self.folder) / f"{self.name}.swap"

    @property
    def exists(self) -> bool:
        """Whether there are limits to set back."""
        return cgroups.exists(self.lab, self.name)


def _all_cpus() -> int:
    return os.cpu_count() or 1


def _cpu_quota(machine: NspawnMachine, order: Order) -> Details:
    cpus = min(machine.cpus, _all_cpus()) / (order.factor or 1)
    if cpus * cgroups.PERIOD_US < cgroups.MIN_QUOTA_US:
        raise UsageError(f"--factor {order.factor:g} leaves {machine.name} less than 0.01 CPUs.")
    cgroups.set_cpus(machine.lab, machine.name, cpus)
    return {"cpus": round(cpus, 4)}


def _end_cpu_quota(machine: NspawnMachine, _details: Details) -> None:
    if machine.exists:
        cgroups.set_cpus(machine.lab, machine.name, machine.cpus)


def _cpu_neighbour(machine: NspawnMachine, order: Order) -> Details:
    """Its processes on as few cores as its quota takes, and on each a burner that outweighs them.

    A machine without a quota has all cores, and so have its peers. Its weight is split with the
    burners then, so that the peers keep theirs.
    """
    limited = machine.cpus < _all_cpus()
    count = min(math.ceil(machine.cpus), _all_cpus())
    cores = sorted((machine.number + at) % _all_cpus() for at in range(count))
    left = min(machine.cpus, _all_cpus()) / (order.factor or 1)
    share = left / count
    weight = 1.0 if limited else share
    cgroups.set_weight(machine.lab, machine.name, weight)
    group = cgroups.beside(machine.lab, machine.name, weight * (1 - share) / share)
    for core in cores:
        burner = subprocess.Popen(
            [sys.executable, "-S", "-c", BURNER, str(core), str(order.seconds + GRACE_S)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        (group / "cgroup.procs").write_text(str(burner.pid))
    if limited:
        cgroups.set_cores(machine.lab, machine.name, cores)
    return {"cpus": round(left, 4), "cores": cores}


def _end_cpu_neighbour(machine: NspawnMachine, _details: Details) -> None:
    beside = cgroups.neighbour(machine.name)
    cgroups.kill(machine.lab, beside)
    cgroups.remove(machine.lab, beside)
    if machine.exists:
        cgroups.set_weight(machine.lab, machine.name)
        cgroups.set_cores(machine.lab, machine.name)


def _link(machine: NspawnMachine, order: Order) -> Details:
    mbit = remote.link_mbit(order.factor, order.options, machine.bandwidth_mbit)
    if loss := order.options.get("loss", 0.0):
        if shutil.which("nft") is None:
            raise ClusterError(
                "nft was not found, which loses packets: `apt-get install nftables`."
            )
        network.lose(machine.link, loss)
    network.shape(machine.link, mbit, delay_ms=order.options.get("delay", 0.0))
    return {} if mbit is None else {"mbit": mbit}


def _end_link(machine: NspawnMachine, _details: Details) -> None:
    if network.exists(machine.lab):
        network.lose(machine.link, 0)
        network.shape(machine.link, machine.bandwidth_mbit)


def _memory(machine: NspawnMachine, order: Order) -> Details:
    """Of its working set a part stays, and the rest of what it may have becomes a file of swap."""
    left = int(order.options.get("mb", 0))
    if order.factor:
        left = round(cgroups.working_set_mb(machine.lab, machine.name) / order.factor)
    if not MIN_RESIDENT_MB <= left < machine.memory_mb:
        raise UsageError(
            f"{machine.name} would be left {left} MiB of its {machine.memory_mb}: give --mb, "
            f"{MIN_RESIDENT_MB} at least."
        )
    size = machine.memory_mb - left + SPARE_SWAP_MB
    free = shutil.disk_usage(machine.folder).free >> 20
    if free < size + SPARE_MB:
        raise ClusterError(
            f"{machine.folder} has {free} MiB free, and swap for {machine.name} takes {size}."
        )
    _swap(["fallocate", "--length", f"{size}MiB", str(machine.swap)])
    machine.swap.chmod(0o600)
    _swap(["mkswap", str(machine.swap)])
    _swap(["swapon", str(machine.swap)])
    cgroups.set_memory(machine.lab, machine.name, machine.memory_mb, resident_mb=left)
    return {"mb": left}


def _end_memory(machine: NspawnMachine, _details: Details) -> None:
    if machine.exists:
        cgroups.set_memory(machine.lab, machine.name, machine.memory_mb)
    if str(machine.swap) in Path("/proc/swaps").read_text():
        _swap(["swapoff", str(machine.swap)])
    machine.swap.unlink(missing_ok=True)


def _swap(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(
            f"This computer cannot swap to a file: `{' '.join(command)}` failed: "
            f"{done.stderr.strip()}."
        )


def _disk(machine: NspawnMachine, order: Order) -> Details:
    mbs = remote.disk_mbs(order.factor, order.options)
    image = Path(machine.folder) / machine.name / "data.img"
    command = ["losetup", "--associated", str(image), "--noheadings", "--output", "MAJ:MIN"]
    device = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    _inside(machine, "forget(Path('/data'))")
    cgroups.set_disk(machine.lab, machine.name, device, round(mbs * 1e6))
    return {"mbs": mbs, "device": device}


def _end_disk(machine: NspawnMachine, details: Details) -> None:
    if device := details.get("device"):
        cgroups.set_disk(machine.lab, machine.name, device, None)


def _freeze(machine: NspawnMachine, _order: Order) -> Details:
    cgroups.set_frozen(machine.lab, machine.name, True)
    return {}


def _end_freeze(machine: NspawnMachine, _details: Details) -> None:
    if machine.exists:
        cgroups.set_frozen(machine.lab, machine.name, False)


def _cold(machine: NspawnMachine, _order: Order) -> Details:
    localised_mb = int(_inside(machine, "empty_cache(Path('/'))"))
    _inside(machine, "forget(Path('/data'))")
    # What it has changed of its image, which other machines share.
    remote.forget(Path(machine.folder) / machine.name / "upper")
    return {"localised_mb": localised_mb}


def _clock(machine: NspawnMachine, _order: Order) -> Details:
    raise UsageError(
        f"{machine.name} shares this computer's clock, as every nspawn machine does: the fault "
        "clock takes virtual machines (`cluster lab up --provider libvirt`)."
    )


def _inside(machine: NspawnMachine, call: str) -> str:
    """What a call of remote/machine.py gives in the machine: its links lead nowhere else there.

    Raises:
        ClusterError: it failed.
    """
    words = ["nsenter", f"--target={_process(machine)}", "--mount", "--root", "--wd"]
    done = subprocess.run(
        [*words, "/usr/bin/python3", "-c", CALL, call],
        input=Path(remote.__file__).read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"{machine.name}: {done.stderr.strip().splitlines()[-1]}.")
    return done.stdout


def _process(machine: NspawnMachine) -> int:
    """A process that sees the machine's files, as those that run it do not."""
    for process in sorted(cgroups.processes(machine.lab, machine.name)):
        with contextlib.suppress(OSError):  # it has ended
            if Path(f"/proc/{process}/root/etc/hostname").read_text().strip() == machine.name:
                return process
    raise ClusterError(f"{machine.name} has no process of its own: see `cluster lab status`.")


def _nothing(_machine: NspawnMachine, _details: Details) -> None:
    """There is nothing to take away."""


FAULTS: Mapping[str, tuple[Apply, Undo]] = {
    "cpu-quota": (_cpu_quota, _end_cpu_quota),
    "cpu-neighbour": (_cpu_neighbour, _end_cpu_neighbour),
    "link": (_link, _end_link),
    "memory": (_memory, _end_memory),
    "disk": (_disk, _end_disk),
    "freeze": (_freeze, _end_freeze),
    "cold": (_cold, _nothing),
    "clock": (_clock, _nothing),
}
