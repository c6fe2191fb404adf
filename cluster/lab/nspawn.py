"""A lab of systemd-nspawn machines: real systemd, sshd, addresses, CPU shares and link speeds.

All parts of a lab are found by its name alone (cgroups, network namespaces, a folder), so `down`
removes them after a crash too. A machine's mounts are in a mount namespace of its own: they end
with its processes. Nothing is registered with a service manager.
"""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from cluster.errors import ClusterError
from cluster.inventory import LAB_CONFIG, Inventory
from cluster.lab import access, cgroups, network
from cluster.lab.faults import record
from cluster.lab.machines import Machine, machines_of
from cluster.places import locked

LABS = Path("/var/lib/cluster/labs")
# nspawn makes an empty folder here for each machine, and leaves it.
PROPAGATED = Path("/run/systemd/nspawn/propagate")
IMAGE = "image"  # in a lab's folder: the layers below its machines, as overlayfs takes them
DATA_MB = 10_240
BOOT_TIMEOUT_S = 120.0
# Joins its cgroups, mounts the root (image below, changes above) and the data file system, and runs
# the machine. nspawn ends with 133 when the machine reboots: it is started again.
MACHINE = r"""
root=$1 image=$2 data=$3 name=$4 host=$5 namespace=$6; shift 6
for group; do echo $$ > "$group/cgroup.procs"; done
mount -t overlay -o "lowerdir=$image,upperdir=$root/upper,workdir=$root/work" overlay "$root/root"
mount -o loop "$data" "$root/data"
while true; do
    code=0
    systemd-nspawn --quiet --directory="$root/root" --boot --register=no --keep-unit \
        --machine="$name" --hostname="$host" --network-namespace-path="$namespace" \
        --capability=CAP_NET_ADMIN --resolv-conf=off --timezone=off \
        --bind="$root/data:/data" || code=$?
    [ "$code" = 133 ] || exit "$code"
done
"""

