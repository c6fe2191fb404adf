"""Files of HDFS over its HTTP interface (hadoop.apache.org/docs/r3.5.0, WebHDFS REST API).

It needs no Java and no Hadoop on the host. The NameNode answers where a file's bytes go to or come
from with a redirect to a DataNode; it is followed by hand, so that a DataNode that has failed is
known and left out when the NameNode is asked again.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

import httpx

from job.errors import JobError

PORT = 9870
# A host that is off answers no connection, a frozen one takes it and says nothing.
TIMEOUT = httpx.Timeout(20.0, connect=5.0)
# Before each further try, in seconds: a NameNode that starts again needs some.
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
# What an HDFS that has just started, or changes its NameNode, says.
PASSING = ("SafeModeException", "RetriableException", "StandbyException")
NO_ROOM = ("could only be written to", "Failed to find datanode", "No space left", "out of space")

T = TypeVar("T")


class HdfsError(JobError):
    """HDFS cannot do what was asked; the sentence says what and what to do."""


class _RefusedError(HdfsError):
    """The NameNode or a DataNode answered with a RemoteException of the class ``kind``."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class _LostError(HdfsError):
    """No whole answer came. ``host`` is the DataNode's; ``began`` says that it may have written."""

    def __init__(self, sentence: str, host: str = "", *, began: bool = False) -> None:
        super().__init__(sentence)
        self.host = host
        self.began = began


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """A file or folder. Times are epoch seconds, ``mode`` is octal as in "644"."""

    name: str
    path: str
    is_folder: bool
    bytes: int
    modified_at: float
    accessed_at: float
    mode: str
    replication: int
    owner: str


