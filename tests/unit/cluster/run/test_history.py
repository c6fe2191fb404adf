import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.run.history import History, remember, speeds_of
from job.errors import UsageError
from job.host import HostFacts
from job.schemas import TIMING_SCHEMA
from job.stragglers import Cause, HostFactor, Verdict


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "cluster" / "speeds"


def host(name: str, **changes: Any) -> HostFacts:
    facts = {"cpus_visible": 8, "cpus_quota": 4.0, "memory_mb": 4096, "cpu_model": "x"} | changes
    return HostFacts(host=name, bf16=False, **facts)


def add(history: History, images_per_second: Mapping[str, float], **changes: Any) -> None:
    history.add([asdict(host(name, **changes)) for name in images_per_second], images_per_second)


HOSTS = [host("a"), host("b"), host("c")]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History.of(tmp_path / "lab", "sha256:1", "native", "f32")


def test_a_host_has_its_part_in_runs_of_other_images(history: History) -> None:
    assert history.speeds(HOSTS) == {}
    add(history, {"a": 4.0, "b": 2.0})
    add(history, {"a": 40.0, "b": 20.0, "c": 10.0})
    add(history, {"b": 6.0, "c": 3.0})
    assert history.speeds(HOSTS) == pytest.approx({"a": 12.0, "b": 6.0, "c": 3.0})


def test_one_odd_run_of_several_changes_nothing_and_old_ones_are_forgotten(
    history: History,
) -> None:
    for _ in range(4):
        add(history, {"a": 4.0, "b": 4.0})
    add(history, {"a": 4.0, "b": 2.0})
    known = history.speeds(HOSTS)
    assert known["a"] == pytest.approx(known["b"])
    for _ in range(3):
        add(history, {"a": 4.0, "b": 2.0})
    known = history.speeds(HOSTS)
    assert known["a"] == pytest.approx(2 * known["b"])


def test_another_processor_is_another_host_and_another_quota_is_not(history: History) -> None:
    add(history, {"a": 4.0, "b": 2.0})
    assert set(history.speeds([host("a", cpu_model="y"), host("b", cpus_quota=1.0)])) == {"b"}


def test_other_models_engines_and_inventories_have_a_history_of_their_own(
    history: History, tmp_path: Path
) -> None:
    add(history, {"a": 4.0})
    for other in (
        (tmp_path / "lab", "sha256:2", "native", "f32"),
        (tmp_path / "lab", "sha256:1", "orca", "f32"),
        (tmp_path / "lab", "sha256:1", "native", "bf16"),
        (tmp_path / "other", "sha256:1", "native", "f32"),
    ):
        assert History.of(*other).speeds(HOSTS) == {}
    history.path.write_text("damaged")
    assert history.speeds(HOSTS) == {}


def run(folder: Path, *, images: int = 40, seconds: float = 0.1) -> Path:
    folder.mkdir()
    rows = [
        {
            **dict.fromkeys(TIMING_SCHEMA.names),
            **{"image_id": f"{number}", "kind": "image", "host": "a", "task_id": 1},
            **{"started_at": number * seconds, "total_ms": seconds * 1000, "warmup": False},
        }
        for number in range(images)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=TIMING_SCHEMA), folder / "timings.parquet")
    (folder / "run.json").write_text(json.dumps({"schema_version": 1}))
    return folder


def verdict(*, images: int = 40, slow: bool = False) -> Verdict:
    cause = Cause(kind="link", text="its link is slow", action="mend it")
    found = HostFactor(host="a", images=images, findings=(cause,) if slow else ())
    return Verdict(text="", straggler=slow, hosts=(found,))


@pytest.mark.parametrize(
    ("changes", "found", "kept"),
    [
        ({}, verdict(), True),
        ({"status": "incomplete"}, verdict(), False),
        ({"mode": "local"}, verdict(), False),
        ({}, verdict(slow=True), False),
        ({}, verdict(images=29), False),
    ],
)
def test_only_a_healthy_run_of_some_length_is_remembered(
    tmp_path: Path, changes: dict[str, Any], found: Verdict, kept: bool
) -> None:
    record = {
        **{"mode": "yarn", "status": "finished", "engine": "native", "precision_asked": "f32"},
        **{"model": {"digest": "sha256:1"}, "hosts": [asdict(host("a"))]},
        **changes,
    }
    remember(tmp_path / "lab", run(tmp_path / "run"), record, found)
    known = History.of(tmp_path / "lab", "sha256:1", "native", "f32").speeds(HOSTS)
    assert known == (pytest.approx({"a": 10.0}) if kept else {})


def test_a_run_that_tells_no_speed_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run\.json"):
        speeds_of(tmp_path)
    with pytest.raises(UsageError, match="no host finished an image"):
        speeds_of(run(tmp_path / "empty", images=0))
    (run(tmp_path / "damaged") / "timings.parquet").write_text("x")
    with pytest.raises(UsageError, match="cannot be read"):
        speeds_of(tmp_path / "damaged")
