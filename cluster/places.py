"""Where the repository lies, and where the operator's side keeps what it made."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError

CACHE_VARIABLE = "CLUSTER_CACHE"


def repository() -> Path:
    """The folder with ansible.cfg, playbooks/ and inventory/.

    Raises:
        ClusterError: the package was installed without it.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / "ansible.cfg").is_file():
        raise ClusterError(
            f"{root} has no ansible.cfg: clusters are operated from a checkout of the repository, "
            "by its .venv/bin/cluster."
        )
    return root


def cache() -> Path:
    """The folder for downloads and images, made where it is missing."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cluster"
    folder = Path(os.environ.get(CACHE_VARIABLE) or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def state() -> Path:
    """The folder for what is to outlive a command, and is no cache."""
    default = Path.home() / ".local" / "state"
    return Path(os.environ.get("XDG_STATE_HOME") or default).absolute() / "cluster"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out, by a lock on the file PATH. Ends with the process in any case."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
