"""``cluster report EVENTLOG``."""

import io
import json
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

import job.report
from cluster.cli.log_tables import print_log
from job.eventlog import Here, find, read
from job.report.eventlog import assemble
from tests.unit.cluster.cli.conftest import ROOT, Cluster

LOG = ROOT / "tests" / "unit" / "job" / "eventlog" / "frozen-host.gz"
SCHEMA = Path(job.report.__file__).with_name("eventlog.schema.json")


def test_an_event_log_has_a_verdict_first_and_tables(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "application_1.gz").write_bytes(LOG.read_bytes())
    for given in (tmp_path / "application_1.gz", tmp_path):
        done = cluster("report", given)
        assert done.returncode == 0, done.stderr
        first, *rest = done.stdout.splitlines()
        assert first.startswith("Verdict: node2 held task 0 of stage 0 for 72 s and did not ")
        assert "Note: Lost: 3 executors; failed: 1 attempt." in rest
        hosts = [line.split() for line in rest if line.startswith(" node")]
        assert [row[:2] for row in hosts] == [["node2", "0"], ["node3", "18"], ["node1", "25"]]
    # Nothing is written beside a log.
    assert [path.name for path in tmp_path.iterdir()] == ["application_1.gz"]


def test_an_event_log_as_json(cluster: Cluster) -> None:
    done = cluster("report", LOG, "--format", "json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    jsonschema.validate(data, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert data["verdict"]["hosts"] == ["node2"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone", None, "There is no "),
        ("empty", b"", "is empty: it holds no event"),
        ("report.html", b"<!doctype html>", "is no Spark event log: it does not begin with"),
        ("old", b'{"Event":"SparkListenerLogStart","Spark Version":"1.6.3"}', "is of Spark 1.6.3"),
    ],
)
def test_what_is_no_log_is_wrong_usage(
    name: str, content: bytes | None, said: str, cluster: Cluster, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = cluster("report", tmp_path / name)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("Error: ")
    assert said in done.stderr and str(tmp_path / name) in done.stderr


def test_hdfs_takes_an_inventory_that_has_one(cluster: Cluster) -> None:
    inventory = ROOT / "inventory" / "lab-standalone"
    path = "hdfs:///spark-events/application_1"
    done = cluster("-i", inventory, "report", path)
    assert done.returncode == 2
    expected = f"Error: {path}: {inventory} has no host in hdfs_namenode, so no HDFS.\n"
    assert done.stderr == expected


def test_tables_fit_a_terminal_of_80_columns() -> None:
    out = io.StringIO()
    print_log(Console(file=out, width=80), assemble(read(Here(), find(Here(), str(LOG)))))
    tables = out.getvalue().partition("hosts: ")[2]
    assert max(len(line) for line in tables.splitlines()) <= 80
    for figure in ("node3", "0.91-1.81", "failed", "outrun", "lost", "at pace", "6.04", "start"):
        assert figure in tables
    assert "…" not in tables
