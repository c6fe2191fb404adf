"""Brings environments to the host it runs on, by its Python's standard library alone, as root.

    host.py OPERATION

The first line of its input is a JSON object of arguments. It prints one JSON object a line:
{"step", "done", "total"} as it goes on, last {"result"} or {"error"}. Once the connection of who
has started it is gone it can print no more, and so ends with it. Everything is made under a name
that begins with .part-, and renamed when it is whole; what begins so is removed by the next who
holds the lock.
"""

import contextlib
import errno
import fcntl
import hashlib
import hmac
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path("/opt/cluster")
ENVIRONMENTS, JARS = "environments", "jars"
FOLDERS = (ROOT, ROOT / ENVIRONMENTS, ROOT / JARS)
# Written by the role spark; Spark itself may be there before, in the image of a lab.
CONFIGURATION = Path("/etc/spark/conf/spark-defaults.conf")
PART = ".part-"
WORK = f"{PART}work"
# In a folder: when a run last used it, and in an environment's, which jars belong to it.
USED, BIGDL = ".used", ".bigdl"
# A killed push's program ends as soon as it has something to say.
LOCK_PATIENCE_S = 30.0
CHUNK = 2**18
SAY_EVERY_S = 0.5
NETWORK_PATIENCE_S = 60.0
# Of the zip of Spark's jars, so that the same jars give the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


class HostError(Exception):
    """One sentence for the person at the other end."""


def say(**values: Any) -> None:
    """One line to the other end; raises where it is gone."""
    print(json.dumps(values), flush=True)


def counted(pieces: Iterable[bytes], step: str, total: int) -> Iterator[bytes]:
    """The pieces, while it is said how far they have come."""
    done, said_at = 0, 0.0
    for piece in pieces:
        yield piece
        done += len(piece)
        if (now := time.monotonic()) > said_at + SAY_EVERY_S:
            say(step=step, done=done, total=total)
            said_at = now


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """A file's content."""
    while piece := file.read(CHUNK):
        yield piece


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Be the only one who changes something here, with leftovers removed."""
    ROOT.mkdir(exist_ok=True)
    with (ROOT / ".lock").open("w") as file:
        ends = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise HostError(
                        "another `cluster env push` or `gc` works there: wait until it has ended"
                    ) from None
                say(step="Waiting for another push")
                time.sleep(1)
        for folder in FOLDERS:
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        for left in leftovers():
            shutil.rmtree(left)
        yield


def leftovers() -> list[Path]:
    """What has no name of its own: a push makes it now, or was killed."""
    return [path for folder in FOLDERS for path in folder.glob(f"{PART}*")]


def size(folder: Path) -> int:
    """Bytes of what is in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def look(_: dict[str, Any]) -> dict[str, Any]:
    """What the host is and what it has."""
    folder = ROOT if ROOT.exists() else ROOT.parent
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except ValueError:
        libc = ""
    spark = Path("/opt/spark/.digest")
    return {
        "machine": platform.machine(),
        "glibc": libc.partition(" ")[2],
        # What a killed push has left will be removed.
        "free_bytes": shutil.disk_usage(folder).free + sum(map(size, leftovers())),
        "environments": {name: bigdl_of(name) for name in names(ROOT / ENVIRONMENTS)},
        "jars": names(ROOT / JARS),
        "spark": spark.read_text().strip() if spark.exists() else "",
        "deployed": CONFIGURATION.exists(),
        "user": os.environ.get("SUDO_USER", "root"),
    }


def names(folder: Path) -> list[str]:
    """What is whole in a folder."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in inside if not path.name.startswith("."))


def bigdl_of(digest: str) -> str:
    """The digest of BigDL's jars that belong to an environment here."""
    return (ROOT / ENVIRONMENTS / digest / BIGDL).read_text().strip()


def bigdl_name(digest: str) -> str:
    """The name of the folder of these jars."""
    return f"bigdl-{bigdl_of(digest)}"


