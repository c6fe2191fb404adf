"""The modules for HDFS and YARN, run by Ansible here against daemons that answer as told.

The daemons listen on loopback addresses of their own, at Hadoop's ports.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from cluster.inventory import ansible
from cluster.places import repository

HEAD, GOOD, BAD, SILENT = "127.0.61.1", "127.0.61.2", "127.0.61.3", "127.0.61.4"
SAFE_HEAD = "127.0.61.5"
UNIT = "no-such-unit"


def bean(**attributes: Any) -> dict[str, Any]:
    return {"beans": [attributes]}


def namenode(*, live: tuple[str, ...], safemode: str = "") -> dict[str, Any]:
    return bean(Safemode=safemode, LiveNodes=json.dumps({f"{host}:9866": {} for host in live}))


def datanode(*states: str) -> dict[str, Any]:
    return bean(BPServiceActorInfo=json.dumps([{"ActorState": state} for state in states]))


def nodemanager(*, healthy: bool, report: str = "") -> dict[str, Any]:
    return {"nodeInfo": {"nodeHealthy": healthy, "healthReport": report}}


NODES = {
    "nodes": {
        "node": [
            {"nodeHostName": GOOD, "state": "RUNNING"},
            {"nodeHostName": BAD, "state": "UNHEALTHY"},
        ]
    }
}
# What is answered at address, port and path.
ANSWERS: dict[tuple[str, int, str], Any] = {
    (HEAD, 9870, "/jmx"): namenode(live=(GOOD, BAD)),
    (SAFE_HEAD, 9870, "/jmx"): namenode(
        live=(GOOD,), safemode="Safe mode is ON. The reported blocks 1 needs additional 2 blocks"
    ),
    (GOOD, 9864, "/jmx"): datanode("RUNNING"),
    (BAD, 9864, "/jmx"): datanode("CONNECTING"),
    # It has just started: no bean yet.
    (SILENT, 9864, "/jmx"): {"beans": []},
    (HEAD, 8088, "/ws/v1/cluster/info"): {"clusterInfo": {"state": "STARTED"}},
    (SAFE_HEAD, 8088, "/ws/v1/cluster/info"): {"clusterInfo": {"state": "INITED"}},
    (HEAD, 8088, "/ws/v1/cluster/nodes"): NODES,
    (SAFE_HEAD, 8088, "/ws/v1/cluster/nodes"): {"nodes": None},
    (GOOD, 8042, "/ws/v1/node/info"): nodemanager(healthy=True),
    (BAD, 8042, "/ws/v1/node/info"): nodemanager(healthy=False, report="1/1 local-dirs are full"),
    (SILENT, 8042, "/ws/v1/node/info"): nodemanager(healthy=True),
}


@dataclass(kw_only=True)
class FakeHdfs:
    """Folders as WebHDFS keeps them: path -> [owner, group, mode]; a file has none."""

    folders: dict[str, list[str] | None] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        operation = query["op"]
        if operation != "GETFILESTATUS":
            assert query["user.name"] == "hdfs"
            self.changes.append(f"{operation} {path}")
        if operation == "MKDIRS":
            # The NameNode's umask has taken the group's and others' write permission.
            self.folders[path] = ["hdfs", "supergroup", "755"]
            return 200, {"boolean": True}
        if path not in self.folders:
            message = f"File does not exist: {path}"
            return 404, {"RemoteException": {"message": message}}
        entry = self.folders[path]
        if operation == "GETFILESTATUS":
            kind = "FILE" if entry is None else "DIRECTORY"
            owner, group, mode = entry or ["hdfs", "hadoop", "644"]
            status = {"owner": owner, "group": group, "permission": mode, "type": kind}
            return 200, {"FileStatus": status}
        assert entry is not None
        if operation == "SETOWNER":
            entry[:2] = query["owner"], query["group"]
        else:
            assert operation == "SETPERMISSION"
            entry[2] = query["permission"]
        return 200, None


@pytest.fixture(scope="module")
def hdfs() -> FakeHdfs:
    return FakeHdfs(
        folders={
            "/": ["hdfs", "supergroup", "755"],
            "/tmp": ["hdfs", "hadoop", "777"],
            "/kept": ["spark", "hadoop", "1777"],
            "/file": None,
        }
    )


@pytest.fixture(scope="module")
def daemons(hdfs: FakeHdfs) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            host, port = self.server.server_address[:2]
            if parts.path.startswith("/webhdfs/v1"):
                status, body = hdfs.answer(unquote(parts.path)[len("/webhdfs/v1") :], query)
            else:
                status, body = 200, ANSWERS[str(host), port, parts.path]
            self.send_response(status)
            self.end_headers()
            if body is not None:
                self.wfile.write(json.dumps(body).encode())

        do_PUT = do_GET  # noqa: N815  (the base class calls it so)

        def log_message(self, *_: object) -> None:
            pass

    servers = [
        ThreadingHTTPServer(address, Handler) for address in {(key[0], key[1]) for key in ANSWERS}
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    for server in servers:
        server.shutdown()
        server.server_close()


def ready(daemon: str, host: str, **more: Any) -> dict[str, Any]:
    return {"hadoop_ready": {"daemon": daemon, "host": host, "unit": UNIT, "timeout": 0, **more}}


def folders(*wanted: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"hdfs_directories": {"namenode": f"{HEAD}:9870", "directories": list(wanted)}, **more}


WANTED = (
    {"path": "/tmp", "mode": "1777"},
    {"path": "/kept", "owner": "spark", "mode": "01777"},
    {"path": "/user"},
    {"path": "/user/anna b", "owner": "anna", "mode": "0700"},
)
TASKS = {
    "namenode": ready("namenode", HEAD, datanodes=[GOOD, BAD]),
    "namenode_lacks": ready("namenode", HEAD, datanodes=[GOOD, SILENT]),
    "namenode_safe": ready("namenode", SAFE_HEAD, datanodes=[GOOD, SILENT]),
    "datanode": ready("datanode", GOOD, head=HEAD),
    "datanode_connecting": ready("datanode", BAD, head=HEAD),
    "datanode_new": ready("datanode", SILENT, head=HEAD),
    "resourcemanager": ready("resourcemanager", HEAD),
    "resourcemanager_starts": ready("resourcemanager", SAFE_HEAD),
    "resourcemanager_absent": ready("resourcemanager", SILENT),
    "nodemanager": ready("nodemanager", GOOD, head=HEAD),
    "nodemanager_unhealthy": ready("nodemanager", BAD, head=HEAD),
    "nodemanager_unlisted": ready("nodemanager", SILENT, head=SAFE_HEAD),
    "checked": folders(*WANTED, check_mode=True, diff=True),
    "made": folders(*WANTED, diff=True),
    "again": folders(*WANTED),
    "file": folders({"path": "/file"}),
}


@pytest.fixture(scope="module")
def results(
    daemons: None, hdfs: FakeHdfs, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("hadoop")
    play: list[dict[str, Any]] = [
        {**task, "register": f"result_{name}", "ignore_errors": True}
        for name, task in TASKS.items()
    ]
    kept = ", ".join(f"'{name}': result_{name}" for name in TASKS)
    content = f"{{{{ {{{kept}}} | to_json }}}}"
    play.append({"ansible.builtin.copy": {"dest": f"{folder}/results", "content": content}})
    book = folder / "play.yml"
    hosts = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": play}
    book.write_text(yaml.safe_dump([hosts]), encoding="utf-8")
    done = subprocess.run(
        [ansible("ansible-playbook"), "-i", "localhost,", str(book)],
        cwd=repository(),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "False"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded: dict[str, dict[str, Any]] = json.loads(Path(folder / "results").read_text())
    return loaded


@pytest.mark.parametrize("name", ["namenode", "datanode", "resourcemanager", "nodemanager"])
def test_what_is_ready_by_its_own_word_is_ready(
    results: dict[str, dict[str, Any]], name: str
) -> None:
    assert not results[name]["failed"]
    assert not results[name]["changed"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "namenode_lacks",
            f"it counts 2 DataNodes as live. DataNodes it has not heard of: {SILENT}",
        ),
        ("namenode_safe", "it is in safe mode: Safe mode is ON. The reported blocks 1 needs"),
        ("datanode_connecting", "its connection to the NameNode is CONNECTING"),
        ("datanode_new", "does not tell of service=DataNode,name=DataNodeInfo yet"),
        ("resourcemanager_starts", "it is INITED"),
        ("resourcemanager_absent", "Connection refused"),
        ("nodemanager_unhealthy", "it calls itself unhealthy: 1/1 local-dirs are full"),
        ("nodemanager_unlisted", f"the ResourceManager on {SAFE_HEAD} has it as not listed"),
    ],
)
def test_what_is_not_ready_says_what_it_waits_for(
    results: dict[str, dict[str, Any]], name: str, said: str
) -> None:
    assert results[name]["failed"]
    assert said in results[name]["msg"]
    assert f"journalctl -u {UNIT}" in results[name]["msg"]


def test_folders_are_made_and_corrected_once(
    results: dict[str, dict[str, Any]], hdfs: FakeHdfs
) -> None:
    changed = ["/tmp", "/user", "/user/anna b"]
    for name in ("checked", "made"):
        assert results[name]["changed_directories"] == changed
    assert results["checked"]["diff"] == results["made"]["diff"]
    assert not results["again"]["changed"]
    assert hdfs.folders["/tmp"] == ["hdfs", "hadoop", "1777"]
    assert hdfs.folders["/user"] == ["hdfs", "hadoop", "755"]
    assert hdfs.folders["/user/anna b"] == ["anna", "hadoop", "700"]
    made = [change for change in hdfs.changes if change.startswith("MKDIRS")]
    assert made == ["MKDIRS /user", "MKDIRS /user/anna b"], "checking made none, nor the second run"


def test_a_file_in_the_place_of_a_folder_is_said(results: dict[str, dict[str, Any]]) -> None:
    assert results["file"]["failed"]
    assert results["file"]["msg"] == "/file is a file in HDFS: move it away"
