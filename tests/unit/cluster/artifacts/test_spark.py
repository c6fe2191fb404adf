import base64
import hashlib
import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from cluster import artifacts
from cluster.artifacts import archive, spark
from cluster.errors import ClusterError
from cluster.places import CACHE_VARIABLE, repository


def record(path: str, content: bytes | None) -> str:
    if content is None:
        return f"{path},,"
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}"


def install(folder: Path, files: dict[str, bytes]) -> metadata.Distribution:
    """A PySpark with these files, as pip leaves it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    info = folder / "pyspark-9.9.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pyspark\nVersion: 9.9\n")
    (info / "RECORD").write_text("\n".join(record(*item) for item in files.items()) + "\n")
    return metadata.Distribution.at(info)


FILES = {
    "pyspark/bin/spark-class": b"#!/bin/sh\n",
    "pyspark/jars/core.jar": b"core",
    "pyspark/python/lib/pyspark.zip": b"zip",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def installed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small PySpark that is the one found."""
    package = install(tmp_path / "site", FILES)
    monkeypatch.setattr(metadata, "distribution", lambda name: {"pyspark": package}[name])
    return tmp_path / "site"


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_one_folder_with_programs_and_a_stamp_at_the_end(installed: Path) -> None:
    made, changed = spark.ensure()
    assert changed
    with tarfile.open(made.path) as tar:
        members = tar.getmembers()
        stamp = tar.extractfile(members[-1])
        assert stamp is not None
        assert stamp.read().decode() == made.digest
    assert [(m.name, m.mode, m.uname, m.uid) for m in members] == [
        ("spark-9.9/bin/spark-class", 0o755, "root", 0),
        ("spark-9.9/jars/core.jar", 0o644, "root", 0),
        ("spark-9.9/python/lib/pyspark.zip", 0o644, "root", 0),
        (f"spark-9.9/{archive.STAMP}", 0o644, "root", 0),
    ]


def test_made_once_and_the_same_to_the_last_byte(installed: Path) -> None:
    made, _ = spark.ensure()
    first = made.path.read_bytes()
    assert spark.ensure() == (made, False)
    made.path.unlink()
    (installed / "pyspark/jars/core.jar").touch()
    assert spark.ensure() == (made, True)
    assert made.path.read_bytes() == first


def test_another_file_another_archive(installed: Path) -> None:
    made, _ = spark.ensure()
    install(installed, {**FILES, "pyspark/jars/core.jar": b"CORE"})
    other, changed = spark.ensure()
    assert changed
    assert other.digest != made.digest


@pytest.mark.parametrize("content", [b"changed", None])
def test_a_file_that_is_not_as_installed_is_named(installed: Path, content: bytes | None) -> None:
    jar = installed / "pyspark/jars/core.jar"
    if content is None:
        jar.unlink()
    else:
        jar.write_bytes(content)
    with pytest.raises(ClusterError, match=rf"{jar}.*make setup"):
        spark.ensure()
    assert list(artifacts.folder().glob("*.tar")) == []
    assert list(artifacts.folder().glob("*.part")) == []


def test_a_record_without_digests_is_refused(installed: Path) -> None:
    (installed / "pyspark-9.9.dist-info/RECORD").write_text("pyspark/jars/core.jar,,\n")
    with pytest.raises(ClusterError, match=r"pyspark/jars/core\.jar"):
        spark.ensure()


def test_no_pyspark(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ClusterError, match="make setup"):
        spark.ensure()


@pytest.fixture(scope="module")
def real() -> dict[str, spark.Member]:
    return {member.name: member for member in spark.members_of(metadata.distribution("pyspark"))}


def test_of_the_real_package_what_hosts_run(real: dict[str, spark.Member]) -> None:
    for name in (
        "bin/spark-class",
        "bin/spark-submit",
        "bin/pyspark",
        "python/lib/pyspark.zip",
        "examples/src/main/python/pi.py",
    ):
        assert name in real
    jars = [name for name in real if name.startswith("jars/")]
    for wanted in ("spark-core_", "spark-yarn_", "spark-mllib_", "hadoop-client-runtime-"):
        assert any(jar.startswith(f"jars/{wanted}") for jar in jars), wanted
    for name in real:
        assert not re.search(r"kubernetes|mesos|derby|rocksdb|__pycache__|\.cmd$|pandas", name)


def test_the_version_is_the_locked_one() -> None:
    lock = (repository() / "requirements" / "env.lock").read_text()
    assert f"pyspark=={metadata.version('pyspark')} " in lock


def test_py4j_is_where_the_configuration_says(real: dict[str, spark.Member]) -> None:
    template = repository() / "ansible/roles/spark/templates/spark-env.sh.j2"
    found = re.findall(r"/opt/spark/(python/lib/[^:\"$]+\.zip)", template.read_text())
    assert sorted(found) == sorted(name for name in real if name.startswith("python/lib/"))


def test_a_job_runs_on_what_was_left_in(real: dict[str, spark.Member], tmp_path: Path) -> None:
    """SQL over Parquet in the unpacked archive's place: no class of those left out is missed."""
    home = tmp_path / "spark"
    for member in real.values():
        target = home / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(member.source)
    script = tmp_path / "job.py"
    script.write_text(
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        f"spark.range(100).write.parquet('file://{tmp_path}/out')\n"
        f"spark.read.parquet('file://{tmp_path}/out').createTempView('numbers')\n"
        "print('sum', spark.sql('select sum(id) from numbers').first()[0])\n"
    )
    quick = ("--driver-java-options", "-XX:TieredStopAtLevel=1", "--conf", "spark.ui.enabled=false")
    done = subprocess.run(
        [home / "bin/spark-submit", "--master", "local[1]", *quick, script],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            "PATH": "/usr/bin:/bin",
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_PYTHON": sys.executable,
        },
    )
    assert "sum 4950" in done.stdout, done.stderr[-2000:]
