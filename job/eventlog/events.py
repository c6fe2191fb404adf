"""Event lines to tables (org.apache.spark.util.JsonProtocol, Spark 2 to 4).

A log has a line of JSON for each event. Nearly all of it is ends of tasks, and nearly all of those
is accumulators, which say again what the metrics say: they are cut out, and the rest goes through
Arrow's JSON reader in batches. Memory grows with the columns of the tables alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from job.errors import UsageError
from job.eventlog.codecs import Plain
from job.eventlog.files import EVENT, Entry, Storage
from job.stragglers.attempts import EXECUTORS, STAGES, TASKS

VERSIONS = ("2", "3", "4")
BATCH_BYTES = 2**25
REASON = 200  # characters kept of why a task failed
# How Spark calls an executor that it ended by itself: dynamic allocation, decommissioning.
_ASKED_FOR = ("killed by driver", "decommission")

_LISTENER = EVENT + b'"SparkListener'
_TASK_END = _LISTENER + b'TaskEnd"'


def _fields(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


_NUMBER, _TEXT = pa.int64(), pa.string()
_TASK_END_SCHEMA = pa.schema(
    [
        *_fields(_NUMBER, "Stage ID", "Stage Attempt ID"),
        pa.field(
            "Task End Reason",
            pa.struct(
                _fields(_TEXT, "Reason", "Kill Reason", "Loss Reason", "Class Name", "Message")
            ),
        ),
        pa.field(
            "Task Info",
            pa.struct(
                [
                    *_fields(_NUMBER, "Task ID", "Index", "Attempt", "Launch Time", "Finish Time"),
                    *_fields(_NUMBER, "Getting Result Time"),
                    *_fields(_TEXT, "Host", "Executor ID"),
                    pa.field("Speculative", pa.bool_()),
                ]
            ),
        ),
        pa.field(
            "Task Metrics",
            pa.struct(
                [
                    *_fields(_NUMBER, "Executor Run Time", "Executor CPU Time"),
                    *_fields(_NUMBER, "Executor Deserialize Time", "Result Serialization Time"),
                    *_fields(_NUMBER, "JVM GC Time", "Disk Bytes Spilled"),
                    pa.field(
                        "Shuffle Read Metrics",
                        pa.struct(
                            [
                                *_fields(_NUMBER, "Fetch Wait Time", "Remote Bytes Read"),
                                *_fields(_NUMBER, "Local Bytes Read", "Total Records Read"),
                            ]
                        ),
                    ),
                    pa.field(
                        "Shuffle Write Metrics",
                        pa.struct(_fields(_NUMBER, "Shuffle Bytes Written", "Shuffle Write Time")),
                    ),
                    pa.field(
                        "Input Metrics",
                        pa.struct(_fields(_NUMBER, "Bytes Read", "Records Read")),
                    ),
                    pa.field("Output Metrics", pa.struct(_fields(_NUMBER, "Bytes Written"))),
                ]
            ),
        ),
    ]
)


@dataclass(kw_only=True)
class EventLog:
    """An application as its log tells it; the tables are those of ``job.stragglers.attempts``.

    Moments are epoch seconds; what the log does not say is None, ``ended`` too while it runs.
    """

    tasks: pa.Table
    executors: pa.Table
    stages: pa.Table
    name: str | None = None
    id: str | None = None
    version: str | None = None
    started: float | None = None
    ended: float | None = None
    notes: list[str] = field(default_factory=list)


def read(storage: Storage, entries: Sequence[Entry]) -> EventLog:
    """Read the files of one log, in order.

    Raises:
        UsageError: a file cannot be read or is no event log, or Spark's version is not known.
    """
    reader = _Reader(entries[0].path)
    for entry in entries:
        plain = Plain(storage.pieces(entry.path), entry.path)
        for piece in plain:
            reader.take(piece)
        reader.end_file()
        if plain.cut:
            reader.notes.append(f"{entry.name} ends in the middle: what is whole of it was read.")
        if entry.name.endswith(".compact"):
            reader.notes.append(
                f"{entry.name}: Spark compacted this log, and left out tasks of jobs that ended."
            )
    return reader.result()


class _Reader:
    def __init__(self, path: str) -> None:
        self.notes: list[str] = []
        self._path = path
        self._begun = False
        self._rest = b""
        self._said: dict[str, Any] = {}
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._tables: list[pa.Table] = []
        self._damaged = 0
        self._executors: dict[str, dict[str, Any]] = {}
        self._stages: dict[tuple[int, int], dict[str, Any]] = {}
        self._wanted = {
            b"LogStart": self._log_start,
            b"ApplicationStart": self._application_start,
            b"ApplicationEnd": self._application_end,
            b"ExecutorAdded": self._executor_added,
            b"ExecutorRemoved": self._executor_removed,
            b"StageSubmitted": self._stage,
            b"StageCompleted": self._stage,
        }

    def take(self, piece: bytes) -> None:
        """The next bytes of a file."""
        if not self._begun and not piece.startswith(EVENT):
            raise UsageError(
                f"{self._path} is no Spark event log: it does not begin with an event, as in"
                f" {EVENT.decode()} ..."
            )
        self._begun = True
        first, *more = piece.split(b"\n")
        self._rest += first
        for line in more:
            self._take_line(self._rest)
            self._rest = line

    def end_file(self) -> None:
        """What is left is the last line, perhaps not whole."""
        if self._rest:
            self._take_line(self._rest)
        self._rest = b""

    def _take_line(self, line: bytes) -> None:
        if line.startswith(_TASK_END):
            self._batch.append(_without_accumulators(line))
            self._batch_bytes += len(self._batch[-1])
            if self._batch_bytes > BATCH_BYTES:
                self._flush()
            return
        name = line[len(_LISTENER) : line.find(b'"', len(_LISTENER))]
        handler = self._wanted.get(name) if line.startswith(_LISTENER) else None
        if handler:
            try:
                handler(json.loads(line))
            except (ValueError, KeyError, TypeError):
                self._damaged += 1

    def result(self) -> EventLog:
        if not self._begun:
            raise UsageError(f"{self._path} is empty: it holds no event.")
        self._flush()
        if self._damaged:
            self.notes.append(
                f"Lines that cannot be read and are left out: {self._damaged:,}"
                " (one at the end is usual where a log still grows)."
            )
        tasks = pa.concat_tables([*self._tables, TASKS.empty_table()])
        if "ended" not in self._said:
            self.notes.append(
                "The log does not say that the application ended: it is running or was killed."
            )
        return EventLog(
            tasks=tasks.unify_dictionaries().combine_chunks(),
            executors=pa.Table.from_pylist(list(self._executors.values()), schema=EXECUTORS),
            stages=pa.Table.from_pylist(
                [self._stages[key] for key in sorted(self._stages)], schema=STAGES
            ),
            notes=self.notes,
            **self._said,
        )

    def _flush(self) -> None:
        if not self._batch:
            return
        lines, self._batch, self._batch_bytes = self._batch, [], 0
        try:
            events = _parsed(lines)
        except pa.ArrowException:
            sound = [line for line in lines if _is_sound(line)]
            self._damaged += len(lines) - len(sound)
            if not sound:
                return
            events = _parsed(sound)
        self._tables.append(_tasks(events))

    def _log_start(self, event: dict[str, Any]) -> None:
        version = event["Spark Version"]
        if version.split(".")[0] not in VERSIONS:
            raise UsageError(
                f"{self._path} is of Spark {version}: logs of Spark {VERSIONS[0]} to {VERSIONS[-1]}"
                " are read."
            )
        self._said["version"] = version

    def _application_start(self, event: dict[str, Any]) -> None:
        self._said["name"], self._said["id"] = event["App Name"], event.get("App ID")
        self._said["started"] = event["Timestamp"] / 1000

    def _application_end(self, event: dict[str, Any]) -> None:
        self._said["ended"] = event["Timestamp"] / 1000

    def _executor_added(self, event: dict[str, Any]) -> None:
        info = event["Executor Info"]
        self._executors[event["Executor ID"]] = {
            "executor": event["Executor ID"],
            "host": info["Host"],
            "cores": info["Total Cores"],
            "added": event["Timestamp"] / 1000,
            "lost": False,
        }

    def _executor_removed(self, event: dict[str, Any]) -> None:
        executor = self._executors.get(event["Executor ID"])
        if executor and "removed" not in executor:
            reason = event["Removed Reason"]
            executor["removed"], executor["reason"] = event["Timestamp"] / 1000, reason
            executor["lost"] = not any(words in reason.lower() for words in _ASKED_FOR)

    def _stage(self, event: dict[str, Any]) -> None:
        info = event["Stage Info"]
        key = info["Stage ID"], info["Stage Attempt ID"]
        moments = {
            name: info[f"{title} Time"] / 1000
            for name, title in (("submitted", "Submission"), ("completed", "Completion"))
            if f"{title} Time" in info
        }
        self._stages[key] = {
            "stage": key[0],
            "stage_attempt": key[1],
            "name": info["Stage Name"],
            "tasks": info["Number of Tasks"],
            "failure": info.get("Failure Reason"),
            **moments,
        }


def _without_accumulators(line: bytes) -> bytes:
    """Quotes inside of a JSON string are escaped, so that what is looked for is a key."""
    start, end = line.find(b',"Accumulables":['), line.rfind(b',"Task Metrics":{')
    return line[:start] + b"}" + line[end:] if 0 < start < end else line


def _is_sound(line: bytes) -> bool:
    try:
        _parsed([line])
    except pa.ArrowException:
        return False
    return True


def _parsed(lines: Sequence[bytes]) -> pa.Table:
    content = b"\n".join(lines)
    return pyarrow.json.read_json(
        pa.BufferReader(content),
        read_options=pyarrow.json.ReadOptions(block_size=len(content) + 1),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=_TASK_END_SCHEMA, unexpected_field_behavior="ignore"
        ),
    )


def _tasks(events: pa.Table) -> pa.Table:
    """The rows of ``TASKS`` of some task ends."""
    # Spark says so of a task that was done when its output was lost: its end is there already.
    reason = pc.struct_field(events["Task End Reason"], "Reason")
    events = events.filter(pc.not_equal(reason, "Resubmitted"))

    def of(*path: str) -> pa.ChunkedArray:
        return pc.struct_field(events[path[0]], list(path[1:]))

    def metric(*path: str) -> pa.ChunkedArray:
        return of("Task Metrics", *path).cast(pa.float64(), safe=False)

    def added(*columns: pa.ChunkedArray) -> pa.ChunkedArray:
        total = columns[0]
        for column in columns[1:]:
            total = pc.add(total, pc.fill_null(column, 0))
        return total

    def moment(name: str) -> pa.ChunkedArray:
        return pc.divide(of("Task Info", name).cast(pa.float64()), 1000.0)

    reason = of("Task End Reason", "Reason")
    status = pc.case_when(
        pc.make_struct(pc.equal(reason, "Success"), pc.equal(reason, "TaskKilled")),
        "success",
        "killed",
        "failed",
    )
    getting = of("Task Info", "Getting Result Time").cast(pa.float64())
    finish = of("Task Info", "Finish Time").cast(pa.float64())
    fetched = pc.if_else(pc.greater(getting, 0), pc.subtract(finish, getting), 0.0)
    columns = {
        "stage": events["Stage ID"],
        "stage_attempt": events["Stage Attempt ID"],
        "task": of("Task Info", "Task ID"),
        "partition": of("Task Info", "Index"),
        "attempt": of("Task Info", "Attempt"),
        "speculative": of("Task Info", "Speculative"),
        "host": of("Task Info", "Host"),
        "executor": of("Task Info", "Executor ID"),
        "launched": moment("Launch Time"),
        "finished": moment("Finish Time"),
        "status": status,
        "reason": _reasons(events["Task End Reason"]),
        "run_ms": metric("Executor Run Time"),
        "cpu_ms": pc.divide(metric("Executor CPU Time"), 1e6),
        "deserialize_ms": metric("Executor Deserialize Time"),
        "result_ms": added(metric("Result Serialization Time"), fetched),
        "gc_ms": metric("JVM GC Time"),
        "fetch_wait_ms": metric("Shuffle Read Metrics", "Fetch Wait Time"),
        "shuffle_write_ms": pc.divide(metric("Shuffle Write Metrics", "Shuffle Write Time"), 1e6),
        "spilled_bytes": metric("Disk Bytes Spilled"),
        "input_bytes": metric("Input Metrics", "Bytes Read"),
        "shuffle_read_bytes": added(
            metric("Shuffle Read Metrics", "Remote Bytes Read"),
            metric("Shuffle Read Metrics", "Local Bytes Read"),
        ),
        "records_read": added(
            metric("Input Metrics", "Records Read"),
            metric("Shuffle Read Metrics", "Total Records Read"),
        ),
        "written_bytes": added(
            metric("Output Metrics", "Bytes Written"),
            metric("Shuffle Write Metrics", "Shuffle Bytes Written"),
        ),
    }
    return pa.table(
        [
            columns[each.name].dictionary_encode()
            if pa.types.is_dictionary(each.type)
            else columns[each.name].cast(each.type)
            for each in TASKS
        ],
        schema=TASKS,
    )


def _reasons(reasons: pa.ChunkedArray) -> pa.ChunkedArray:
    """What became of an attempt and why, in one line; null for a success."""
    kind = pc.struct_field(reasons, "Reason")
    why = pc.coalesce(
        *(
            pc.struct_field(reasons, name)
            for name in ("Kill Reason", "Loss Reason", "Class Name", "Message")
        )
    )
    text = pc.binary_join_element_wise(kind, why, ": ", null_handling="skip")
    line = pc.utf8_slice_codeunits(pc.replace_substring_regex(text, r"(?s)\s*\n.*", ""), 0, REASON)
    return pc.if_else(pc.equal(kind, "Success"), pa.scalar(None, pa.string()), line)
