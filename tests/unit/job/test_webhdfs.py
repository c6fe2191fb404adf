"""WebHDFS against a small server that behaves as a NameNode and two DataNodes do."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from job import webhdfs
from job.webhdfs import HdfsError, WebHdfs

# Two DataNodes of one port: the second is the one that fails, where one does.
NODES = ("127.0.0.1", "127.0.0.2")
WAITS_S = (0.01, 0.01, 0.01)
REFUSALS = {
    "SafeModeException": "Cannot create file. Name node is in safe mode.",
    "AccessControlException": "Permission denied: user=jo, access=WRITE",
    "DSQuotaExceededException": "The DiskSpace quota of /apps is exceeded",
    "IOException": "File /f could only be written to 0 of the 1 minReplication nodes.",
}


@dataclass
class Hdfs:
    """What the server holds, what is wrong with it, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    # Of the NameNode's next answers, the exceptions, as long as there are any.
    refusals: list[str] = field(default_factory=list)
    # What the second DataNode does: answer, hang, cut the answer off, or write and then hang.
    second: str = "answers"
    hung: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, str]] = field(default_factory=list)

    def to_datanode(self, excluded: str) -> str | None:
        """The second where it is not excluded."""
        left = [node for node in reversed(NODES) if node not in excluded]
        return left[0] if left else None


class Handler(BaseHTTPRequestHandler):
    hdfs: Hdfs
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code: int, kind: str, message: str) -> None:
        said = {"RemoteException": {"exception": kind, "message": f"{message}\nand a trace"}}
        self.answer(code, json.dumps(said).encode())

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def handle_one(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path.removeprefix("/webhdfs/v1"))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        node = query.pop("node", "")
        if node:
            self.as_datanode(node, path, query, self.body())
        else:
            self.hdfs.asked.append({"method": self.command, "path": path, **query})
            self.as_namenode(path, query)

    do_GET = do_PUT = do_DELETE = handle_one  # noqa: N815

    def as_namenode(self, path: str, query: dict[str, str]) -> None:
        files = self.hdfs.files
        operation = query["op"]
        if self.hdfs.refusals:
            kind = self.hdfs.refusals.pop(0)
            self.refuse(403, kind, REFUSALS[kind])
        elif operation != "CREATE" and not any(name.startswith(path) for name in files):
            self.refuse(404, "FileNotFoundException", f"File does not exist: {path}")
        elif operation in ("OPEN", "CREATE"):
            self.redirect(operation, query)
        elif operation == "GETFILESTATUS":
            self.answer(200, json.dumps({"FileStatus": self.status(path, "")}).encode())
        elif operation == "LISTSTATUS":
            inside = [name for name in files if name.startswith(path)]
            names = [self.status(name, name.removeprefix(path).lstrip("/")) for name in inside]
            self.answer(200, json.dumps({"FileStatuses": {"FileStatus": names}}).encode())
        elif operation == "RENAME":
            files[query["destination"]] = files.pop(path)
            self.answer(200)
        else:
            self.answer(200, b"{}")

    def redirect(self, operation: str, query: dict[str, str]) -> None:
        node = self.hdfs.to_datanode(query.get("excludedatanodes", ""))
        if node is None:
            self.refuse(403, "IOException", "No active nodes contain this block")
            return
        _, port = self.connection.getsockname()
        there = f"http://{node}:{port}{urlsplit(self.path).path}"
        overwrite = query.get("overwrite", "")
        self.answer(307, Location=f"{there}?node={node}&op={operation}&overwrite={overwrite}")

    def as_datanode(self, node: str, path: str, query: dict[str, str], body: bytes) -> None:
        fails = node == NODES[1] and self.hdfs.second
        if query["op"] == "CREATE":
            if query["overwrite"] == "false" and path in self.hdfs.files:
                self.refuse(403, "FileAlreadyExistsException", f"{path} exists")
                return
            self.hdfs.files[path] = body
        if fails == "hangs":
            self.hdfs.hung.wait(10)
        elif fails == "cuts":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        else:
            self.answer(200, self.hdfs.files[path])

    def status(self, path: str, suffix: str) -> dict[str, Any]:
        return {
            "pathSuffix": suffix,
            "type": "FILE" if path in self.hdfs.files else "DIRECTORY",
            "length": len(self.hdfs.files.get(path, b"")),
            "modificationTime": 1500,
            "accessTime": 2500,
            "permission": "644",
            "replication": 2,
            "owner": "jo",
        }


