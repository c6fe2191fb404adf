"""How a lab's machines are reached: keys, known hosts, an ssh configuration, Ansible variables.

Written into the inventory's folder, ignored by git, so that plain Ansible, Fabric and ssh use it.
"""

import shutil
import subprocess
from pathlib import Path

import yaml

from cluster.errors import ClusterError
from cluster.inventory import LAB_CONFIG, Inventory
from cluster.lab.machines import Machine
from cluster.lab.network import NAMESPACES
from job.parts import write_atomically

USER = "cluster"
VARIABLES = "lab.yml"
FOLDER = LAB_CONFIG.parent
# The machines answer only inside the lab's namespace. bash opens the connection itself, so that
# nothing needs to be installed for it; one cat each way, ended together. A refused host key makes
# ssh hang up on it, which must not end bash before the cats.
PROXY = (
    "nsenter --net={namespace} bash -c "
    "'trap : HUP; exec 3<>/dev/tcp/%h/%p || exit 1; cat <&3 & cat >&3; kill $! 2>/dev/null'"
)


def write(
    inventory: Path, lab: str, machines: tuple[Machine, ...], host_keys: dict[str, str]
) -> None:
    """Write all files. ``host_keys``: a machine's public SSH key, as ``type base64``."""
    folder = inventory / FOLDER
    write_atomically(
        folder / "known_hosts",
        "".join(f"{m.address},{m.name} {host_keys[m.name]}\n" for m in machines),
    )
    common = {
        "User": USER,
        "IdentityFile": folder.absolute() / "key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder.absolute() / "known_hosts",
        "StrictHostKeyChecking": "yes",
        # A machine that is taken down says nothing more: who is logged in there learns it so.
        "ServerAliveInterval": 15,
        "ProxyCommand": PROXY.format(namespace=NAMESPACES / lab),
    }
    # Ansible names a host by its address, people by its name.
    blocks = [f"Host {m.name} {m.address}\n    HostName {m.address}\n" for m in machines]
    every = "Host *\n" + "".join(f"    {key} {value}\n" for key, value in common.items())
    write_atomically(inventory / LAB_CONFIG, "".join(blocks) + every)
    variables = {
        "ansible_user": USER,
        # Ansible names the connections it keeps by address, which another lab may have, too.
        "ansible_control_path_dir": str(_connections(lab)),
        "ansible_ssh_common_args": f"-F {inventory.absolute() / LAB_CONFIG}",
    }
    text = "# Made by `cluster lab up`, removed by `cluster lab down`.\n"
    text += yaml.safe_dump({"all": {"vars": variables}})
    write_atomically(inventory / VARIABLES, text)


def require_up(inventory: Inventory) -> None:
    """Refuse an inventory whose hosts are machines of a lab that is not up.

    Raises:
        ClusterError: there is no such lab, by what `up` writes.
    """
    labs = [host for host in inventory.hosts if "lab_memory_mb" in host.variables]
    # Who says how to log in has machines of his own.
    if any("ansible_user" not in host.variables for host in labs):
        raise not_up(inventory.path)


def not_up(inventory: Path) -> ClusterError:
    """What to say where a command needs the lab of an inventory."""
    return ClusterError(f"The lab of {inventory} is not up: `cluster -i {inventory} lab up`.")


def make_key(inventory: Path) -> str:
    """The lab's own key for its user, made once. Returns the public one."""
    path = inventory / FOLDER / "key"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        generate_key(path, comment=USER)
    return path.with_suffix(".pub").read_text()


def generate_key(path: Path, *, comment: str) -> None:
    """A new Ed25519 key pair at ``path`` and ``path.pub``."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def remove(inventory: Path, lab: str) -> None:
    """Remove all of it, and end the connections that Ansible has kept."""
    for socket in _connections(lab).glob("*"):
        end = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", lab]
        subprocess.run(end, capture_output=True, check=False)
    shutil.rmtree(_connections(lab), ignore_errors=True)
    (inventory / VARIABLES).unlink(missing_ok=True)
    shutil.rmtree(inventory / FOLDER, ignore_errors=True)


def _connections(lab: str) -> Path:
    return Path.home() / ".ansible" / "cp" / lab
