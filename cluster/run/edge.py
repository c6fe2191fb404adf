"""A run's driver on the edge host: sent there, started, asked, interrupted, and brought back.

On the edge host a run is a folder: request.json, input/, run/ (the run directory), status.json and
driver.log. The driver is a unit of systemd, so that it goes on without us, and ends as a whole.
"""

import contextlib
import io
import json
import shlex
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.errors import ClusterError
from cluster.inventory import Host, Inventory
from cluster.run.code import Code
from cluster.ssh import CHUNK, Fleet
from job.model import Model
from job.parts import write_atomically
from job.spec import ClusterSpec

# The role edge makes it.
FOLDER = "/data/runs"
LOG_LINES = 5
STOP_S = 120
HADOOP_CONF = "/etc/hadoop/conf"


@dataclass(frozen=True, kw_only=True)
class Status:
    """``active``: the driver's process lives. ``said`` is its status.json, empty at first."""

    active: bool
    said: Mapping[str, Any]
    log: str


@dataclass(frozen=True, kw_only=True)
class EdgeRun:
    """One run on an edge host."""

    fleet: Fleet
    edge: Host
    id: str

    @property
    def is_here(self) -> bool:
        """Files of this machine need not be sent."""
        return False

    @property
    def root(self) -> str:
        """Where runs are."""
        return str(self.edge.variables.get("edge_folder", FOLDER))

    @property
    def folder(self) -> str:
        """Where this one is."""
        return f"{self.root}/{self.id}"

    @property
    def unit(self) -> str:
        """The driver's unit."""
        return f"cluster-run-{self.id}"

    @property
    def place(self) -> str:
        """Where the driver is, in a sentence."""
        return self.edge.name

    @property
    def end_it(self) -> str:
        """The command that ends the driver at once."""
        return f"sudo systemctl kill --signal=KILL {self.unit}"

    @property
    def again(self) -> str:
        """The command that follows the run."""
        return f"cluster run --attach {self.id}"

    def http(self, port: int) -> httpx.Client:
        """A client for the driver's pages."""
        return self.fleet.http(self.edge, port)

    def adapt(self, cluster: ClusterSpec, _: Inventory) -> ClusterSpec:
        """The cluster for a driver on the edge host, as which it was surveyed."""
        return cluster

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Make the folder, for the run to be started in; removed where that fails."""
        self._sh(f"mkdir -p -m 755 {self._quoted}/input && chmod 755 {self._quoted}")
        try:
            yield
        except BaseException:
            with contextlib.suppress(ClusterError):
                self.remove()
            raise

    def send_code(self, code: Code) -> str:
        """The folder of the program, sent where it is not there yet."""
        folder = f"{self.root}/.code/{code.digest}"
        self._send_once(folder, code.tar)
        return folder

    def send_model(self, model: Model) -> str:
        """The folder of the model, sent where it is not there yet."""
        folder = f"{self.root}/.models/{model.digest.partition(':')[2][:16]}"

        def packed() -> bytes:
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
                for path in sorted(model.folder.iterdir()):
                    tar.add(path, path.name)
            return archive.getvalue()

        self._send_once(folder, packed)
        return folder

    def send_files(self, files: Iterable[tuple[Path, str]], into: str) -> None:
        """Send files under names below FOLDER/INTO."""
        command = f"tar -C {self._quoted}/{into} --no-same-owner -xf -"
        self._send(command, _tarred(files))

    def send_run(self, path: Path, **fields: str) -> None:
        """Send a run directory that is to be gone on with; FIELDS of its run.json differ there."""
        record = (path / "run.json").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            changed = Path(folder)
            (changed / "run.json").write_text(record, encoding="utf-8")
            rewrite(changed, **fields)
            files = [(changed / "run.json", "run.json")]
            files += [
                (file, str(file.relative_to(path)))
                for file in sorted(path.rglob("*"))
                if file.is_file() and file.name != "run.json"
            ]
            self._sh(f"mkdir {self._quoted}/run {self._quoted}/run/_parts")
            self.send_files(files, "run")

    def start(self, request: Mapping[str, Any], python: str, code: str) -> None:
        """Start the driver. A request is what ``python -m job`` takes."""
        self._send_request(request)
        environment = {
            "PYTHONPATH": code,
            "PYTHONUNBUFFERED": "1",
            "SPARK_HOME": "/opt/spark",
            "SPARK_CONF_DIR": "/etc/spark/conf",
            "HADOOP_CONF_DIR": HADOOP_CONF,
        }
        properties = {
            "WorkingDirectory": self.folder,
            "StandardOutput": f"append:{self.folder}/driver.log",
            "StandardError": f"append:{self.folder}/driver.log",
            "KillSignal": "SIGINT",
            "TimeoutStopSec": str(STOP_S),
        }
        words = ["systemd-run", "--quiet", "--collect", f"--unit={self.unit}"]
        words += ["--uid=$(id -u)", "--gid=$(id -g)"]
        words += [shlex.quote(f"--setenv={name}={value}") for name, value in environment.items()]
        words += [shlex.quote(f"--property={name}={value}") for name, value in properties.items()]
        words += [shlex.quote(python), "-m", "job", self._quoted]
        self._sh(f"sudo -n {' '.join(words)}")

    def status(self) -> Status:
        """What the driver says of itself, and whether it lives."""
        asked = f"systemctl is-active {self.unit}; {self._telling}"
        active, _, told = self._sh(asked).partition("\n")
        return self._status(told, active=active in ("active", "activating", "deactivating"))

    def request(self) -> Any:
        """What it was started with.

        Raises:
            ClusterError: there is no such run on the edge host.
        """
        text = self._sh(f"cat {self._quoted}/request.json 2>/dev/null || :")
        if not text:
            known = self._sh(f"ls {shlex.quote(self.root)} 2>/dev/null || :").split()
            there = f"those there: {', '.join(known)}" if known else "there is none"
            raise ClusterError(f"There is no run {self.id} on {self.place}; {there}.")
        return json.loads(text)

    def interrupt(self) -> None:
        """As Ctrl-C does to a driver in a terminal."""
        self._sh(f"sudo -n systemctl kill --signal=INT --kill-whom=main {self.unit} || :")

    def fetch(self, target: Path) -> None:
        """Bring the run directory into TARGET; files there of the same name are replaced."""
        target.mkdir(parents=True, exist_ok=True)
        unpack(self._receive(f"tar -C {self._quoted}/run --exclude=_scratch -cf - ."), target)

    def remove(self) -> None:
        """Remove the folder."""
        self._sh(f"rm -rf {self._quoted}")

    @property
    def _telling(self) -> str:
        """The command for what ``_status`` takes."""
        return (
            f"cat {self._quoted}/status.json 2>/dev/null; echo;"
            f" tail -n {LOG_LINES} {self._quoted}/driver.log 2>/dev/null || :"
        )

    @staticmethod
    def _status(told: str, *, active: bool) -> Status:
        said, _, log = told.partition("\n")
        return Status(active=active, said=json.loads(said) if said else {}, log=log.strip())

    @property
    def _quoted(self) -> str:
        return shlex.quote(self.folder)

    def _send_request(self, request: Mapping[str, Any]) -> None:
        self._send(f"cat > {self._quoted}/request.json", [json.dumps(request).encode()])

    def _sh(self, command: str) -> str:
        return self.fleet.run(self.edge, command).check().stdout

    def _send(self, command: str, chunks: Iterable[bytes]) -> None:
        self.fleet.send(self.edge, command, chunks)

    def _receive(self, command: str) -> Iterator[bytes]:
        return self.fleet.receive(self.edge, command)

    def _send_once(self, folder: str, packed: Any) -> None:
        quoted = shlex.quote(folder)
        if self._sh(f"test -d {quoted} && echo there || :"):
            return
        part = shlex.quote(f"{folder}.{self.id}.part")
        command = (
            f"mkdir -p {part} && tar -C {part} --no-same-owner -xzf - &&"
            f" {{ mv -T {part} {quoted} 2>/dev/null || test -d {quoted}; }}"
        )
        content = packed()
        chunks = (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))
        self._send(command, chunks)


def rewrite(path: Path, **fields: Any) -> None:
    """Change fields of the run.json in PATH, which differ between the edge host and here."""
    file = path / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record["model"]["folder"] = fields.pop("model", record["model"]["folder"])
    record |= fields
    write_atomically(file, json.dumps(record, indent=2) + "\n")


def unpack(chunks: Iterator[bytes], target: Path) -> None:
    """Unpack a tar archive into the folder TARGET while it comes."""
    with tarfile.open(fileobj=_Stream(chunks), mode="r|") as archive:
        archive.extractall(target, filter="data")


def _tarred(files: Iterable[tuple[Path, str]]) -> Iterator[bytes]:
    """A tar archive of files under other names, made while it is read."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w|", bufsize=CHUNK, dereference=True) as archive:
        for path, name in files:
            try:
                archive.add(path, name, recursive=False)
            except OSError:
                # A link to nothing: the run will say of this image that it cannot be read.
                missing = tarfile.TarInfo(name)
                missing.type, missing.linkname = tarfile.SYMTYPE, "unreadable"
                archive.addfile(missing)
            if buffer.tell():
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()


class _Stream(io.RawIOBase):
    """Chunks as a file that tarfile can read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def read(self, size: int = -1) -> bytes:
        """At most SIZE bytes; fewer at the end alone."""
        parts, missing = [], size
        while missing > 0:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    break
            parts.append(self._rest[:missing])
            self._rest = self._rest[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)
