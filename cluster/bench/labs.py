"""The lab of a shipped inventory for a benchmark: deployed, operated, and gone at the end."""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.lab import image, nspawn, requirements
from cluster.lab.machines import machines_of
from cluster.places import cache, repository
from cluster.signals import handled

# On a computer that has other things to do.
LIMIT_S = 900.0


def prepare(tell: Callable[[str], None]) -> None:
    """See that labs can run here, and make their image before anything is timed.

    Raises:
        ClusterError: they cannot.
    """
    if sentence := requirements.missing():
        raise ClusterError(sentence)
    used = nspawn.images_in_use()
    image.ensure(repository=repository(), cache=cache(), used=used, say=tell)


@contextlib.contextmanager
def deployed(name: str, tell: Callable[[str], None]) -> Iterator[Inventory]:
    """The machines of a copy of inventory/NAME with all services, until the end.

    Raises:
        ClusterError: labs cannot run here, or a command failed; the sentence is its own.
    """
    prepare(tell)
    with tempfile.TemporaryDirectory(prefix="bench-") as parent:
        folder = Path(parent) / name
        ignored = shutil.ignore_patterns(".lab", "lab.yml")
        shutil.copytree(repository() / "inventory" / name, folder, ignore=ignored)
        with operated(folder, tell) as inventory:
            yield inventory


@contextlib.contextmanager
def operated(folder: Path, tell: Callable[[str], None]) -> Iterator[Inventory]:
    """The same of the inventory in FOLDER, once ``prepare`` was called."""
    requirements.check(machines_of(Inventory.load(folder)))
    try:
        tell(f"{folder.name}: making its machines")
        command(folder, "lab", "up")
        tell(f"{folder.name}: deploying")
        command(folder, "deploy", "--format", "json")
        yield Inventory.load(folder)
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove the machines of the inventory in FOLDER; another Ctrl-C, or SIGTERM, stops it not."""
    # Commands that are begun ignore what is ignored here.
    with handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
        command(folder, "lab", "down")


def command(inventory: Path, *arguments: str, seconds: float = LIMIT_S) -> str:
    """What the command prints; as a user would run it, start of the interpreter included.

    Raises:
        ClusterError: it failed, or was not done in so many seconds.
    """
    words = [str(Path(sys.executable).with_name("cluster")), "-i", str(inventory), *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ClusterError(f"`{' '.join(words)}` was not done in {seconds:g} s.") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ClusterError(f"`{' '.join(words)}` failed: {said[-1] if said else ''}")
    return done.stdout


@contextlib.contextmanager
def bounded(seconds: float, what: str) -> Iterator[None]:
    """End what is inside after so many seconds, wherever the main thread is then.

    Raises:
        ClusterError: WHAT was not done by then.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("signals come to the main thread")

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise _OverdueError

    with handled(ring, signal.SIGALRM):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        except _OverdueError:
            raise ClusterError(f"{what} was not done in {seconds:g} s.") from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class _OverdueError(Exception):
    """None of those that a lost connection or a failed command raises, which are tried again."""
