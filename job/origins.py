"""Where the files of an input are read from: this machine, HDFS, or the driver.

An origin travels with the work; its connection is made where it is first used, and kept.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import quote

import httpx

from job.errors import JobError
from job.images.decode import ImageError
from job.webhdfs import HdfsError, WebHdfs

MAX_BYTES = 2**30
"""The largest file read: as many bytes as the largest image has, uncompressed, in 16 bits."""

TIMEOUT_S = 20.0
ATTEMPTS = 3


# Offset and length, in bytes.
Part = tuple[int, int]


class UnreachableError(JobError):
    """The place is not reached from this host: its images are for another one to try."""


class Origin(Protocol):
    """One of the places. Both methods raise ImageError where the file itself is at fault."""

    near: ClassVar[bool]  # no network is in between

    def read(self, path: str, part: Part | None = None) -> bytes:
        """All of a file, or a part of it."""

    def local(self, path: str, part: Part | None, folder: Callable[[], Path]) -> Path:
        """A file of this machine with these bytes; one that must be made goes into FOLDER()."""


@dataclass(frozen=True)
class ThisMachine:
    """Files where the worker runs."""

    near: ClassVar[bool] = True

    def read(self, path: str, part: Part | None = None) -> bytes:
        """Read it; whole files alone."""
        with Path(path).open("rb") as file:
            check_size(Path(path).stat().st_size)
            return file.read()

    def local(self, path: str, part: Part | None, folder: Callable[[], Path]) -> Path:
        """Itself."""
        return Path(path)


@dataclass(frozen=True)
class Hdfs:
    """HDFS by its web interface, for which a host needs no Hadoop."""

    namenode: str
    user: str
    near: ClassVar[bool] = False

    def read(self, path: str, part: Part | None = None) -> bytes:
        """Read it from a DataNode that answers."""
        files = hdfs(self.namenode, self.user)
        try:
            return files.read(path, part)
        except HdfsError as error:
            with contextlib.suppress(HdfsError):
                if files.status(path) is None:
                    raise ImageError("read", "the file is not on HDFS") from error
            raise UnreachableError(str(error)) from error

    def local(self, path: str, part: Part | None, folder: Callable[[], Path]) -> Path:
        """A copy."""
        return _copied(self.read(path, part), path, folder)


@dataclass(frozen=True)
class Driver:
    """The driver's file server (``job.server``)."""

    url: str
    near: ClassVar[bool] = False

    def read(self, path: str, part: Part | None = None) -> bytes:
        """Ask for it, whole; a connection that breaks is tried again."""
        for attempt in range(ATTEMPTS):
            try:
                answer = _client().get(f"{self.url}{quote(path)}")
                break
            except httpx.TransportError as error:
                if attempt == ATTEMPTS - 1:
                    raise UnreachableError(f"the driver at {self.url} does not answer") from error
        if answer.status_code != HTTPStatus.OK:
            raise ImageError("read", f"the file cannot be read: {answer.text.strip()}")
        return answer.content

    def local(self, path: str, part: Part | None, folder: Callable[[], Path]) -> Path:
        """A copy."""
        return _copied(self.read(path, part), path, folder)


@functools.cache
def hdfs(namenode: str, user: str, *, patient: bool = True) -> WebHdfs:
    """The HDFS of a NameNode's web address (host:port), for a user; one connection a process.

    One that is not patient asks no DataNode twice.
    """
    client = httpx.Client(base_url=f"http://{namenode}", trust_env=False)
    return WebHdfs(client, user) if patient else WebHdfs(client, user, waits_s=())


@functools.cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT_S, trust_env=False)


def _copied(content: bytes, path: str, folder: Callable[[], Path]) -> Path:
    copy = folder() / Path(path).name
    copy.write_bytes(content)
    return copy


def check_size(size: int) -> None:
    """Raise ImageError for a file that no image needs."""
    if size > MAX_BYTES:
        raise ImageError("read", f"the file has {size:,} bytes, more than {MAX_BYTES:,}")
