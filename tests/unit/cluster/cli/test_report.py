"""``cluster report``."""

import dataclasses
import getpass
import io
import json
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from rich.console import Console

import job.report
from cluster.cli import main
from cluster.cli.findings import print_findings
from cluster.cli.log_tables import print_log
from cluster.inventory import Inventory
from job.eventlog import Here, find, read
from job.report import build
from job.report.eventlog import assemble
from tests.unit.cluster.cli.conftest import ROOT, Cluster
from tests.unit.cluster.conftest import Server, reachable
from tests.unit.job.report.conftest import Trouble, write_cluster
from tests.unit.job.test_webhdfs import Handler, Hdfs

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


def test_a_log_on_hdfs_is_read_through_the_edge_host(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdfs = Hdfs(files={"/spark-events/application_1.gz": LOG.read_bytes()})
    handler = type("Bound", (Handler,), {"hdfs": hdfs})
    with ThreadingHTTPServer(("", 0), handler) as namenode:
        threading.Thread(target=namenode.serve_forever, daemon=True).start()
        there = reachable(server, tmp_path, "node1", cluster_address="127.0.0.3")
        groups = frozenset({"edge", "hdfs_namenode"})
        host = dataclasses.replace(there.hosts[0], groups=groups)
        found = Inventory(path=tmp_path, hosts=(host,), groups=groups)
        monkeypatch.setattr(Inventory, "load", lambda _: found)
        monkeypatch.setattr("cluster.env.store.PORT", namenode.server_address[1])
        for path in ("hdfs:///spark-events", "hdfs://node1:8020/spark-events/application_1.gz"):
            done = CliRunner().invoke(main, ["report", path, "--format", "json"])
            assert done.exit_code == 0, done.output
            assert json.loads(done.output)["verdict"]["hosts"] == ["node2"]
        namenode.shutdown()
    # As who we are on the edge host.
    assert {each["user.name"] for each in hdfs.asked} == {getpass.getuser()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A healthy run, and one with a slow and a frozen host."""
    folder = tmp_path_factory.mktemp("runs")
    troubles = {"node2": Trouble(slow=1.9, slow_from=35), "node3": Trouble(frozen=(30, 52))}
    healthy = write_cluster(folder, 5, tasks=90, images=12, name="healthy")
    troubled = write_cluster(folder, 5, tasks=90, images=12, name="troubled", **troubles)
    for path in (healthy, troubled):
        pq.write_table(
            pa.table({"image_id": ["x"], "category_id": [1]}), path / "detections.parquet"
        )
    return healthy, troubled


def test_a_run_says_who_was_slow_why_when_and_what_it_cost(
    runs: tuple[Path, Path], cluster: Cluster
) -> None:
    done = cluster("report", runs[1])
    assert done.returncode == 0, done.stderr
    found = done.stdout.partition("report.html")[2]
    rows = {line.split()[0]: line for line in found.splitlines() if line.startswith(" node")}
    assert list(rows) == ["node2", "node3"]
    for part in ("CPU quota", "into the run on", " s "):
        assert part in rows["node2"]
    assert "stood still" in rows["node3"] and "from 29 s to 52 s into the run" in rows["node3"]
    assert "node3: it stood still for 23 s" in found, "the line tells of the first only"
    for label in (
        "as it was",
        "node2 at its peers' pace",
        "without node3",
        "no host slow",
        "ideal",
    ):
        assert label in found
    assert found.rstrip().splitlines()[-1].startswith("Verdict:       node2 is 1.")


def test_a_healthy_run_says_so_and_no_more(runs: tuple[Path, Path], cluster: Cluster) -> None:
    found = cluster("report", runs[0]).stdout.partition("report.html\n")[2]
    assert found.startswith("Verdict:       No straggler") and found.count("\n") == 1


def test_what_was_found_fits_a_terminal_of_80_columns(runs: tuple[Path, Path]) -> None:
    out = io.StringIO()
    print_findings(Console(file=out, width=80), build(runs[1]).data["verdict"])
    lines = [line for line in out.getvalue().splitlines() if not line.startswith("node3: ")]
    assert max(map(len, lines)) <= 80
    assert "…" not in out.getvalue()


def test_what_keeps_nobody_waiting_is_told_shortly() -> None:
    finding = {"straggler": False, "text": "it has half a CPU", "action": "nothing to mend"}
    hosts = [f"node{number}" for number in range(1, 9)]
    found = [{"host": host, "kind": "weak", **finding} for host in hosts]
    out = io.StringIO()
    print_findings(Console(file=out, width=80), {"findings": found, "what_if": None})
    told = out.getvalue().splitlines()
    assert told[0] == "node1, weak by design: it has half a CPU. Nothing to mend."
    assert told[3:] == ["... and 5 more hosts, weak by design: see --format json"]


@pytest.mark.parametrize("what", ["run", "two runs", "event log"])
def test_a_page_on_standard_output(what: str, runs: tuple[Path, Path]) -> None:
    (runs[1] / "report.html").unlink(missing_ok=True)
    given = {"run": [runs[1]], "two runs": runs, "event log": [LOG]}[what]
    done = CliRunner(charset="ascii").invoke(main, ["report", *map(str, given), "--format", "html"])
    assert done.exit_code == 0, done.output
    page = done.stdout_bytes.decode("utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert 'id="verdict"' in page
    assert (runs[1] / "report.html").exists() == (what == "run")
    if what == "run":
        assert (runs[1] / "report.html").read_text(encoding="utf-8") == page


def test_findings_and_what_if_as_json(runs: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(main, ["report", str(runs[1]), "--format", "json"])
    verdict = json.loads(done.stdout)["verdict"]
    assert [(each["host"], each["kind"]) for each in verdict["findings"]] == [
        ("node2", "cpu-quota"),
        ("node3", "freeze"),
    ]
    assert [each["host"] for each in verdict["what_if"]["hosts"]] == ["node2", "node3"]
