"""Puts to HDFS what is not there yet: the archive, Spark's zip, BigDL's jars, readable by all.

Runs from a zip with job.webhdfs in it, on the environment's Python. Its one argument is a JSON
object; it prints lines as host.py does.
"""

import contextlib
import gzip
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from job.errors import JobError
from job.webhdfs import HdfsError, WebHdfs

PART = ".part-"
OURS = tuple(f"{PART}{kind}-" for kind in ("environment", "spark", "bigdl"))
# The slowest DataNode of those that are written to gates the writing: HDFS makes the others later.
COPIES_AT_FIRST = 1
CHUNK = 2**20
SAY_EVERY_S = 0.5


def say(**values: Any) -> None:
    """One line to the other end; raises where it is gone."""
    print(json.dumps(values), flush=True)


class Publisher:
    """Writes below one folder."""

    def __init__(self, hdfs: WebHdfs, folder: str) -> None:
        self._hdfs = hdfs
        self._folder = folder

    def prepare(self) -> None:
        """Make the folder open to all, and remove what killed pushes have left.

        YARN localises for all users and applications together only what everyone may read.
        """
        self._hdfs.make_folder(self._folder)
        for folder in (self._folder, *map(str, PurePosixPath(self._folder).parents)):
            status = self._hdfs.status(folder)
            if status and int(status.mode[-1]) & 1 == 0:
                self._hdfs.set_mode(folder, f"{int(status.mode, 8) | 0o55:o}")
        for left in self._hdfs.list(self._folder):
            # Others write there too, under such names of their own.
            if left.name.startswith(OURS):
                self._hdfs.delete(left.path, recursive=True)

    def put(self, name: str, files: dict[str, Path], *, gunzip: bool = False) -> None:
        """Write a file, or a folder of several, under its final name once it is whole."""
        part, final = f"{self._folder}/{PART}{name}", f"{self._folder}/{name}"
        if self._hdfs.status(final):
            return
        try:
            self._write(part, files, gunzip=gunzip)
            self._hdfs.rename(part, final)
        except HdfsError:
            with contextlib.suppress(HdfsError):
                self._hdfs.delete(part, recursive=True)
            raise

    def _write(self, part: str, files: dict[str, Path], *, gunzip: bool) -> None:
        step = f"Writing {part.rpartition(PART)[2]} to HDFS"
        total = sum(file.stat().st_size for file in files.values())
        done = 0
        for below, file in files.items():
            path = f"{part}/{below}" if below else part
            self._hdfs.write(
                path,
                _Pieces(file, step, done, total, gunzip=gunzip),
                replication=COPIES_AT_FIRST,
                overwrite=True,
            )
            done += file.stat().st_size
            self._open_to_all(path, 0o644)
        if "" not in files:
            self._open_to_all(part, 0o755)

    def replicate(self, copies: dict[str, int], wait_for: str, bound_s: float) -> int:
        """Have as many copies of each name as wanted; wait for those of one, and give their number.

        The others HDFS makes meanwhile and after.
        """
        for name, count in copies.items():
            for path in self._files(f"{self._folder}/{name}"):
                self._hdfs.set_replication(path, count)
        path, wanted = f"{self._folder}/{wait_for}", copies[wait_for]
        ends = time.monotonic() + bound_s
        while True:
            there = self._hdfs.copies(path)
            say(step="Waiting for HDFS's copies", done=there, total=wanted, unit="copies")
            if there >= wanted or time.monotonic() > ends:
                return there
            time.sleep(0.5)

    def _files(self, path: str) -> list[str]:
        status = self._hdfs.status(path)
        inside = self._hdfs.list(path) if status and status.is_folder else ()
        return [each.path for each in inside] or [path]

    def _open_to_all(self, path: str, mode: int) -> None:
        """The NameNode's own umask may have taken something away."""
        status = self._hdfs.status(path)
        if status and int(status.mode, 8) & mode != mode:
            self._hdfs.set_mode(path, f"{mode:o}")


class _Pieces:
    """A file's content, readable again after a failure; says how far it has come."""

    def __init__(self, file: Path, step: str, before: int, total: int, *, gunzip: bool) -> None:
        self._file, self._step, self._gunzip = file, step, gunzip
        self._before, self._total = before, total

    def __iter__(self) -> Iterator[bytes]:
        said_at = 0.0
        say(step=self._step, done=self._before, total=self._total)
        with self._file.open("rb") as raw:
            source = gzip.GzipFile(fileobj=raw) if self._gunzip else raw
            while piece := source.read(CHUNK):
                yield piece
                if (now := time.monotonic()) > said_at + SAY_EVERY_S:
                    # Of what is read, for nobody knows how much comes out of it.
                    say(step=self._step, done=self._before + raw.tell(), total=self._total)
                    said_at = now


def publish(wanted: dict[str, Any]) -> dict[str, Any]:
    """Put what is missing; gives the seconds for writing and for replicating, and the copies."""
    started = time.monotonic()
    with httpx.Client(base_url=wanted["namenode"], trust_env=False) as client:
        publisher = Publisher(WebHdfs(client, wanted["user"]), wanted["folder"])
        publisher.prepare()
        if archive := wanted["archive"]:
            publisher.put(archive, {"": Path("environment")}, gunzip=archive.endswith(".tar"))
        if spark := wanted["spark"]:
            publisher.put(spark, {"": Path(spark)})
        if bigdl := wanted["bigdl"]:
            jars = sorted(Path(wanted["jars"]).glob("*.jar"))
            publisher.put(bigdl, {jar.name: jar for jar in jars})
        written = time.monotonic()
        copies = publisher.replicate(wanted["copies"], wanted["wait_for"], wanted["replicate_s"])
        return {
            "write_s": written - started,
            "replicate_s": time.monotonic() - written,
            "copies": copies,
        }


def main() -> None:
    """Publish; what went wrong is the last line."""
    try:
        say(result=publish(json.loads(sys.argv[1])))
    except BrokenPipeError:
        os._exit(1)
    except (JobError, HdfsError) as error:
        say(error=str(error))


main()
