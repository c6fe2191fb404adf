"""What a computer must have to run nspawn labs."""

import os
import shutil
import sys

from cluster.errors import ClusterError
from cluster.lab.machines import Machine
from job.errors import UsageError

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "tc": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


def missing() -> str:
    """Why nspawn labs cannot run here, as one sentence; empty where they can."""
    if sys.platform != "linux":
        return "nspawn labs run on Linux only: take --provider virtualbox or libvirt."
    if os.geteuid() != 0:
        return "nspawn labs need root: run it with sudo, or take --provider virtualbox or libvirt."
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        packages = " ".join(dict.fromkeys(PROGRAMS[name] for name in absent))
        return f"{', '.join(absent)} not found: `apt-get install {packages}`."
    return ""


def check(machines: tuple[Machine, ...]) -> None:
    """Raise what stands in the way of a lab with these machines.

    Raises:
        ClusterError: the computer lacks something.
        UsageError: the machines want more memory than it has.
    """
    if sentence := missing():
        raise ClusterError(sentence)
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    want = sum(machine.memory_mb for machine in machines)
    if want > have:
        largest = max(machines, key=lambda machine: machine.memory_mb)
        raise UsageError(
            f"The lab wants {want} MB of memory and this computer has {have} MB: lower "
            f"lab_memory_mb, that of {largest.name} first ({largest.memory_mb})."
        )


def crowded(machines: tuple[Machine, ...]) -> str:
    """What it means where the machines may use more CPUs than there are; empty where they cannot.

    Such a lab works. Its machines are each other's noisy neighbours, and a verdict says so.
    """
    have, want = os.cpu_count() or 1, sum(machine.cpus for machine in machines)
    if want <= have:
        return ""
    return (
        f"Its machines may use {want:g} CPUs and this computer has {have}: whatever computes on one"
        " slows the others. To see what a fault does, lower lab_cpus."
    )
