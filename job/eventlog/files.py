"""Where an event log lies: a file, a rolling log's folder, or a folder that holds one log.

The names are Spark's (org.apache.spark.deploy.history.EventLogFileWriters, EventLogFileReaders):
``APPID[_ATTEMPT][.CODEC][.inprogress]``, and a folder ``eventlog_v2_APPID`` with files
``events_NUMBER_APPID[.CODEC]``, after a compaction ``events_NUMBER_APPID[.CODEC].compact``.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from job.errors import UsageError
from job.eventlog.codecs import PIECE, Plain
from job.webhdfs import FileStatus, WebHdfs

NAMED = 10
_ROLLING = re.compile(r"events_(\d+)_.*?(\.compact)?$")
# What each event begins with, whatever the version: {"Event":"SparkListenerLogStart", ...
EVENT = b'{"Event":'


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or folder; ``path`` as its storage takes it."""

    name: str
    path: str
    is_folder: bool


class Storage(Protocol):
    """Where files are. Its methods raise UsageError or JobError with a sentence."""

    def entry(self, path: str) -> Entry | None:
        """What is at a path."""

    def list(self, path: str) -> Sequence[Entry]:
        """What is in a folder."""

    def pieces(self, path: str) -> Iterator[bytes]:
        """A file's bytes."""


class Here:
    """Files of this machine; a pipe as well, for it is read once."""

    def entry(self, path: str) -> Entry | None:
        """What is at a path."""
        try:
            return _here(Path(path)) if Path(path).exists() else None
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from None

    def list(self, path: str) -> Sequence[Entry]:
        """What is in a folder."""
        try:
            return [_here(each) for each in sorted(Path(path).iterdir())]
        except OSError as error:
            raise UsageError(f"{path} cannot be listed: {error.strerror}.") from None

    def pieces(self, path: str) -> Iterator[bytes]:
        """A file's bytes."""
        try:
            with Path(path).open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from None


def _here(path: Path) -> Entry:
    return Entry(name=path.name, path=str(path), is_folder=path.is_dir())


@dataclass(frozen=True)
class OnHdfs:
    """Files of HDFS; paths are HDFS's own."""

    files: WebHdfs
    piece: int = 8 * PIECE

    def entry(self, path: str) -> Entry | None:
        """What is at a path."""
        found = self.files.status(path)
        return _there(found) if found else None

    def list(self, path: str) -> Sequence[Entry]:
        """What is in a folder."""
        return [_there(each) for each in self.files.list(path)]

    def pieces(self, path: str) -> Iterator[bytes]:
        """A file's bytes, asked for piece by piece: a log may be larger than memory."""
        for number in itertools.count():
            # HDFS refuses to begin beyond the end, which it knows once a log is closed only.
            found = self.files.status(path)
            at = number * self.piece
            if found is None or at >= found.bytes:
                return
            yield self.files.read(path, (at, self.piece))


def _there(found: FileStatus) -> Entry:
    return Entry(name=found.name, path=found.path, is_folder=found.is_folder)


def find(storage: Storage, path: str) -> Sequence[Entry]:
    """The files of the event log at ``path``, in the order to read them.

    Raises:
        UsageError: nothing is there, or no log, or several.
    """
    entry = storage.entry(path)
    if entry is None:
        raise UsageError(f"There is no {path}: name an event log, or a folder that holds one.")
    if not entry.is_folder:
        return (entry,)
    inside = _shown(storage.list(path))
    if rolled := _rolled(inside):
        return rolled
    # What is alone is meant, and says itself why it is no log.
    logs = inside if len(inside) == 1 else [each for each in inside if _is_log(storage, each)]
    if not logs:
        raise UsageError(f"{path} holds no run (there is no run.json in it), and no event log.")
    if len(logs) > 1:
        names = ", ".join(each.name for each in logs[:NAMED])
        more = f" and {len(logs) - NAMED} more" if len(logs) > NAMED else ""
        raise UsageError(f"{path} holds {len(logs)} event logs: name one of {names}{more}.")
    return find(storage, logs[0].path)


def _shown(entries: Iterable[Entry]) -> list[Entry]:
    """Without checksums and files that Hadoop hides."""
    return [each for each in entries if not each.name.startswith((".", "_"))]


def _rolled(entries: Iterable[Entry]) -> Sequence[Entry]:
    """The files of a rolling log; a compacted one stands for those up to its number."""
    found = [
        (int(name[1]), name[2] is not None, each)
        for each in entries
        if not each.is_folder and (name := _ROLLING.match(each.name))
    ]
    from_ = max((number for number, compact, _ in found if compact), default=-1)
    return [
        each
        for number, compact, each in sorted(found, key=lambda item: item[0])
        if number > from_ or (number == from_ and compact)
    ]


def _is_log(storage: Storage, entry: Entry) -> bool:
    if entry.is_folder:
        return bool(_rolled(_shown(storage.list(entry.path))))
    try:
        start = next(iter(Plain(storage.pieces(entry.path), entry.name)), b"")
    except UsageError:
        return False
    return start.startswith(EVENT)
