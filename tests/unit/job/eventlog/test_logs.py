"""Logs that Spark itself wrote, in each codec, whole and growing."""

import gzip
import json
import os
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.errors import UsageError
from job.eventlog import EventLog, Here, find, read

CODECS = ["plain", "lz4", "zstd", "snappy", "rolling"]
UNFINISHED = "The log does not say that the application ended: it is running or was killed."


def read_here(path: Path) -> EventLog:
    return read(Here(), find(Here(), str(path)))


def file_of(folder: Path) -> Path:
    found = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 100]
    return next(path for path in found if not path.name.startswith("."))


def written(folder: Path, content: bytes, name: str = "app-1") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(content)
    return folder / name


def packed(codec: str, logs: Path) -> bytes:
    if codec == "gzip":
        return gzip.compress(file_of(logs / "plain").read_bytes())
    return file_of(logs / codec).read_bytes()


@pytest.fixture(scope="module")
def lines(logs: Path) -> list[bytes]:
    return file_of(logs / "plain").read_bytes().splitlines()


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_tells_the_same(codec: str, logs: Path) -> None:
    found = read_here(logs / codec)
    assert found.notes == []
    assert (found.name, found.version) == ("sums", "3.5.5")
    assert found.id and found.started and found.ended and found.ended > found.started
    assert Counter(found.tasks["stage"].to_pylist()).most_common() == [(0, 8), (1, 4), (2, 1)]
    assert set(found.tasks["status"].to_pylist()) == {"success"}
    assert [row["tasks"] for row in found.stages.to_pylist()] == [8, 4, 1]
    assert found.executors.to_pylist()[0] | {"added": 0} == {
        "executor": "driver", "host": "localhost", "cores": 2, "added": 0, "removed": None,
        "reason": None, "lost": False,
    }  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
def test_a_log_that_grows_is_read_as_far_as_it_goes(codec: str, logs: Path) -> None:
    found = read_here(logs / f"{codec}-running")
    assert found.notes[-1] == UNFINISHED
    assert found.ended is None and found.started
    assert found.tasks.num_rows > 0


@pytest.mark.parametrize("codec", ["plain", "lz4", "zstd", "snappy", "gzip"])
def test_of_a_file_cut_anywhere_what_is_whole_is_read(
    codec: str, logs: Path, lines: list[bytes], tmp_path: Path
) -> None:
    whole = packed(codec, logs)
    seen = []
    for share in (0.5, 0.9, 0.99, 0.999):
        cut = written(tmp_path, whole[: int(share * len(whole))])
        try:
            found = read_here(cut)
        except UsageError as error:
            # Not one block is whole.
            assert str(error) == f"{cut} is empty: it holds no event."
            seen.append(0)
            continue
        seen.append(found.tasks.num_rows)
        assert found.notes[-1] == UNFINISHED
        assert codec == "plain" or f"{cut.name} ends in the middle" in found.notes[0]
    assert seen == sorted(seen)
    assert seen[-1] >= 8


@pytest.mark.parametrize("codec", ["lz4", "zstd", "snappy", "gzip"])
def test_streams_after_one_another_are_one_log(codec: str, logs: Path, tmp_path: Path) -> None:
    found = read_here(written(tmp_path, 2 * packed(codec, logs)))
    assert found.tasks.num_rows == 26
    assert found.notes == []


def test_blocks_of_lz4_that_were_not_worth_packing(lines: list[bytes], tmp_path: Path) -> None:
    def block(content: bytes) -> bytes:
        header = struct.pack("<8sBIII", b"LZ4Block", 0x15, len(content), len(content), 0)
        return header + content

    content = b"\n".join(lines)
    whole = block(content[:5000]) + block(content[5000:]) + block(b"")
    assert read_here(written(tmp_path, whole)).tasks.num_rows == 13
    assert read_here(written(tmp_path, whole)).notes == []
    # The mark of the end is cut.
    assert "ends in the middle" in read_here(written(tmp_path, whole[:-5])).notes[0]


