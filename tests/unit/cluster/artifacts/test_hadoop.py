"""Both ways to get Hadoop, with a small made-up release; Maven is a script that copies a folder."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster import artifacts
from cluster.artifacts import archive, hadoop
from cluster.artifacts.release import OFFLINE_VARIABLE
from cluster.errors import ClusterError
from cluster.places import CACHE_VARIABLE, repository

RELEASE = {
    "share/hadoop/common/hadoop-common-9.9.jar": b"common",
    "share/hadoop/common/hadoop-common-9.9-tests.jar": b"left out",
    "share/hadoop/common/lib/guava-1.jar": b"guava",
    "share/hadoop/common/sources/hadoop-common-9.9-sources.jar": b"left out",
    "share/hadoop/hdfs/hadoop-hdfs-9.9.jar": b"hdfs",
    "share/hadoop/hdfs/lib/guava-1.jar": b"guava",
    "share/hadoop/hdfs/webapps/hdfs/index.html": b"<p>hdfs",
    "share/hadoop/hdfs/webapps/datanode/index.html": b"<p>datanode",
    "share/hadoop/yarn/hadoop-yarn-server-resourcemanager-9.9.jar": b"rm",
    "share/hadoop/yarn/hadoop-yarn-server-nodemanager-9.9.jar": b"nm",
    "share/hadoop/yarn/timelineservice/hadoop-yarn-server-timelineservice-9.9.jar": b"ts",
    "share/hadoop/yarn/timelineservice/hadoop-yarn-server-timelineservice-hbase-9.9.jar": b"no",
    "share/hadoop/mapreduce/hadoop-mapreduce-client-core-9.9.jar": b"mr",
    "share/hadoop/mapreduce/hadoop-mapreduce-examples-9.9.jar": b"examples",
    "share/hadoop/tools/lib/hadoop-aws-9.9.jar": b"left out",
    "share/doc/index.html": b"left out",
    "lib/native/libhadoop.so.1.0.0": b"native",
    "etc/hadoop/core-site.xml": b"left out",
}
ON_HOSTS = {
    *(f"bin/{program}" for program in ("hadoop", "hdfs", "mapred", "yarn")),
    "lib/hadoop-common-9.9.jar",
    "lib/guava-1.jar",
    "lib/hadoop-hdfs-9.9.jar",
    "lib/hadoop-yarn-server-resourcemanager-9.9.jar",
    "lib/hadoop-yarn-server-nodemanager-9.9.jar",
    "lib/hadoop-mapreduce-client-core-9.9.jar",
    "webapps/hdfs/index.html",
    "webapps/datanode/index.html",
}
# Stands for mvn: copies the folder $MAVEN_GIVES to the one of -Doutput, and notes that it ran.
MVN = """#!/bin/sh
for option; do
    case $option in -Doutput=*) cp -r "$MAVEN_GIVES"/. "${option#-Doutput=}" ;; esac
