"""Two unequal machines by ``vagrant up``, in QEMU's emulation.

The machines are some 15 times slower than real ones, so only the first roles are applied.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cluster.inventory import ansible
from tests.scenarios.vagrant.conftest import HERE, ROOT, leave_out

LIBVIRT = ("virsh", "-c", "qemu:///system")
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# Run in a machine, inside a cgroup with limits, until the CPU limit has held it back.
READ_CGROUP = """
import json
from job import cgroup
while not (throttled := cgroup.cpu_throttled()).nr_throttled:
    pass
limits = {"cpus": cgroup.cpu_quota(), "memory_mb": cgroup.memory_limit_mb()}
print(json.dumps({**limits, "throttled_ms": throttled.throttled_ms,
                  "scope": str(cgroup.scope("cpu")), "contained": cgroup.contained()}))
"""

pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True, kw_only=True)
class World:
    """Namespaces with a libvirt of their own, and the lab in them."""

    process: "subprocess.Popen[str]"
    folder: Path
    environment: dict[str, str]

    @property
    def inside(self) -> str:
        """The process id, seen from here, of the first process of the namespaces."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return children.read_text().strip()

    @property
    def inventory(self) -> Path:
        return self.folder / f"lab{self.process.pid}"

    def run(self, *command: object, timeout: int = 300) -> str:
        """What the command prints. It runs in the repository's root."""
        enter = ("nsenter", "--target", self.inside, "--net", "--mount", "--pid")
        done = subprocess.run(
            [*enter, "env", "-C", str(ROOT), *map(str, command)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def ssh(self, host: str, command: str) -> str:
        # One connection for all that is asked: opening one takes seconds, emulated.
        kept = ("-o", "ControlMaster=auto", "-o", f"ControlPath={self.folder}/%h")
        config = ("-F", self.inventory / ".lab" / "ssh_config", "-o", "ControlPersist=600")
        return self.run("ssh", *config, *kept, host, command)

    def processes(self) -> dict[str, str]:
        """Those in the namespaces: id to command line."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns" / "net").readlink() == self._network:
                    found[process.name] = (process / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it has ended meanwhile
        return found

    @property
    def _network(self) -> Path:
        return Path((self.folder / "network").read_text())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def world(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        leave_out("The emulated lab takes Debian and root.")
    folder = tmp_path_factory.mktemp("world")
    boxes = ROOT / ".cache" / "vagrant" / "boxes"
    made = subprocess.run(
        [HERE / "box", boxes, *packages()], stdout=subprocess.PIPE, text=True, check=True
    )
    (folder / "home").mkdir()
    (folder / "home" / "boxes").symlink_to(boxes)
    process = subprocess.Popen(
        [*UNSHARE, HERE / "world", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    world = World(
        process=process,
        folder=folder,
        environment={
            **environment,
            "LAB": str(folder / f"lab{process.pid}"),
            "LAB_BOX": made.stdout.strip(),
            "VAGRANT_HOME": str(folder / "home"),
            "VAGRANT_DOTFILE_PATH": str(folder / "state"),
            "ANSIBLE_TIMEOUT": "120",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
            # Facts are half a minute.
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
        },
    )
    shutil.copytree(HERE / "inventory", world.inventory)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (folder / "network").write_text(str(Path(f"/proc/{world.inside}/ns/net").readlink()))
        world.run("vagrant", "up", "--no-tty", timeout=900)
        yield world
    finally:
        world.end()
        # Where a test failed before, the cgroups of machines that were killed.
        subprocess.run(
            [
                "find",
                "/sys/fs/cgroup/cpu/machine",
                "-depth",
                "-type",
                "d",
                "-exec",
                "rmdir",
                "{}",
                "+",
            ],
            stderr=subprocess.DEVNULL,
            check=False,
        )


def packages() -> list[str]:
    """What the roles install: the machines have no way out."""

    def defaults(role: str) -> dict[str, list[str]]:
        text = (ROOT / "ansible" / "roles" / role / "defaults" / "main.yml").read_text("utf-8")
        loaded: dict[str, list[str]] = yaml.safe_load(text)
        return loaded

    return [
        *defaults("base")["base_packages"],
        *defaults("java")["java_packages"],
        "systemd-timesyncd",
    ]


def test_the_machines_are_as_the_inventory_says(world: World) -> None:
    keys = set()
    for host, memory_mb, quota in (("whole", 640, -1), ("part", 512, 75_000)):
        said = world.ssh(host, "hostname; nproc; grep MemTotal /proc/meminfo; ip -4 -br address")
        hostname, processors, memory, *addresses = said.splitlines()
        assert (hostname, processors) == (host, "1")
        assert 0.85 * memory_mb < int(memory.split()[1]) / 1024 < memory_mb
        assert {"whole": "192.168.60.11/24", "part": "192.168.60.12/24"}[host] in said
        assert len(addresses) == 3  # the loopback interface's, Vagrant's own, the lab's
        (domain,) = re.findall(
            rf"\S*{world.inventory.name}-{host}\b", world.run(*LIBVIRT, "list", "--name")
        )
        for state in ("--live", "--config"):
            settings = world.run(*LIBVIRT, "schedinfo", domain, state)
            assert re.search(r"vcpu_period *: (\S+)", settings)[1] == "100000"  # type: ignore[index]
            assert re.search(r"vcpu_quota *: (\S+)", settings)[1] == str(quota)  # type: ignore[index]
        keys.update(world.run("ssh-keygen", "-l", "-F", host, "-f", known_hosts(world)).split())
    assert len([word for word in keys if word.startswith("SHA256:")]) == 2


def test_a_slow_link_is_slow_in_both_directions(world: World) -> None:
    out, into = (
        json.loads(world.ssh("part", f"sudo tc -s -j qdisc show dev {device} root"))[0]
        for device in ("eth1", "lab-in")
    )
    for shaper in (out, into):
        assert (shaper["kind"], shaper["options"]["rate"]) == ("tbf", 20_000_000 / 8)
        assert shaper["bytes"] > 0
    assert "tbf" not in world.ssh("whole", "sudo tc qdisc")


def test_the_first_roles_are_applied_and_a_second_time_change_nothing(world: World) -> None:
    def apply() -> dict[str, int]:
        said = world.run(
            *(ansible("ansible-playbook"), "-i", world.inventory),
            *("playbooks/hosts.yml", "--tags", "base,java"),
            timeout=600,
        )
        found = re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", said, re.M)
        return {host: int(changed) for host, changed in found}

    first = apply()
    assert first.keys() == {"whole", "part"}
    assert min(first.values()) > 0
    assert world.ssh("whole", "getent hosts part").split() == ["192.168.60.12", "part"]
    assert '"17.' in world.ssh("part", "java -version 2>&1")
    assert apply() == {"whole": 0, "part": 0}


def test_cgroup_version_2_is_read_right(world: World) -> None:
    config = f"ssh -F {world.inventory}/.lab/ssh_config part"
    copy = f"tar c -C {ROOT} job/__init__.py job/cgroup.py | {config} tar x -C /tmp"
    world.run("bash", "-euo", "pipefail", "-c", copy)
    assert world.ssh("part", "stat -f -c %T /sys/fs/cgroup").strip() == "cgroup2fs"
    limited = "sudo systemd-run --quiet --pipe --wait --collect --working-directory=/tmp"
    limits = "--unit=limited -p MemoryMax=200M -p CPUQuota=30%"
    said = world.ssh("part", f"{limited} {limits} /usr/bin/python3 -c '{READ_CGROUP}'")
    found = json.loads(said)
    assert found.pop("throttled_ms") > 0
    assert found == {
        "cpus": 0.3,
        "memory_mb": 200.0,
        "scope": "/sys/fs/cgroup/system.slice/limited.service",
        "contained": False,
    }


def test_destroy_leaves_nothing(world: World) -> None:
    assert any("qemu-system" in line for line in world.processes().values())
    world.run("vagrant", "destroy", "-f", "--no-tty")
    assert not any("qemu-system" in line for line in world.processes().values())
    assert world.run(*LIBVIRT, "list", "--all", "--name").split() == []
    assert world.run(*LIBVIRT, "net-list", "--name").split() == []
    assert world.inventory.name not in world.run(*LIBVIRT, "vol-list", "default")
    assert [line.split()[0] for line in world.run("ip", "-br", "link").splitlines()] == ["lo"]
    assert [path.name for path in world.inventory.iterdir()] == ["hosts.yml"]
    assert list(Path("/sys/fs/cgroup").glob(f"*/machine/qemu-*{world.inventory.name}*")) == []

    assert world.processes()
    world.end()
    assert world.processes() == {}


def known_hosts(world: World) -> Path:
    return world.inventory / ".lab" / "known_hosts"