def test_the_columns_are_what_the_events_say(lines: list[bytes], logs: Path) -> None:
    events = [json.loads(line) for line in lines if b'"SparkListenerTaskEnd"' in line]
    rows = read_here(logs / "plain").tasks.to_pylist()
    assert len(rows) == len(events) == 13
    for row, event in zip(rows, events, strict=True):
        info, metrics = event["Task Info"], event["Task Metrics"]
        shuffle, output = metrics["Shuffle Read Metrics"], metrics["Shuffle Write Metrics"]
        expected: dict[str, Any] = {
            "stage": event["Stage ID"],
            "stage_attempt": event["Stage Attempt ID"],
            "task": info["Task ID"],
            "partition": info["Index"],
            "attempt": 0,
            "speculative": False,
            "host": info["Host"],
            "executor": "driver",
            "launched": info["Launch Time"] / 1000,
            "finished": info["Finish Time"] / 1000,
            "status": "success",
            "reason": None,
            "run_ms": metrics["Executor Run Time"],
            "cpu_ms": metrics["Executor CPU Time"] / 1e6,
            "deserialize_ms": metrics["Executor Deserialize Time"],
            "result_ms": metrics["Result Serialization Time"],
            "gc_ms": metrics["JVM GC Time"],
            "fetch_wait_ms": shuffle["Fetch Wait Time"],
            "shuffle_write_ms": output["Shuffle Write Time"] / 1e6,
            "spilled_bytes": metrics["Disk Bytes Spilled"],
            "input_bytes": metrics["Input Metrics"]["Bytes Read"],
            "shuffle_read_bytes": shuffle["Remote Bytes Read"] + shuffle["Local Bytes Read"],
            "records_read": shuffle["Total Records Read"]
            + metrics["Input Metrics"]["Records Read"],
            "written_bytes": output["Shuffle Bytes Written"],
        }
        assert row == pytest.approx(expected)
    assert sum(row["shuffle_read_bytes"] for row in rows) > 0
    assert sum(row["records_read"] for row in rows) > 0