State = Literal["running", "stopped", "missing"]


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What was there of a lab when it was removed.

    ``running`` and ``ended`` are its machines, ``mounts`` their data file systems, which go with
    their processes. ``files``: its folder held something.
    """

    running: tuple[str, ...]
    ended: tuple[str, ...]
    network: bool
    mounts: int
    faults: int
    files: bool


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One lab: the machines of one inventory."""

    name: str
    inventory: Path
    folder: Path

    @classmethod
    def of(cls, inventory: Path) -> "Lab":
        """The lab of an inventory; two inventories of the same name in two places have two."""
        path = inventory.resolve()
        name = f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
        return cls(name=name, inventory=path, folder=LABS / name)

    @property
    def faults(self) -> Path:
        """Where the faults of its machines are kept."""
        return self.folder / "faults"

    def up(
        self, inventory: Inventory, image: Callable[[], str], say: Callable[[str], None]
    ) -> list[str]:
        """Start the machines that are not running; returns their names once they have booted.

        ``image`` is asked only when a lab is made. A machine that ran before keeps what it holds.
        When it fails or is stopped, a lab that was not there before is taken down again.
        """
        machines = machines_of(inventory)
        with self._locked():
            fresh = not cgroups.processes(self.name)
            if not fresh and (changed := self._changed(machines)):
                raise ClusterError(
                    f"Lab {self.name} runs with another inventory ({changed}): "
                    "`cluster lab down` first."
                )
            try:
                return self._up(machines, image, say)
            except BaseException:
                if fresh:
                    self._down()
                raise

    def down(self) -> Remains | None:
        """Remove the lab, and say what was there of it; None where there was none."""
        with self._locked():
            faults = len(record.clear(self.faults))
            for log in LABS.glob(f"{self.name}-*.log"):
                log.unlink()
            return self._down(faults)

    def state(self, machine: str) -> State:
        """Whether a machine of the lab runs."""
        if cgroups.processes(self.name, machine):
            return "running"
        return "stopped" if (self.folder / machine).is_dir() else "missing"

    def _up(
        self,
        machines: tuple[Machine, ...],
        image: Callable[[], str],
        say: Callable[[str], None],
    ) -> list[str]:
        stopped = [machine for machine in machines if self.state(machine.name) != "running"]
        if not stopped:
            return []
        if len(stopped) == len(machines):
            say("Making the network")
            network.up(self.name, machines)
        public = access.make_key(self.inventory)
        (self.folder / "inventory").write_text(str(self.inventory))
        (self.folder / "machines").write_text(repr(machines))
        below = self._image(image)
        say(f"Starting {', '.join(machine.name for machine in stopped)}")
        started = {}
        for machine in stopped:
            _furnish(self.folder / machine.name, machine, public)
            started[machine.name] = self._start(machine, below)
        keys = {m.name: " ".join(_host_key(self.folder / m.name).split()[:2]) for m in machines}
        access.write(self.inventory, self.name, machines, keys)
        say("Waiting until they have booted")
        self._wait(started)
        return list(started)

    def _start(self, machine: Machine, image: str) -> subprocess.Popen[bytes]:
        folder = self.folder / machine.name
        groups = cgroups.make(
            self.name, machine.name, cpus=machine.cpus, memory_mb=machine.memory_mb
        )
        namespace = network.NAMESPACES / network.namespace(self.name, machine.name)
        arguments = [folder, image, folder / "data.img", f"{self.name}-{machine.name}"]
        arguments += [machine.name, namespace, *groups]
        own = ["unshare", "--mount", "--propagation", "private", "bash", "-euc", MACHINE, "machine"]
        with (folder / "console.log").open("ab") as console:
            return subprocess.Popen(
                [*own, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )

    def _wait(self, started: Mapping[str, subprocess.Popen[bytes]]) -> None:
        """Until systemd in each machine says that its start is over. ``started``: by machine."""
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        asked = {name: self._ask(name) for name in started}
        said = dict.fromkeys(started, "it does not answer")
        try:
            while asked:
                time.sleep(0.1)
                for name, question in list(asked.items()):
                    over = time.monotonic() > deadline or started[name].poll() is not None
                    if question.poll() is None and not over:
                        continue
                    question.kill()
                    answer = " ".join(question.communicate()[0].split())
                    said[name] = answer or said[name]
                    if answer in {"running", "degraded"}:
                        del asked[name]
                    elif over:
                        self._did_not_boot(name, started[name], said[name])
                    else:
                        asked[name] = self._ask(name)
        finally:
            # One whose machine is gone would wait for it.
            for question in asked.values():
                question.kill()
                question.communicate()

    def _ask(self, machine: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.ssh(machine), "systemctl is-system-running --wait"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _did_not_boot(self, name: str, process: subprocess.Popen[bytes], said: str) -> NoReturn:
        if process.poll() is not None:
            said = f"it ended with {process.returncode}"
        kept = LABS / f"{self.name}-{name}.log"
        shutil.copy(self.folder / name / "console.log", kept)
        raise ClusterError(f"Machine {name} did not boot ({said}): see {kept}.")

    def ssh(self, machine: str) -> list[str]:
        """The command that logs in, without what to do there."""
        config = self.inventory / LAB_CONFIG
        return ["ssh", "-q", "-F", str(config), "-o", "ConnectTimeout=5", machine]

    def _image(self, image: Callable[[], str]) -> str:
        """The image a lab began with stays below it until it is taken down."""
        kept = self.folder / IMAGE
        if not kept.exists():
            kept.write_text(image())
        return kept.read_text()

    def _changed(self, machines: tuple[Machine, ...]) -> str:
        path = self.folder / "machines"
        before = path.read_text() if path.exists() else ""
        return "" if before == repr(machines) else "its hosts or their lab_ variables changed"

    def _down(self, faults: int = 0) -> Remains | None:
        machines = sorted(path.parent.name for path in self.folder.glob("*/upper"))
        running = tuple(name for name in machines if self.state(name) == "running")
        files, mounts = any(self.folder.glob("*")), _mounts(self.folder)
        cgroups.kill(self.name)
        had_network = network.down(self.name)
        cgroups.remove(self.name)
        # A killed process's mounts go when the kernel has let go of its namespace.
        _until_unmounted(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        for left in PROPAGATED.glob(f"{self.name}-*"):
            left.rmdir()
        access.remove(self.inventory, self.name)
        if not (files or had_network):
            return None
        return Remains(
            running=running,
            ended=tuple(name for name in machines if name not in running),
            network=had_network,
            mounts=mounts,
            faults=faults,
            files=files,
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One command at a time works on a lab."""
        LABS.mkdir(parents=True, exist_ok=True)
        path = LABS / f"{self.name}.lock"
        with locked(path):
            self.folder.mkdir(exist_ok=True)
            try:
                yield
            finally:
                if self.folder.is_dir() and not any(self.folder.iterdir()):
                    self.folder.rmdir()
                if not self.folder.exists():
                    path.unlink(missing_ok=True)


def labs() -> list[Lab]:
    """Every lab on this computer, also those whose command crashed."""
    found = []
    for folder in sorted(LABS.glob("*/")):
        path = folder / "inventory"
        if path.exists():
            found.append(Lab(name=folder.name, inventory=Path(path.read_text()), folder=folder))
    return found


def images_in_use() -> set[str]:
    """The images below the labs of this computer, as they are mounted."""
    return {path.read_text() for path in LABS.glob(f"*/{IMAGE}")}


def _furnish(folder: Path, machine: Machine, public_key: str) -> None:
    """What is a machine's own: name, keys, hosts file, data file system."""
    upper = folder / "upper"
    for path in (
        upper / "etc/ssh/authorized_keys",
        folder / "work",
        folder / "root",
        folder / "data",
    ):
        path.mkdir(parents=True, exist_ok=True)
    (upper / "etc/ssh/authorized_keys" / access.USER).write_text(public_key)
    if not (upper / "etc/hostname").exists():
        (upper / "etc/hostname").write_text(f"{machine.name}\n")
        hosts = f"127.0.0.1 localhost\n{machine.address} {machine.name}\n"
        (upper / "etc/hosts").write_text(hosts)
        access.generate_key(upper / "etc/ssh/ssh_host_ed25519_key", comment=machine.name)
    data = folder / "data.img"
    if not data.exists():
        part = folder / "data.part"
        with part.open("wb") as file:
            file.truncate(DATA_MB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", str(part)], check=True)
        part.rename(data)


def _host_key(folder: Path) -> str:
    return (folder / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text()


def _until_unmounted(folder: Path) -> None:
    deadline = time.monotonic() + cgroups.KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        if not _mounts(folder):
            return
        time.sleep(0.05)
    raise ClusterError(f"A loop device still holds a file in {folder}: see `losetup -a`.")


def _mounts(folder: Path) -> int:
    """How many files in FOLDER are mounted."""
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False)
    return sum(f"{folder}/" in line for line in loops.stdout.splitlines())