@pytest.fixture
def hdfs(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Hdfs, WebHdfs]]:
    monkeypatch.setattr(webhdfs, "TIMEOUT", httpx.Timeout(0.5, connect=0.5))
    state = Hdfs()
    handler = type("Bound", (Handler,), {"hdfs": state})
    server = ThreadingHTTPServer(("", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    # The NameNode has an address of its own, as it has on most clusters.
    with httpx.Client(base_url=f"http://127.0.0.3:{server.server_address[1]}") as client:
        yield state, WebHdfs(client, "jo", waits_s=WAITS_S)
    state.hung.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_come_back_under_any_name(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    for name in ("/f/plain.jpg", "/f/a b#c%20+é;x=1&y?.jpg", "/f/100%"):
        own.write(name, b"content")
        assert own.read(name) == b"content"
        assert name in state.files
    assert all(each["user.name"] == "jo" for each in state.asked)


def test_content_may_come_in_pieces(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    own.write("/f", (piece for piece in (b"one", b"two")), replication=2)
    assert state.files["/f"] == b"onetwo"
    assert state.asked[-1] | {"replication": "2", "permission": "644"} == state.asked[-1]


def test_status_and_list(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    state.files |= {"/f/b": b"12", "/f/a": b"1"}
    status = own.status("/f/b")
    assert status is not None
    assert (status.name, status.path, status.bytes, status.is_folder) == ("b", "/f/b", 2, False)
    assert (status.modified_at, status.accessed_at, status.mode) == (1.5, 2.5, "644")
    assert [(each.name, each.path) for each in own.list("/f")] == [("a", "/f/a"), ("b", "/f/b")]
    assert own.status("/none") is None
    assert own.list("/none") == ()


@pytest.mark.parametrize("fault", ["hangs", "cuts"])
def test_another_datanode_is_read_from_where_one_fails(
    hdfs: tuple[Hdfs, WebHdfs], fault: str
) -> None:
    state, own = hdfs
    state.files["/f"] = b"content"
    state.second = fault
    started = time.monotonic()
    assert own.read("/f") == b"content"
    assert time.monotonic() - started < 3
    assert state.asked[-1]["excludedatanodes"] == NODES[1]


def test_a_file_half_written_is_written_anew_elsewhere(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    state.second = "hangs"
    own.write("/f", [b"one", b"two"])
    assert state.files["/f"] == b"onetwo"
    creates = [each for each in state.asked if each["op"] == "CREATE"]
    assert [each["overwrite"] for each in creates] == ["false", "true"]
    assert creates[1]["excludedatanodes"] == NODES[1]


def test_what_can_be_read_once_is_not_sent_again_in_part(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    state.second = "hangs"
    with pytest.raises(HdfsError, match="does not answer"):
        own.write("/f", iter([b"one", b"two"]))
    assert len([each for each in state.asked if each["op"] == "CREATE"]) == 1


def test_where_every_datanode_fails_the_first_fault_is_told(
    hdfs: tuple[Hdfs, WebHdfs], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, own = hdfs
    state.files["/f"] = b"content"
    state.second = "hangs"
    monkeypatch.setattr(sys.modules[__name__], "NODES", ("127.0.0.2", "127.0.0.2"))
    with pytest.raises(HdfsError, match=r"does not answer \(127\.0\.0\.2:\d+, for /f: "):
        own.read("/f")


def test_a_namenode_that_is_not_there_is_told_in_one_sentence(
    hdfs: tuple[Hdfs, WebHdfs],
) -> None:
    with (
        httpx.Client(base_url="http://127.0.0.1:9") as client,
        pytest.raises(HdfsError, match=r"HDFS does not answer .*cluster status"),
    ):
        WebHdfs(client, "jo", waits_s=WAITS_S).status("/f")


def test_a_short_safe_mode_is_waited_for(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    state.files["/f"] = b""
    state.refusals = ["SafeModeException", "SafeModeException"]
    own.delete("/f")
    assert state.refusals == []


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("SafeModeException", "HDFS is in safe mode"),
        ("AccessControlException", "HDFS does not let jo at /f"),
        ("DSQuotaExceededException", "quota of HDFS is used up"),
        ("IOException", "no DataNode with room"),
    ],
)
def test_refusals_are_one_sentence_that_says_what_to_do(
    hdfs: tuple[Hdfs, WebHdfs], kind: str, sentence: str
) -> None:
    state, own = hdfs
    state.refusals = [kind] * 10
    with pytest.raises(HdfsError, match=sentence) as caught:
        own.write("/f", b"", overwrite=True)
    assert "\n" not in str(caught.value)
    # Only what passes by itself is waited for.
    assert len(state.asked) == (4 if kind == "SafeModeException" else 1)


def test_a_name_that_is_taken_is_not_overwritten(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    state.files["/f"] = b"first"
    with pytest.raises(HdfsError, match="/f is on HDFS already"):
        own.write("/f", b"second")
    own.write("/f", b"third", overwrite=True)
    assert state.files["/f"] == b"third"


def test_a_rename_whose_answer_was_lost_is_done(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    state.files["/new"] = b""
    own.rename("/old", "/new")
    with pytest.raises(HdfsError, match="no /old"):
        own.rename("/old", "/other")


def test_an_access_time_is_set_alone(hdfs: tuple[Hdfs, WebHdfs]) -> None:
    state, own = hdfs
    state.files["/f"] = b""
    own.set_accessed("/f", 12.5)
    asked = state.asked[-1]
    assert (asked["modificationtime"], asked["accesstime"]) == ("-1", "12500")


def test_it_costs_executors_little_to_import() -> None:
    program = (
        "import time; started = time.process_time(); import job.webhdfs;"
        " print(time.process_time() - started)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1