def test_the_files_of_a_rolling_log_are_read_by_their_numbers(
    lines: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "eventlog_v2_app-1"
    parts = np.array_split(np.arange(len(lines)), 11)
    for number, part in enumerate(parts, 1):
        written(folder, b"\n".join(lines[at] for at in part) + b"\n", f"events_{number}_app-1")
    (folder / "appstatus_app-1").touch()
    (folder / ".events_1_app-1.crc").write_bytes(b"crc")
    for path in (folder, tmp_path):
        assert read_here(path).tasks.num_rows == 13
        names = [entry.name for entry in find(Here(), str(path))]
        assert names == [f"events_{number}_app-1" for number in range(1, 12)]

    # Compacted up to 9: what it replaces may be there still.
    kept = b"\n".join(lines[at] for part in parts[:9] for at in part)
    written(folder, kept + b"\n", "events_9_app-1.compact")
    found = read_here(folder)
    assert found.tasks.num_rows == 13
    assert len(find(Here(), str(folder))) == 3
    assert found.notes == [
        "events_9_app-1.compact: Spark compacted this log, and left out tasks of jobs that ended."
    ]


def test_a_pipe_is_read_once(logs: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if not (child := os.fork()):
        pipe.write_bytes(file_of(logs / "lz4").read_bytes())
        os._exit(0)
    assert read_here(pipe).tasks.num_rows == 13
    os.waitpid(child, 0)


def test_lines_that_are_damaged_are_left_out_and_counted(
    lines: list[bytes], tmp_path: Path
) -> None:
    ends = [at for at, line in enumerate(lines) if b'"SparkListenerTaskEnd"' in line]
    stage = next(at for at, line in enumerate(lines) if b'"SparkListenerStageCompleted"' in line)
    broken = list(lines)
    broken[ends[2]] = broken[ends[2]][:500]
    broken[ends[5]] = broken[ends[5]].replace(b'"Launch Time":', b'"Launch Time":"noon","x":')
    broken[stage] = broken[stage][:-20]
    found = read_here(written(tmp_path, b"\n".join(broken)))
    assert found.tasks.num_rows == 11
    assert found.notes == [
        "Lines that cannot be read and are left out: 3 (one at the end is usual where a log still"
        " grows)."
    ]


def ended(line: bytes, reason: dict[str, Any], **info: Any) -> bytes:
    event = json.loads(line)
    event["Task End Reason"] = reason
    event["Task Info"] |= info
    return json.dumps(event, separators=(",", ":")).encode()


def test_attempts_that_did_not_succeed(lines: list[bytes], tmp_path: Path) -> None:
    first = next(at for at, line in enumerate(lines) if b'"SparkListenerTaskEnd"' in line)
    line = lines[first]
    without = json.loads(line)
    without |= {"Task End Reason": {"Reason": "UnknownReason"}, "Task Metrics": None}
    reasons: list[tuple[dict[str, Any], str, str]] = [
        ({"Reason": "TaskKilled", "Kill Reason": "another attempt succeeded"},
         "killed", "TaskKilled: another attempt succeeded"),
        ({"Reason": "ExecutorLostFailure", "Executor ID": "1", "Loss Reason": "gone\nfor ever"},
         "failed", "ExecutorLostFailure: gone"),
        ({"Reason": "ExceptionFailure", "Class Name": "java.lang.OutOfMemoryError",
          "Description": 'a "quoted", "Accumulables":[ text', "Full Stack Trace": "x" * 9000},
         "failed", "ExceptionFailure: java.lang.OutOfMemoryError"),
        ({"Reason": "FetchFailed", "Message": "y" * 900}, "failed", "FetchFailed: " + "y" * 187),
    ]  # fmt: skip
    # A stage's output was lost: the tasks' ends are repeated.
    more = [ended(line, {"Reason": "Resubmitted"})]
    more += [ended(line, reason, Speculative=True) for reason, _, _ in reasons]
    more += [json.dumps(without, separators=(",", ":")).encode()]
    found = read_here(written(tmp_path, b"\n".join([*lines, *more])))
    rows = found.tasks.to_pylist()[13:]
    assert [(row["status"], row["reason"]) for row in rows] == [
        *((status, reason) for _, status, reason in reasons),
        ("failed", "UnknownReason"),
    ]
    assert {row["speculative"] for row in rows[:-1]} == {True}
    assert rows[-1]["run_ms"] is None and rows[-1]["shuffle_read_bytes"] is None
    assert found.notes == []


def test_executors_that_were_lost_and_those_that_were_let_go(
    lines: list[bytes], tmp_path: Path
) -> None:
    added = {"Event": "SparkListenerExecutorAdded", "Timestamp": 5000}
    removed = {"Event": "SparkListenerExecutorRemoved", "Timestamp": 9000}
    reasons = {
        "1": "Executor heartbeat timed out after 120000 ms",
        "2": "Executor killed by driver.",
        "3": "Executor decommission.",
    }
    events = [
        added | {"Executor ID": name, "Executor Info": {"Host": "a", "Total Cores": 4}}
        for name in reasons
    ]
    events += [removed | {"Executor ID": k, "Removed Reason": v} for k, v in reasons.items()]
    # YARN tells of one twice.
    events += [removed | {"Executor ID": "2", "Removed Reason": "Executor Process Lost"}]
    more = [json.dumps(event, separators=(",", ":")).encode() for event in events]
    rows = read_here(written(tmp_path, b"\n".join([*lines, *more]))).executors.to_pylist()[1:]
    assert [(row["executor"], row["lost"]) for row in rows] == [
        ("1", True), ("2", False), ("3", False),
    ]  # fmt: skip
    assert rows[0] == {"executor": "1", "host": "a", "cores": 4, "added": 5.0, "removed": 9.0,
                       "reason": reasons["1"], "lost": True}  # fmt: skip


def test_getting_a_large_result_is_not_the_scheduler_s_delay(
    lines: list[bytes], tmp_path: Path
) -> None:
    at = next(at for at, line in enumerate(lines) if b'"SparkListenerTaskEnd"' in line)
    event = json.loads(lines[at])
    event["Task Info"]["Getting Result Time"] = event["Task Info"]["Finish Time"] - 70
    event["Task Metrics"]["Result Serialization Time"] = 5
    replaced = [*lines[:at], json.dumps(event, separators=(",", ":")).encode(), *lines[at + 1 :]]
    assert read_here(written(tmp_path, b"\n".join(replaced))).tasks["result_ms"][0].as_py() == 75


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: it holds no event"),
        (b"PAR1....PAR1", "is no event log that is read here: it is a Parquet file"),
        (b"PK\x03\x04.....", "it is a ZIP: unpack it, and give what is in it"),
        (b"ZV\x01......", "LZF is not read; spark.eventLog.compression.codec=zstd is"),
        (bytes(range(256)) * 8, "is no Spark event log: it does not begin with an event"),
        (b'{"name": "x"}\n', "is no Spark event log: it does not begin with an event"),
        (b"image_id,host\n1,a\n", "is no Spark event log: it does not begin with an event"),
        (b'{"Event":"SparkListenerLogStart","Spark Version":"1.6.3"}\n',
         "is of Spark 1.6.3: logs of Spark 2 to 4 are read"),
        (b'{"Event":"SparkListenerLogStart","Spark Version":"unknown"}\n',
         "is of Spark unknown: logs of Spark 2 to 4 are read"),
        (b"\x1f\x8bnot gzip at all", "is empty: it holds no event"),
        (b"LZ4Block\x25" + b"\xff" * 40, "is empty: it holds no event"),
    ],
)  # fmt: skip
def test_what_is_no_event_log_is_refused_in_a_sentence(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, content, "what")
    for given in (path, tmp_path):
        with pytest.raises(UsageError) as error:
            read_here(given)
        assert str(error.value).startswith(f"{path} ") and said in str(error.value)
        assert "\n" not in str(error.value)


