import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import job.report
from job.eventlog import Here, find, read
from job.report.eventlog import assemble
from tests.unit.job.eventlog import large

LOGS = Path(large.__file__).parent
SCHEMA = json.loads(Path(job.report.__file__).with_name("eventlog.schema.json").read_text("utf-8"))


def told(path: Path) -> Any:
    data = assemble(read(Here(), find(Here(), str(path))))
    jsonschema.validate(data, SCHEMA)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    return data


def host_of(data: Any, name: str) -> Any:
    return next(host for host in data["hosts"] if host["host"] == name)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real log, unpacked: three hosts on YARN, one of which was frozen in the middle."""
    path = tmp_path_factory.mktemp("logs") / "application_1795705718353_0007"
    path.write_bytes(gzip.decompress((LOGS / "frozen-host.gz").read_bytes()))
    return path


def test_the_host_that_was_frozen_is_found() -> None:
    data = told(LOGS / "frozen-host.gz")
    assert data["verdict"] == {
        "kind": "held",
        "text": "node2 held task 0 of stage 0 for 72 s and did not finish it; node1 then took "
        "3.8 s: ExecutorLostFailure: Stale executor after cluster manager re-registered; it cost "
        "45 s of 94 s. See what it did at that time: frozen, cut off, or out of memory.",
        "straggler": True,
        "hosts": ["node2"],
    }
    assert data["notes"] == [
        "Not compared, for want of 6 tasks in stages that others ran, too: node2.",
        "Lost: 3 executors; failed: 1 attempt.",
    ]
    assert data["application"] == {
        "id": "application_1795705718353_0007",
        "name": "cluster run run",
        "spark_version": "3.5.5",
        "started_at": 1795706119.398,
        "finished_at": 1795706213.524,
        "seconds": 94.126,
    }
    assert [host["tasks"] for host in data["hosts"]] == [25, 0, 18]
    assert [(host["executors"], host["executors_lost"]) for host in data["hosts"]] == [(2, 1)] * 3
    (stage,) = data["stages"]
    assert stage["name"] == "collect at lib/python3.11/concurrent/futures/thread.py:58"
    assert (stage["tasks"], stage["failed"]) == (43, 1)
    assert stage["seconds"] == pytest.approx(81.2, abs=0.1)
    # Two hosts did the rest while the third was frozen.
    assert stage["what_if"]["replayed"] == pytest.approx(35.8, abs=0.5)
    # Their first tasks loaded what the others found loaded.
    assert stage["longest"]["by"] == "start"


def test_a_slow_host_of_a_real_log_is_found(small: Path, tmp_path: Path) -> None:
    # The same log, its tasks dealt out to two hosts in turn, one of which is made slower.
    for factor, kind in ((1.0, "none"), (2.0, "slow")):
        lines = []
        for line in small.read_bytes().splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd" and event["Task Info"]["Host"] != "node2":
                number = event["Task Info"]["Task ID"]
                slow = number % 2 == 0
                event["Task Info"]["Host"] = "tortoise" if slow else "hare"
                noise = np.random.default_rng(number).lognormal(0, 0.1)
                event["Task Metrics"]["Executor Run Time"] = round(
                    1000 * noise * (factor if slow else 1)
                )
                lines.append(json.dumps(event, separators=(",", ":")).encode())
            elif event["Event"] == "SparkListenerLogStart":
                lines.append(line)
        (tmp_path / "log").write_bytes(b"\n".join(lines))
        data = told(tmp_path / "log")
        assert data["verdict"]["kind"] == kind
        factor_seen = host_of(data, "tortoise")["factor"]
        assert factor_seen == pytest.approx(factor, rel=0.1)
    assert data["verdict"]["text"].startswith("tortoise is 1.9")
    assert "x slower than hare (95 % interval " in data["verdict"]["text"]


def test_a_log_of_many_hosts(small: Path, tmp_path: Path) -> None:
    lines = large.large(small, tasks=12_000, hosts=60, stages=4)
    (tmp_path / "log").write_bytes(b"\n".join(lines))
    data = told(tmp_path / "log")
    assert data["verdict"]["hosts"] == ["host-00001"]
    slow = host_of(data, "host-00001")
    assert slow["factor"] == pytest.approx(large.FACTOR, rel=0.05)
    assert slow["low"] < large.FACTOR < slow["high"]
    assert slow["cause"]["kind"] == "cpu_slow"
    assert slow["gc_share"] == pytest.approx(0.05, abs=0.002)
    assert slow["cpu_share"] == pytest.approx(0.8, abs=0.002)
    assert slow["slots"] == large.SLOTS
    assert sum(host["tasks"] for host in data["hosts"]) == 12_000
    assert all(stage["what_if"]["healed"].keys() == {"host-00001"} for stage in data["stages"])


def test_without_a_verdict_the_schema_holds_too(small: Path, tmp_path: Path) -> None:
    lines = [line for line in small.read_bytes().splitlines() if b"SparkListenerTask" not in line]
    (tmp_path / "log").write_bytes(b"\n".join(lines))
    data = told(tmp_path / "log")
    assert data["verdict"]["kind"] == "cannot_tell"
    assert data["hosts"] == data["stages"] == []


def test_a_clock_that_was_set_back_gives_no_negative_time(small: Path, tmp_path: Path) -> None:
    text = small.read_text(encoding="utf-8").replace('"Timestamp":1795706213524', '"Timestamp":1')
    (tmp_path / "log").write_text(text, encoding="utf-8")
    data = told(tmp_path / "log")
    assert data["application"]["seconds"] is None
    # From the first launch to the last end instead.
    assert "; it cost 45 s of 81 s." in data["verdict"]["text"]
