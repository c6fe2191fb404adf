"""A real sshd on a port of the loopback interface, and inventories whose hosts it is."""

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.inventory import Host, Inventory

# As `sudo -n`: it never asks.
SUDO = """#!/bin/sh
[ "$1 $2" = "-n --" ] || exit 99
[ -z "$WANTS_PASSWORD" ] || { echo 'sudo: a password is required' >&2; exit 1; }
shift 2
BY_SUDO=yes exec "$@"
"""
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running sshd that lets this user in with ``key``."""

    folder: Path
    port: int
    key: Path
    host_key: str

    def known_hosts(self, host_key: str | None = None) -> Path:
        """A file with this server's key, or with another."""
        file = self.folder / f"known_hosts_{'true' if host_key is None else 'false'}"
        file.write_text(f"[127.0.0.1]:{self.port} {host_key or self.host_key}\n", encoding="utf-8")
        return file


def keygen(file: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    return " ".join(file.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if SSHD is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    host_key, key = keygen(folder / "host"), keygen(folder / "key")
    (folder / "authorized_keys").write_text(f"{key}\n", encoding="utf-8")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        # The temporary folder's parent belongs to everyone.
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n"
        f"SetEnv PATH={folder}/bin:/usr/bin:/bin\n",
        encoding="utf-8",
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "sudo").write_text(SUDO, encoding="utf-8")
    (folder / "bin" / "sudo").chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    log = folder / "log"
    with subprocess.Popen([SSHD, "-D", "-f", folder / "config", "-E", log]) as process:
        try:
            deadline = time.monotonic() + 10
            while "listening" not in (log.read_text(encoding="utf-8") if log.exists() else ""):
                assert process.poll() is None and time.monotonic() < deadline, "sshd did not start"
                time.sleep(0.02)
            yield Server(folder=folder, port=port, key=folder / "key", host_key=host_key)
        finally:
            process.terminate()


def inventory(path: Path, *names: str, **variables: Any) -> Inventory:
    """Hosts of group edge with the same variables; ``path`` is its folder."""
    hosts = tuple(
        Host(name=name, groups=frozenset({"edge"}), variables=variables) for name in names
    )
    return Inventory(path=path, hosts=hosts, groups=frozenset({"edge"}))


def reachable(server: Server, tmp_path: Path, *names: str, **variables: Any) -> Inventory:
    return inventory(
        tmp_path,
        *(names or ("node1",)),
        **{
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(server.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={server.known_hosts()}"
            " -o IdentitiesOnly=yes",
            **variables,
        },
    )