def receive(wanted: dict[str, Any]) -> dict[str, Any]:
    """Take a tar of archives from the input, unpack those that are missing here, pass them on.

    They are passed on to HDFS where ``publish`` has arguments for it, and to the hosts that ask for
    them where ``serve`` has the address to listen on, until the input ends.
    """
    with locked():
        work = ROOT / WORK
        work.mkdir(mode=0o700)
        try:
            result: dict[str, Any] = {"receive_s": timed(take, work, wanted["total"])}
            result["unpack_s"] = timed(unpack_received, work, wanted["unpack"])
            if wanted["publish"]:
                result["hdfs"] = publish(work, wanted["publish"])
            if wanted["serve"]:
                serve(work, wanted["serve"])
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return result


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds that a call takes."""
    started = time.monotonic()
    function(*arguments)
    return time.monotonic() - started


def take(work: Path, total: int) -> None:
    """The files of the tar on the input."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:

        def received() -> Iterator[bytes]:
            for member in tar:
                content = tar.extractfile(member)
                if content is None or "/" in member.name:
                    raise HostError(f"{member.name} is not expected")
                with (work / member.name).open("wb") as file:
                    for piece in pieces_of(content):
                        file.write(piece)
                        yield piece

        try:
            done = sum(map(len, counted(received(), "Receiving", total)))
        except tarfile.ReadError:
            done = -1
    if done != total:
        raise HostError("the connection ended too early: push again")


def unpack_received(work: Path, items: list[dict[str, Any]]) -> None:
    """Give what was received its place here."""
    for item in items:
        archive = work / item["file"]
        with archive.open("rb") as file:
            step = f"Unpacking {item['name']}"
            unpack(counted(pieces_of(file), step, archive.stat().st_size), item)


def unpack(pieces: Iterable[bytes], item: dict[str, Any]) -> None:
    """Unpack an archive that comes in pieces, whole or not at all."""
    part = ROOT / item["folder"] / f"{PART}{item['name']}"
    part.mkdir()
    for name, text in item["notes"].items():
        (part / name).write_text(text)
    command = ["tar", item["options"], "-", "--no-same-owner", "-C", str(part)]
    # Not a pipe, which nobody reads meanwhile: of a full disk tar says so for every file.
    with (
        os.fdopen(os.memfd_create("errors"), "w+b") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as tar,
    ):
        assert tar.stdin
        try:
            with contextlib.suppress(BrokenPipeError):
                for piece in pieces:
                    tar.stdin.write(piece)
            with contextlib.suppress(BrokenPipeError):
                tar.stdin.close()
            tar.wait()
        except BaseException:
            tar.kill()
            raise
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if tar.returncode:
        shutil.rmtree(part, ignore_errors=True)
        if "No space left" in said:
            raise OSError(errno.ENOSPC, "")
        raise HostError(f"tar failed: {(said.strip() or 'it said nothing').splitlines()[-1]}")
    settle(part, ROOT / item["folder"] / item["name"])


def settle(part: Path, final: Path) -> None:
    """Give a whole folder its name, once it is on the disk: the power may fail at any moment."""
    (part / USED).touch()
    # A run's user tells by its time that it uses the folder.
    (part / USED).chmod(0o666)
    part.chmod(0o755)
    subprocess.run(["sync", "-f", str(part)], check=True)
    part.rename(final)


def publish(work: Path, arguments: dict[str, Any]) -> Any:
    """Have the environment's own Python put to HDFS what is missing there."""
    if arguments["spark"]:
        zip_jars(Path("/opt/spark/jars"), work / arguments["spark"])
    command = [arguments["python"], "-I", "publish.zip", json.dumps(arguments)]
    last: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=work) as program:
        assert program.stdout
        try:
            for line in program.stdout:
                last = json.loads(line)
                if "step" in last:
                    say(**last)
        except BaseException:
            program.kill()
            raise
    if "error" in last:
        raise HostError(last["error"])
    if "result" not in last:
        raise HostError(f"writing to HDFS ended with {program.returncode}")
    return last["result"]