done
echo ran >> "$MAVEN_GIVES/../runs"
[ -z "$MAVEN_FAILS" ] || { echo "[ERROR] $MAVEN_FAILS"; exit 1; }
"""


def pack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"hadoop-9.9/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("hadoop-9.9/lib/native/libhadoop.so")
        link.type, link.linkname = tarfile.SYMTYPE, "libhadoop.so.1.0.0"
        tar.addfile(link)


def sha512(path: Path) -> str:
    return archive.digest_of(path, "sha512")


class Place:
    """A cache, a folder as ansible/, a release and what Maven gives, for Hadoop 9.9."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ansible = folder, folder / "ansible"
        (self.ansible / "hadoop").mkdir(parents=True)
        (self.ansible / "hadoop" / "pom.xml").write_text("<project/>", encoding="utf-8")
        shutil.copy(repository() / "ansible" / "hadoop" / "launcher", self.ansible / "hadoop")
        self.release = folder / "hadoop-9.9.tar.gz"
        pack(self.release, RELEASE)
        self.sources()
        self.maven = folder / "maven"
        for name in sorted(ON_HOSTS):
            if name.startswith("lib/"):
                self.jar(name)
        with zipfile.ZipFile(self.jar("webapps/pages-9.9.jar"), "w") as jar:
            jar.writestr("webapps/hdfs/index.html", "<p>hdfs")
            jar.writestr("webapps/datanode/index.html", "<p>datanode")
            jar.writestr("org/apache/hadoop/Test.class", "left out")

    def jar(self, name: str) -> Path:
        path = self.maven / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"jar")
        return path

    def sources(self, sha512_: str | None = None, urls: tuple[str, ...] = ()) -> hadoop.Sources:
        official = {
            "file": self.release.name,
            "sha512": sha512_ or sha512(self.release),
            "urls": list(urls),
        }
        entry = {"hadoop": {"version": "9.9", "archive": official}}
        # JSON is YAML.
        (self.ansible / "sources.yml").write_text(json.dumps(entry), encoding="utf-8")
        return hadoop.Sources.load(self.ansible)

    def maven_runs(self) -> int:
        runs = self.folder / "runs"
        return len(runs.read_text().splitlines()) if runs.exists() else 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path)
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(MVN, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MAVEN_GIVES", str(place.maven))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    return place


Serve = Callable[[dict[str, bytes]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves content by path, on loopback; what is cut short says a longer length than it has."""
    servers = []

    def start(content: dict[str, bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = content.get(self.path)
                self.send_response(404 if body is None else 200)
                cut = 1000 if self.path.startswith("/cut") else 0
                self.send_header("Content-Length", str(len(body or b"") + cut))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def members(artifact: artifacts.Artifact) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(artifact.path) as tar:
        found = {entry.name: entry for entry in tar}
    assert all(name.startswith("hadoop-9.9/") for name in found)
    return {name.removeprefix("hadoop-9.9/"): entry for name, entry in found.items()}


def in_cache() -> set[str]:
    return {path.name for path in artifacts.folder().iterdir()} - {"hadoop.lock"}


def test_the_ways_give_the_same_layout(place: Place) -> None:
    sources = place.sources()
    hadoop.lock(sources)
    by_maven, made = hadoop.ensure(sources)
    assert made
    by_release, made = hadoop.ensure(sources, way="archive", at=place.release)
    assert made
    assert by_maven.digest != by_release.digest
    found = members(by_maven)
    assert found.keys() == ON_HOSTS | {archive.STAMP}
    assert members(by_release).keys() == ON_HOSTS | {
        archive.STAMP,
        "examples/hadoop-mapreduce-examples-9.9.jar",
        "lib/hadoop-yarn-server-timelineservice-9.9.jar",
        "native/libhadoop.so",
        "native/libhadoop.so.1.0.0",
    }
    assert {name for name, entry in found.items() if entry.mode == 0o755} == {
        name for name in ON_HOSTS if name.startswith("bin/")
    }
    assert list(found)[-1] == archive.STAMP, "the last file says that all was unpacked"


def test_it_is_made_once_and_again_only_when_something_changed(place: Place) -> None:
    sources = place.sources()
    hadoop.lock(sources)
    first, _ = hadoop.ensure(sources)
    content, runs = first.path.read_bytes(), place.maven_runs()
    again, made = hadoop.ensure(sources)
    assert (again, made, place.maven_runs()) == (first, False, runs)
    first.path.unlink()
    hadoop.ensure(sources)
    assert first.path.read_bytes() == content
    sources.launcher.write_text("#!/bin/sh\n", encoding="utf-8")
    other, made = hadoop.ensure(sources)
    assert made
    assert other.path != first.path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda maven: (maven / "lib/guava-1.jar").write_bytes(b"else"),
            "SHA-256 of lib/guava",
        ),
        (lambda maven: (maven / "lib/more-2.jar").write_bytes(b"more"), "lib/more-2.jar came"),
        (lambda maven: (maven / "lib/guava-1.jar").unlink(), "lib/guava-1.jar did not come"),
    ],
)
def test_a_jar_that_is_not_the_locked_one_is_refused(
    place: Place, change: Callable[[Path], object], said: str
) -> None:
    sources = place.sources()
    hadoop.lock(sources)
    change(place.maven)
    with pytest.raises(ClusterError, match=said):
        hadoop.ensure(sources)
    assert in_cache() == set()
    hadoop.lock(sources)
    assert hadoop.ensure(sources)[1]


def test_what_lacks_a_daemon_is_no_hadoop(place: Place) -> None:
    (place.maven / "lib" / "hadoop-hdfs-9.9.jar").unlink()
    sources = place.sources()
    hadoop.lock(sources)
    with pytest.raises(ClusterError, match="it lacks lib/hadoop-hdfs-"):
        hadoop.ensure(sources)
    assert in_cache() == set()


def test_without_maven_the_other_way_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = place.sources()
    hadoop.lock(sources)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match=r"no mvn .*apt-get install maven.*hadoop_way"):
        hadoop.ensure(sources)


def test_what_maven_says_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = place.sources()
    hadoop.lock(sources)
    monkeypatch.setenv("MAVEN_FAILS", "Could not find artifact org.apache.hadoop:hadoop-common")
    with pytest.raises(ClusterError, match=r"Could not find artifact org.apache.hadoop:hadoop-c"):
        hadoop.ensure(sources)


def test_a_release_without_a_digest_is_refused(place: Place) -> None:
    sources = place.sources("digest needed")
    with pytest.raises(
        ClusterError, match=r"hadoop-9.9.tar.gz.sha512 to hadoop.archive.sha512 of .*sources.yml"
    ):
        hadoop.ensure(sources, way="archive", at=place.release)


def test_what_is_no_digest_is_refused(place: Place) -> None:
    with pytest.raises(ClusterError, match="128 hexadecimal digits"):
        place.sources("abc")


def test_the_first_good_address_is_taken(place: Place, serve: Serve) -> None:
    good = place.release.read_bytes()
    site = serve({"/wrong": b"another file", "/cut": good, "/good": good})
    urls = (f"{site}/none", f"{site}/wrong", f"{site}/cut", "http://127.0.0.1:1/", f"{site}/good")
    artifact, _ = hadoop.ensure(place.sources(urls=urls), way="archive")
    assert members(artifact).keys() >= ON_HOSTS
    assert in_cache() == {artifact.path.name, place.release.name}
    assert sha512(artifacts.folder() / place.release.name) == sha512(place.release)


def test_no_good_address_leaves_nothing_and_says_each_reason(place: Place, serve: Serve) -> None:
    site = serve({"/wrong": b"another file", "/cut": place.release.read_bytes()})
    sources = place.sources(urls=(f"{site}/none", f"{site}/wrong", f"{site}/cut"))
    with pytest.raises(ClusterError) as caught:
        hadoop.ensure(sources, way="archive")
    said = str(caught.value)
    assert "404" in said
    assert hashlib.sha512(b"another file").hexdigest() in said
    assert f"{site}/cut: " in said
    assert OFFLINE_VARIABLE in said
    assert in_cache() == set()


def test_offline_the_file_is_taken_from_a_folder(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, str(place.folder))
    artifact, _ = hadoop.ensure(place.sources(), way="archive")
    assert members(artifact).keys() >= ON_HOSTS
    monkeypatch.setenv(OFFLINE_VARIABLE, str(place.folder / "empty"))
    artifact.path.unlink()
    with pytest.raises(ClusterError, match=r"There is no file .*/empty/hadoop-9.9.tar.gz"):
        hadoop.ensure(place.sources(), way="archive")


def test_another_file_in_its_place_is_refused(place: Place) -> None:
    sources = place.sources()
    pack(place.release, {**RELEASE, "more": b"more"})
    with pytest.raises(ClusterError, match=r"is not hadoop-9.9.tar.gz: its SHA-512 is"):
        hadoop.ensure(sources, way="archive", at=place.release)
    assert in_cache() == set()


def test_a_release_cut_short_is_said(place: Place) -> None:
    place.release.write_bytes(place.release.read_bytes()[:-40])
    with pytest.raises(ClusterError, match="cannot be unpacked"):
        hadoop.ensure(place.sources(), way="archive", at=place.release)
    assert in_cache() == set()


def test_of_callers_at_once_one_makes_it(place: Place) -> None:
    sources = place.sources()
    hadoop.lock(sources)
    before = place.maven_runs()
    code = (
        "import sys; from pathlib import Path; from cluster.artifacts import hadoop; "
        "print(hadoop.ensure(hadoop.Sources.load(Path(sys.argv[1])))[1])"
    )
    command = [sys.executable, "-c", code, str(place.ansible)]
    callers = [
        subprocess.Popen(command, cwd=repository(), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = sorted(caller.communicate()[0].strip() for caller in callers)
    assert said == ["False", "False", "True"]
    assert place.maven_runs() == before + 1


def test_the_shipped_sources_can_be_read() -> None:
    sources = hadoop.Sources.load()
    lines = sources.lock.read_text(encoding="utf-8").splitlines()
    names = [line.split("  ")[1] for line in lines]
    assert names == sorted(set(names))
    assert f"lib/hadoop-common-{sources.version}.jar" in names
    assert sources.release.checked_digest()
    assert all(url.endswith(f"/{sources.release.file}") for url in sources.release.urls)
