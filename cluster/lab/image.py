"""The labs' image: Debian by mmdebstrap, and above it the install part of the Ansible roles.

Two layers for overlayfs, each kept in the cache by the digest of what it is made from: a change of
a role's install part makes a new upper layer on the same Debian.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path

import yaml

from cluster.errors import ClusterError
from cluster.inventory import ansible
from cluster.lab.access import USER
from cluster.places import locked

RELEASE = "bookworm"
BASES = "bases"
KEPT = 3  # upper layers; each is some 0.8 GB
PACKAGES = [
    *("dbus", "systemd", "systemd-sysv", "sudo", "procps", "iproute2", "openssh-server"),
    *("python3", "python3-apt"),  # what Ansible needs
]
# Done in the new root after its packages: the lab's user, and what has no place in a machine that
# shares a kernel. Authorized keys lie outside the home, where `lab up` can put them without ids.
CUSTOMISE = (
    f'chroot "$1" useradd --create-home --shell /bin/bash {USER}',
    f'echo "{USER} ALL=(ALL) NOPASSWD:ALL" > "$1/etc/sudoers.d/{USER}"',
    r'printf "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys/%%u\nUseDNS no\n'
    r'PasswordAuthentication no\n" > "$1/etc/ssh/sshd_config.d/lab.conf"',
    'rm -f "$1"/etc/ssh/ssh_host_*; : > "$1/etc/machine-id"',
    'chroot "$1" systemctl -q mask console-getty.service apt-daily.timer '
    "apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer",
)
# What the install parts are made from, in the repository. Other files of a role are for booted
# machines, and `cluster deploy` brings a machine up to date in any case.
SOURCES = (
    "ansible/roles/*/defaults/*.yml",
    "ansible/roles/*/vars/*.yml",
    "ansible/roles/*/tasks/install.yml",
    "ansible/roles/base/tasks/packages.yml",
    "ansible/roles/*/files/**/*",
    "ansible/sources.yml",
    "cluster/artifacts/*.py",
    "ansible/hadoop/*",
    "playbooks/image.yml",
    "requirements/env.lock",
)
# Mounts and processes of a build are in namespaces of their own: they end with it, however it ends.
OWN = (
    *("unshare", "--mount", "--propagation", "private"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
# Packages' scripts ask policy-rc.d whether daemons may start.
BUILD = r"""
base=$1 layer=$2 root=$3; shift 3
mount -t overlay -o "lowerdir=$base,upperdir=$layer/upper,workdir=$layer/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
install -d "$root/run/cluster"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
"$@"
chroot "$root" apt-get clean
rm "$root/usr/sbin/policy-rc.d"
: > "$root/etc/resolv.conf"
"""


def ensure(
    *, repository: Path, cache: Path, used: Collection[str], say: Callable[[str], None]
) -> str:
    """The image that fits the roles, built where it is missing, as overlayfs's ``lowerdir``.

    A new one takes the place of the one used longest ago, unless a lab has that (``used``).

    Raises:
        ClusterError: mmdebstrap or a role failed; the sentence names the log.
    """
    folder = cache / "images"
    layer = folder / digest(repository)
    folder.mkdir(parents=True, exist_ok=True)
    # One build at a time: another caller waits and finds the image.
    with locked(folder / "lock"):
        base = _ensure_base(folder, say)
        if not layer.is_dir():
            _build(layer, base=base, repository=repository, say=say)
        os.utime(layer)  # the one used longest ago goes first
        _prune(folder, used)
    return f"{layer}:{base}"


def digest(repository: Path) -> str:
    """Names an image by what it is made from."""
    total = hashlib.sha256(_base_name().encode())
    for pattern in SOURCES:
        for path in sorted(repository.glob(pattern)):
            if path.is_file():
                name = path.relative_to(repository)
                total.update(f"\n{name} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return total.hexdigest()[:16]


def _base_name() -> str:
    recipe = json.dumps([RELEASE, PACKAGES, CUSTOMISE])
    return f"{RELEASE}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"


def _ensure_base(folder: Path, say: Callable[[str], None]) -> Path:
    base = folder / BASES / _base_name()
    if not base.is_dir():
        say("Making Debian's base by mmdebstrap")
        part = base.with_name(f"{base.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(exist_ok=True)
        options = [f"--customize-hook={line}" for line in CUSTOMISE]
        command = [*OWN, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *options]
        command += [f"--include={','.join(PACKAGES)}", RELEASE, str(part)]
        _run(command, log=folder / f"{base.name}.log")
        part.rename(base)
    return base


def _build(layer: Path, *, base: Path, repository: Path, say: Callable[[str], None]) -> None:
    say("Installing what the roles need into the image, over a chroot connection")
    part, log = layer.with_name(f"{layer.name}.part"), layer.with_name(f"{layer.name}.log")
    shutil.rmtree(part, ignore_errors=True)
    for name in ("upper", "work", "root"):
        (part / name).mkdir(parents=True)
    root, inventory = part / "root", part / "inventory.yml"
    where = {"ansible_connection": "community.general.chroot", "ansible_host": str(root)}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"image": where}}}))
    play = [ansible("ansible-playbook"), "-i", str(inventory), "playbooks/image.yml"]
    script = ["bash", "-euc", BUILD, "build", str(base), str(part), str(root)]
    _run([*OWN, *script, *play], log=log, cwd=repository)
    (part / "upper").rename(layer)
    shutil.rmtree(part)


def _prune(folder: Path, used: Collection[str]) -> None:
    layers = [path for path in folder.glob("*/") if path.name != BASES]
    # A build that was cut off, whose lock is ours now, comes after all others.
    layers.sort(key=lambda path: (path.suffix == ".part", -path.stat().st_mtime))
    in_use = {path for lower in used for path in lower.split(":")}
    for number, layer in enumerate(layers):
        if layer.suffix == ".part" or (number >= KEPT and str(layer) not in in_use):
            shutil.rmtree(layer)


def _run(command: list[str], *, log: Path, cwd: Path | None = None) -> None:
    with log.open("ab") as out:
        try:
            subprocess.run(
                command,
                check=True,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise ClusterError(
                f"{command[0]} failed to build the labs' image: see {log}."
            ) from error
