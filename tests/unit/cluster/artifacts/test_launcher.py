"""The commands hdfs, yarn, mapred and hadoop, with a Java that says what it was given."""

import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from cluster.artifacts import hadoop
from cluster.places import repository

LAUNCHER = repository() / "ansible" / "hadoop" / "launcher"


class Commands:
    """An installed Hadoop, reached as on a host: by a link to its folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "hadoop-9.9"
        (self.home / "bin").mkdir(parents=True)
        for program in hadoop.PROGRAMS:
            shutil.copy(LAUNCHER, self.home / "bin" / program)
        (folder / "hadoop").symlink_to("hadoop-9.9")
        self.bin = folder / "hadoop" / "bin"
        java = folder / "java" / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n', encoding="utf-8")
        java.chmod(0o755)
        self.java = java

    def run(self, program: str, *arguments: str, **environment: str) -> list[str]:
        done = self.call(program, *arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def call(
        self, program: str, *arguments: str, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.bin / program, *arguments],
            env={"PATH": f"{self.java.parent}:{os.environ['PATH']}", **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("opt"))


@pytest.mark.parametrize(
    ("call", "class_and_arguments"),
    [
        ("hdfs dfs -ls /", "org.apache.hadoop.fs.FsShell -ls /"),
        ("hdfs fsck /", "org.apache.hadoop.hdfs.tools.DFSck /"),
        ("hadoop fs -cat x", "org.apache.hadoop.fs.FsShell -cat x"),
        ("yarn node -list", "org.apache.hadoop.yarn.client.cli.NodeCLI -list"),
        (
            "yarn logs -applicationId a",
            "org.apache.hadoop.yarn.client.cli.LogsCLI -applicationId a",
        ),
        (
            "yarn container -list a",
            "org.apache.hadoop.yarn.client.cli.ApplicationCLI container -list a",
        ),
        ("mapred job -list", "org.apache.hadoop.mapred.JobClient -list"),
        ("yarn org.example.Main x", "org.example.Main x"),
    ],
)
def test_a_subcommand_is_a_class(commands: Commands, call: str, class_and_arguments: str) -> None:
    words = commands.run(*call.split())
    after = class_and_arguments.split()
    assert words[-len(after) :] == after


def test_clients_and_daemons_get_their_options(commands: Commands) -> None:
    own = {"HADOOP_OPTS": "-Da=1 -Db=2", "HADOOP_CLIENT_OPTS": "-Xmx1g", "HADOOP_CLASSPATH": "/x/*"}
    client = commands.run("hdfs", "dfs", **own)
    daemon = commands.run("hdfs", "namenode", "-format", **own)
    assert {"-Da=1", "-Db=2", "-Xmx1g"} <= set(client)
    assert {"-Da=1", "-Db=2"} <= set(daemon)
    assert "-Xmx1g" not in daemon
    home = commands.home
    class_path = f"/etc/hadoop/conf:{home}:{home}/lib/*:/x/*"
    assert client[client.index("-cp") + 1] == daemon[daemon.index("-cp") + 1] == class_path


def test_java_home_and_the_folder_of_settings_can_be_given(commands: Commands) -> None:
    java_home = str(commands.java.parent.parent)
    words = commands.run(
        "yarn", "node", PATH=os.environ["PATH"], JAVA_HOME=java_home, HADOOP_CONF_DIR="/conf"
    )
    assert words[words.index("-cp") + 1].startswith("/conf:")


def test_an_unknown_subcommand_names_those_there_are(commands: Commands) -> None:
    done = commands.call("yarn", "nodes")
    assert done.returncode == 2
    assert "yarn: no command nodes" in done.stderr
    assert {"node", "application", "logs"} <= set(done.stderr.split())
    assert "dfs" not in done.stderr.split()


def test_without_java_it_says_so(commands: Commands, tmp_path: Path) -> None:
    for tool in ("sh", "readlink", "env"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    done = commands.call("hdfs", "dfs", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "no java on the PATH" in done.stderr


@pytest.mark.skipif(shutil.which("mvn") is None, reason="no Maven here to get the jars by")
def test_each_class_is_in_the_jars() -> None:
    """The real archive, by the real Maven, into the cache that labs use too."""
    words = LAUNCHER.read_text(encoding="utf-8").replace(";", " ").split()
    classes = {w.removeprefix("class=") for w in words if w.startswith("class=org.apache")}
    assert len(classes) > 20
    there: set[str] = set()
    artifact, _ = hadoop.ensure(hadoop.Sources.load())
    with tarfile.open(artifact.path) as archive:
        for entry in archive:
            if "/lib/hadoop-" in entry.name:
                with zipfile.ZipFile(archive.extractfile(entry)) as jar:  # type: ignore[arg-type]
                    there.update(jar.namelist())
    assert {f"{name.replace('.', '/')}.class" for name in classes} <= there