class WebHdfs:
    """HDFS for one user. Threads may share it; ``client``'s base_url is the NameNode's address.

    Every method raises HdfsError. What failed in passing is tried again, some 16 s long, with every
    wait for an answer bounded by ``TIMEOUT``.
    """

    def __init__(
        self, client: httpx.Client, user: str, *, waits_s: tuple[float, ...] = WAITS_S
    ) -> None:
        """``waits_s``: before each further try."""
        self._client = client
        self._user = user
        self._waits_s = waits_s

    def status(self, path: str) -> FileStatus | None:
        """What is known of a file or folder; None where there is none."""
        with contextlib.suppress(_MissingError):
            found = self._ask("GET", path, "GETFILESTATUS")["FileStatus"]
            return _status(path, path, found)
        return None

    def list(self, path: str) -> tuple[FileStatus, ...]:
        """What is in a folder, in order of names; empty where there is no such folder."""
        with contextlib.suppress(_MissingError):
            found = self._ask("GET", path, "LISTSTATUS")["FileStatuses"]["FileStatus"]
            inside = (
                _status(f"{path.rstrip('/')}/{each['pathSuffix']}", path, each) for each in found
            )
            return tuple(sorted(inside, key=lambda status: status.name))
        return ()

    def read(self, path: str, part: tuple[int, int] | None = None) -> bytes:
        """A file's bytes; of a PART (offset, length) those alone."""
        query = {"offset": str(part[0]), "length": str(part[1])} if part else {}

        def attempt(excluded: dict[str, str]) -> bytes:
            where = self._redirect("GET", path, "OPEN", excluded, **query)
            return self._exchange("GET", where, path).content

        return self._retried(attempt)

    def write(
        self,
        path: str,
        content: bytes | Iterable[bytes],
        *,
        replication: int | None = None,
        overwrite: bool = False,
    ) -> None:
        """Make a file of mode 644, and the folders above it.

        It is visible while it grows: write under another name, then rename. An iterator, which can
        be read but once, is not sent again after a failure.
        """
        if not overwrite and self.status(path):
            raise HdfsError(f"{path} is on HDFS already.")
        options = {"permission": "644"} | ({"replication": str(replication)} if replication else {})
        once = not isinstance(content, bytes) and iter(content) is content
        ours = overwrite

        def attempt(excluded: dict[str, str]) -> None:
            nonlocal ours
            where = self._redirect(
                "PUT", path, "CREATE", excluded, **options, overwrite=str(ours).lower()
            )
            try:
                self._exchange("PUT", where, path, content=content)
            except _LostError as lost:
                # What the failed try has left of the file is in the way of the next.
                ours = ours or lost.began
                if once and lost.began:
                    raise HdfsError(str(lost)) from lost
                raise

        self._retried(attempt)

    def rename(self, old: str, new: str) -> None:
        """Give a file or folder another name, which must be free."""
        try:
            # With options it raises where the name is taken; without, it moves into a folder.
            self._ask("PUT", old, "RENAME", destination=new, renameoptions="NONE")
        except _MissingError:
            # An answer that was lost: the second try finds it done.
            if self.status(new) is None:
                raise

    def delete(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file or folder; nothing happens where there is none."""
        self._ask("DELETE", path, "DELETE", recursive=str(recursive).lower())

    def make_folder(self, path: str, mode: str = "755") -> None:
        """Make a folder, and those above it, where they are missing."""
        self._ask("PUT", path, "MKDIRS", permission=mode)

    def set_replication(self, path: str, count: int) -> None:
        """Have COUNT copies of a file's blocks; HDFS makes them afterwards."""
        self._ask("PUT", path, "SETREPLICATION", replication=str(count))

    def set_mode(self, path: str, mode: str) -> None:
        """Change a file's or folder's permissions; octal as in "644"."""
        self._ask("PUT", path, "SETPERMISSION", permission=mode)

    def set_accessed(self, path: str, at_epoch_s: float) -> None:
        """Change a file's access time alone: another modification time breaks YARN's cache."""
        at_ms = str(int(at_epoch_s * 1000))
        self._ask("PUT", path, "SETTIMES", modificationtime="-1", accesstime=at_ms)

    def copies(self, path: str) -> int:
        """On how many DataNodes the block of the file that is on the fewest lies."""
        found = self._ask("GET", path, "GETFILEBLOCKLOCATIONS")["BlockLocations"]
        blocks = found["BlockLocation"]
        return min((len(block["hosts"]) for block in blocks), default=0)

    def _ask(self, method: str, path: str, operation: str, **query: str) -> Any:
        """What the NameNode answers to what it does itself."""

        def attempt(_: dict[str, str]) -> Any:
            answer = self._exchange(method, self._url(path, operation, query), path)
            return answer.json() if answer.content else {}

        return self._retried(attempt)

    def _url(self, path: str, operation: str, query: dict[str, str]) -> httpx.URL:
        if not path.startswith("/"):
            raise HdfsError(f"{path} is no path on HDFS: it begins with a slash.")
        base = f"{str(self._client.base_url).rstrip('/')}/webhdfs/v1{quote(path)}"
        return httpx.URL(base, params={"op": operation, "user.name": self._user, **query})

    def _redirect(
        self, method: str, path: str, operation: str, excluded: dict[str, str], **query: str
    ) -> httpx.URL:
        """The address at a DataNode that the NameNode leads to, another than those excluded."""
        if excluded:
            query["excludedatanodes"] = ",".join(excluded.values())
        url = self._url(path, operation, query)
        answer = self._exchange(method, url, path)
        if "location" not in answer.headers:
            raise HdfsError(
                f"{_host(url)} leads to no DataNode for {path}: is it HDFS's NameNode, and is"
                " dfs.webhdfs.enabled left on?"
            )
        return httpx.URL(urljoin(str(url), answer.headers["location"]))

    def _exchange(
        self,
        method: str,
        url: httpx.URL,
        path: str,
        *,
        content: bytes | Iterable[bytes] | None = None,
    ) -> httpx.Response:
        """A whole answer that is no refusal."""
        try:
            answer = self._client.request(
                method, url, content=content, timeout=TIMEOUT, follow_redirects=False
            )
        except (httpx.TransportError, OSError) as error:
            why = str(error) or type(error).__name__
            began = content is not None and not isinstance(
                error, httpx.ConnectError | httpx.ConnectTimeout
            )
            raise _LostError(
                f"HDFS does not answer ({_host(url)}, for {path}: {why}): see `cluster status`.",
                url.host,
                began=began,
            ) from error
        if answer.is_error:
            raise self._refusal(answer, path)
        return answer

    def _refusal(self, answer: httpx.Response, path: str) -> HdfsError:
        try:
            said = answer.json()["RemoteException"]
            kind, message = str(said["exception"]), str(said["message"]).split("\n")[0]
        except (ValueError, KeyError, TypeError):
            said = f"{answer.status_code} {answer.reason_phrase}"
            sentence = f"HDFS answered {said} for {path} ({_host(answer.request.url)})."
            # Something else than HDFS's own code: Jetty, or a proxy.
            return _LostError(sentence) if answer.is_server_error else HdfsError(sentence)
        if kind == "FileNotFoundException":
            return _MissingError(kind, f"There is no {path} on HDFS.")
        return _RefusedError(kind, _sentence(kind, message, path, self._user))

    def _retried(self, attempt: Callable[[dict[str, str]], T]) -> T:
        """What an attempt gives; it is told the DataNodes that failed before, by address."""
        excluded: dict[str, str] = {}
        lost: _LostError | None = None
        for wait in (*self._waits_s, None):
            try:
                return attempt(excluded)
            except _LostError as error:
                lost = error
                if error.host not in ("", self._client.base_url.host, *excluded):
                    excluded[error.host] = _address(error.host)
            except _RefusedError as error:
                if error.kind not in PASSING and not (excluded and error.kind == "IOException"):
                    raise
                # No DataNode is left but those that failed: perhaps they are back.
                excluded.clear()
                if wait is None:
                    raise lost or error from error
            if wait is None:
                assert lost is not None
                raise lost
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


class _MissingError(_RefusedError):
    """There is no such file or folder."""


def _sentence(kind: str, message: str, path: str, user: str) -> str:
    if kind == "SafeModeException":
        return (
            f"HDFS is in safe mode and changes nothing, so {path} stays as it is: wait until its"
            " DataNodes are there, see `cluster status`; `hdfs dfsadmin -safemode leave` ends a"
            " mode that was set by hand."
        )
    if "QuotaExceeded" in kind:
        return (
            f"The quota of HDFS is used up at {path} ({message.rstrip('.')}): remove what is not"
            " needed there, or raise the quota (`hdfs dfsadmin -setSpaceQuota`)."
        )
    if any(words in message for words in NO_ROOM):
        return (
            f"HDFS has no DataNode with room for {path}: remove what is not needed"
            " (`cluster env gc`), or see with `cluster status` that its DataNodes are up."
        )
    if kind == "AccessControlException":
        return (
            f"HDFS does not let {user} at {path} ({message.rstrip('.')}): have its owner change"
            " the permissions, or use an account of the inventory's hadoop_users."
        )
    if kind == "FileAlreadyExistsException":
        return f"{path} is on HDFS already ({message.rstrip('.')})."
    return f"HDFS refuses {path}: {message.rstrip('.')} ({kind})."


def _status(path: str, asked: str, said: dict[str, Any]) -> FileStatus:
    path = path.rstrip("/") or asked
    return FileStatus(
        name=path.rpartition("/")[2],
        path=path,
        is_folder=said["type"] == "DIRECTORY",
        bytes=said["length"],
        modified_at=said["modificationTime"] / 1000,
        accessed_at=said["accessTime"] / 1000,
        mode=said["permission"],
        replication=said["replication"],
        owner=said["owner"],
    )


def _host(url: httpx.URL) -> str:
    return f"{url.host}:{url.port}"


def _address(host: str) -> str:
    """The NameNode knows the nodes to exclude by their IP addresses."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        # Only the cluster's hosts know the name: it excludes nothing, and chance has to help.
        return host