def zip_jars(jars: Path, target: Path) -> None:
    """A zip of the jars at its top, not compressed a second time."""
    found = sorted(jars.glob("*.jar"))
    if not found:
        raise HostError(f"{jars} holds no jars: run `cluster deploy`")
    total = sum(jar.stat().st_size for jar in found)

    def pieces() -> Iterator[bytes]:
        for jar in found:
            entry = zipfile.ZipInfo(jar.name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.file_size = jar.stat().st_size
            with jar.open("rb") as file, archive.open(entry, "w") as written:
                for piece in pieces_of(file):
                    written.write(piece)
                    yield piece

    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for _ in counted(pieces(), "Packing Spark's jars", total):
            pass


def serve(work: Path, wanted: dict[str, Any]) -> None:
    """Give the received files to who knows the token, until the input ends."""
    token = wanted["token"].encode()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(NETWORK_PATIENCE_S)
            asked = connection.recv(len(token) + 256)
            name = asked[len(token) :].decode().strip()
            if hmac.compare_digest(asked[: len(token)], token) and "/" not in name:
                with (work / name).open("rb") as file:
                    connection.sendfile(file)

    def accept(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server((wanted["address"], 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        say(serving=server.getsockname()[1])

        def until_end() -> None:
            while os.read(sys.stdin.fileno(), CHUNK):
                pass

        waiting = threading.Thread(target=until_end, daemon=True)
        waiting.start()
        while waiting.is_alive():
            waiting.join(SAY_EVERY_S)
            say(step="Serving the other hosts")


def pull(wanted: dict[str, Any]) -> dict[str, Any]:
    """Fetch what is missing here from the host that serves it."""
    with locked():
        for item in wanted["unpack"]:
            unpack(fetched(wanted, item), item)
    return {}


def fetched(wanted: dict[str, Any], item: dict[str, Any]) -> Iterator[bytes]:
    """An archive's pieces from the serving host; raises where it is another than was wanted."""
    address = (wanted["address"], wanted["port"])
    digest = hashlib.sha256()
    with socket.create_connection(address, NETWORK_PATIENCE_S) as connection:
        connection.sendall(f"{wanted['token']}{item['file']}\n".encode())

        def received() -> Iterator[bytes]:
            while piece := connection.recv(CHUNK):
                yield piece

        for piece in counted(received(), f"Fetching {item['name']}", item["bytes"]):
            digest.update(piece)
            yield piece
    if digest.hexdigest() != item["sha256"]:
        raise HostError(f"{item['name']} did not come whole from {address[0]}: push again")


def gc(wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Remove folders that were last used before a time; tells of each, and why it stays."""
    kept, told = set(wanted["in_use"]), []
    with locked():
        for digest in names(ROOT / ENVIRONMENTS):
            path = ROOT / ENVIRONMENTS / digest
            why = wanted["in_use"].get(digest, "") or running(path)
            told.append(judged(path, why, wanted))
            if not told[-1]["dropped"]:
                kept.add(bigdl_name(digest))
        for name in names(ROOT / JARS):
            why = "an environment that stays needs it" if name in kept else ""
            told.append(judged(ROOT / JARS / name, why, wanted))
    return told


def judged(path: Path, why: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Remove a folder unless it is in use, or was lately."""
    used_at = (path / USED).stat().st_mtime
    if not why and used_at > wanted["before"]:
        why = "used lately"
    held = size(path)
    if not (why or wanted["dry_run"]):
        say(step=f"Removing {path.name}")
        gone = path.with_name(f"{PART}{path.name}")
        path.rename(gone)
        shutil.rmtree(gone)
    return {
        "name": str(path),
        "bytes": held,
        "used_at": used_at,
        "dropped": not why,
        "why": why,
    }


def running(folder: Path) -> str:
    """Which process runs a program of the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder in (process / "exe").readlink().parents:
                return f"process {process.name} runs it"
    return ""


OPERATIONS = {"look": look, "receive": receive, "pull": pull, "gc": gc}


def main() -> None:
    """Do one thing; what went wrong is the last line."""
    try:
        arguments = json.loads(sys.stdin.buffer.readline())
        say(result=OPERATIONS[sys.argv[-1]](arguments))
    except BrokenPipeError:
        # Nobody listens any more.
        os._exit(1)
    except HostError as error:
        say(error=str(error))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say(error=f"the disk with {ROOT} is full: make room there" if full else str(error))


main()
