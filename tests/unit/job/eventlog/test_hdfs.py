"""A log on HDFS, read in pieces."""

from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from job.errors import UsageError
from job.eventlog import Here, OnHdfs, find, read
from job.webhdfs import WebHdfs

NAMENODE, DATANODE = "namenode:9870", "datanode:9864"


class Hdfs:
    """Answers as a NameNode and a DataNode do; counts what is read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.read: list[tuple[int, int]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/webhdfs/v1")
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        if query["op"] == "OPEN" and request.url.host == "namenode":
            where = str(request.url).replace(NAMENODE, DATANODE)
            return httpx.Response(307, headers={"location": where})
        if query["op"] == "OPEN":
            offset, length = int(query["offset"]), int(query["length"])
            self.read.append((offset, length))
            return httpx.Response(200, content=self.files[path][offset : offset + length])
        inside = [name for name in self.files if name.startswith(path.rstrip("/") + "/")]
        if path not in self.files and not inside:
            said = {"exception": "FileNotFoundException", "message": "none"}
            return httpx.Response(404, json={"RemoteException": said})
        if query["op"] == "GETFILESTATUS":
            return httpx.Response(200, json={"FileStatus": self.status(path, "")})
        names = sorted({name[len(path.rstrip("/")) + 1 :].split("/")[0] for name in inside})
        found = [self.status(f"{path.rstrip('/')}/{name}", name) for name in names]
        return httpx.Response(200, json={"FileStatuses": {"FileStatus": found}})

    def status(self, path: str, suffix: str) -> dict[str, object]:
        content = self.files.get(path)
        return {
            "pathSuffix": suffix, "type": "DIRECTORY" if content is None else "FILE",
            "length": len(content or b""), "modificationTime": 0, "accessTime": 0,
            "permission": "644", "replication": 1, "owner": "jo",
        }  # fmt: skip


def storage(hdfs: Hdfs, piece: int) -> OnHdfs:
    client = httpx.Client(base_url=f"http://{NAMENODE}", transport=httpx.MockTransport(hdfs))
    return OnHdfs(WebHdfs(client, "jo", waits_s=()), piece)


def test_a_file_and_a_rolling_log_are_read_as_here(logs: Path) -> None:
    (here,) = find(Here(), str(logs / "zstd"))
    content = Path(here.path).read_bytes()
    hdfs = Hdfs({"/logs/app-1.zstd": content, "/logs/.app-1.crc": b"crc", "/notes.txt": b"text"})
    (rolled,) = find(Here(), str(logs / "rolling"))
    hdfs.files[f"/rolled/eventlog_v2_app-2/{rolled.name}"] = Path(rolled.path).read_bytes()
    there = storage(hdfs, 10_000)

    expected = read(Here(), [here]).tasks
    for path in ("/logs/app-1.zstd", "/logs"):
        assert read(there, find(there, path)).tasks.equals(expected)
    pieces = [(at, 10_000) for at in range(0, len(content), 10_000)]
    assert hdfs.read[: len(pieces)] == pieces
    for path in ("/rolled", "/rolled/eventlog_v2_app-2"):
        assert read(there, find(there, path)).tasks.equals(read(Here(), [rolled]).tasks)
    with pytest.raises(UsageError, match="There is no /gone"):
        find(there, "/gone")


def test_a_log_that_ends_with_a_piece_is_not_asked_for_more(logs: Path) -> None:
    (here,) = find(Here(), str(logs / "plain"))
    content = Path(here.path).read_bytes()
    hdfs = Hdfs({"/app-1": content})
    there = storage(hdfs, len(content))
    assert read(there, find(there, "/app-1")).tasks.num_rows == 13
    # HDFS refuses to begin at the end.
    assert hdfs.read == [(0, len(content))]