def test_a_large_file_of_something_else_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UsageError, match="is no Spark event log"):
        read_here(path)


def test_where_no_log_is(tmp_path: Path, logs: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no .*gone: name an event log, or a folder"):
        read_here(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"holds no run \(there is no run.json in it\), and no"):
        read_here(tmp_path)
    with pytest.raises(UsageError, match="lzf is no event log that is read here: LZF is not read"):
        read_here(logs / "lzf")
    written(tmp_path, b"text", "notes.txt")
    written(tmp_path, b"text", "more.txt")
    with pytest.raises(UsageError, match="holds no run"):
        read_here(tmp_path)


def test_several_logs_are_listed_and_one_among_other_files_is_found(
    logs: Path, tmp_path: Path
) -> None:
    written(tmp_path, b"text", "notes.txt")
    written(tmp_path, b"crc", ".app-1.crc")
    shutil.copy(file_of(logs / "zstd"), tmp_path / "app-1.zstd")
    assert read_here(tmp_path).tasks.num_rows == 13
    shutil.copytree(next((logs / "rolling").iterdir()), tmp_path / "eventlog_v2_app-2")
    with pytest.raises(UsageError) as error:
        read_here(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds 2 event logs: name one of app-1.zstd, eventlog_v2_app-2."
    )


def test_a_file_that_cannot_be_read() -> None:
    # For root as well: nothing is mapped at its beginning.
    with pytest.raises(UsageError, match=r"^/proc/self/mem cannot be read: Input/output error\.$"):
        read_here(Path("/proc/self/mem"))


def test_a_large_log_is_read_in_batches(
    lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_here(written(tmp_path, b"\n".join(lines)))
    monkeypatch.setattr("job.eventlog.events.BATCH_BYTES", 3000)
    monkeypatch.setattr("job.eventlog.codecs.PIECE", 1000)
    batched = read_here(tmp_path / "app-1")
    assert batched.tasks.equals(whole.tasks)
    assert isinstance(batched.tasks["host"].type, pa.DictionaryType)
