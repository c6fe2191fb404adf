"""Task attempts of a Spark application: the tables that its analysis takes, and their arrays."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from job.stragglers.additive import total
from job.stragglers.work import Floats, Ints, medians, numbers

Flags = npt.NDArray[np.bool_]

_NAME = pa.dictionary(pa.int32(), pa.string())

TASKS = pa.schema(
    [
        ("stage", pa.int32()),
        ("stage_attempt", pa.int32()),
        ("task", pa.int64()),
        ("partition", pa.int32()),
        ("attempt", pa.int32()),
        ("speculative", pa.bool_()),
        ("host", _NAME),
        ("executor", _NAME),
        ("launched", pa.float64()),
        ("finished", pa.float64()),
        ("status", _NAME),
        ("reason", _NAME),
        ("run_ms", pa.float64()),
        ("cpu_ms", pa.float64()),
        ("deserialize_ms", pa.float64()),
        ("result_ms", pa.float64()),
        ("gc_ms", pa.float64()),
        ("fetch_wait_ms", pa.float64()),
        ("shuffle_write_ms", pa.float64()),
        ("spilled_bytes", pa.float64()),
        ("input_bytes", pa.float64()),
        ("shuffle_read_bytes", pa.float64()),
        ("records_read", pa.float64()),
        ("written_bytes", pa.float64()),
    ]
)
"""One row for each attempt that ended. Moments are epoch seconds by the driver's clock. ``status``
is success, failed or killed, and ``reason`` Spark's for the last two. ``run_ms`` is the executor's
run time, in it ``gc_ms``, ``fetch_wait_ms`` and ``shuffle_write_ms``; ``cpu_ms`` is the JVM's, a
Python worker's left out; ``result_ms`` is making the result and getting it to the driver. What an
attempt without metrics did not tell is null."""

EXECUTORS = pa.schema(
    [
        ("executor", pa.string()),
        ("host", pa.string()),
        ("cores", pa.int32()),
        ("added", pa.float64()),
        ("removed", pa.float64()),
        ("reason", pa.string()),
        ("lost", pa.bool_()),
    ]
)
"""One row for each executor; ``lost`` are those that ended though nobody asked them to."""

STAGES = pa.schema(
    [
        ("stage", pa.int32()),
        ("stage_attempt", pa.int32()),
        ("name", pa.string()),
        ("tasks", pa.int32()),
        ("submitted", pa.float64()),
        ("completed", pa.float64()),
        ("failure", pa.string()),
    ]
)
"""One row for each stage attempt."""


class Attempts:
    """A table like ``TASKS`` as arrays [rows]; hosts, executors and stages are numbered."""

    def __init__(self, tasks: pa.Table) -> None:
        self.table = tasks
        self.host, self.hosts = _coded(tasks["host"])
        self.executor, self.executors = _coded(tasks["executor"])
        stages = numbers(tasks, "stage").astype(np.int64)
        tries = numbers(tasks, "stage_attempt").astype(np.int64)
        most = int(tries.max(initial=0)) + 1
        keys, self.stage = np.unique(stages * most + tries, return_inverse=True)
        self.stages = [(int(key // most), int(key % most)) for key in keys]
        self.partition = numbers(tasks, "partition").astype(np.int64)
        self.launched, self.finished = numbers(tasks, "launched"), numbers(tasks, "finished")
        self.run_ms = numbers(tasks, "run_ms")
        self.done = _is(tasks, "success") & ~np.isnan(self.run_ms)
        self.failed, self.killed = _is(tasks, "failed"), _is(tasks, "killed")

    def of(self, name: str) -> Floats:
        """A column [rows], NaN where the log does not tell."""
        return numbers(self.table, name)

    @property
    def seconds(self) -> Floats:
        """From launch to end [rows], as the driver saw it."""
        return self.finished - self.launched

    @cached_property
    def worked_until(self) -> Floats:
        """When an attempt left its slot [rows]: the driver often knows after the next has begun."""
        worked = self.launched + (self.run_ms + self.of("deserialize_ms")) / 1000
        return np.where(worked < self.finished, worked, self.finished)  # NaN is not less

    @cached_property
    def order(self) -> Floats:
        """When in its stage an attempt was launched [rows], by rank, from 0 to 1.

        Partitions are often in the order of their size, and later tasks run warm code.
        """
        by_stage = np.lexsort((self.launched, self.stage))
        sizes = np.bincount(self.stage, minlength=len(self.stages))
        firsts = np.cumsum(sizes) - sizes
        rank = np.empty(len(self.stage))
        rank[by_stage] = np.arange(len(self.stage)) - firsts[self.stage[by_stage]]
        place: Floats = rank / np.maximum(sizes - 1, 1)[self.stage]
        return place

    def by_host(self, values: Floats, rows: Flags) -> Floats:
        """Sums [hosts] over ``rows``; what is not known counts nothing."""
        return total(np.nan_to_num(values[rows]), self.host[rows], len(self.hosts))

    @cached_property
    def stage_median_ms(self) -> Floats:
        """The median run time of the tasks that were done [stages]."""
        return medians(self.run_ms[self.done], self.stage[self.done], len(self.stages))

    def done_in(self, stage: int) -> Ints:
        """The attempts of a stage, by number, that were done, in the order of their launch."""
        rows, ends = self._by_stage
        return rows[ends[stage] : ends[stage + 1]]

    @cached_property
    def _by_stage(self) -> tuple[Ints, Ints]:
        rows = np.flatnonzero(self.done)
        rows = rows[np.lexsort((self.launched[rows], self.stage[rows]))]
        ends = np.searchsorted(self.stage[rows], np.arange(len(self.stages) + 1))
        return rows, ends

    @cached_property
    def piece(self) -> Ints:
        """A number for the partition of the stage [rows], the same for all its attempts."""
        piece: Ints = self.stage * (int(self.partition.max(initial=0)) + 1) + self.partition
        return piece

    @cached_property
    def winner(self) -> Ints:
        """For each row the row that first did the same partition of the stage; -1 for none."""
        key = self.piece
        done = np.flatnonzero(self.done)
        done = done[np.argsort(self.finished[done], kind="stable")]
        keys, first = np.unique(key[done], return_index=True)
        if not len(keys):
            return np.full(len(key), -1)
        at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        return np.where(keys[at] == key, done[first[at]], -1)

    @cached_property
    def first(self) -> Flags:
        """The first task of each slot of an executor: it loads classes and starts workers."""
        order = np.lexsort((self.launched, self.executor))
        executor, launched = self.executor[order], self.launched[order]
        ends = np.full(len(self.executors), np.inf)
        # Slots are filled at once: until a first task is done, all that start are first ones.
        np.minimum.at(ends, self.executor, self.finished)
        first = np.zeros(len(order), dtype=bool)
        first[order] = launched < ends[executor]
        return first


def at_once(groups: Ints, starts: Floats, ends: Floats, count: int) -> Ints:
    """The most intervals [rows] of a group that overlap, for each of ``count`` groups."""
    group = np.concatenate([groups, groups])
    change = np.repeat([1, -1], len(groups))
    # One that begins as another ends is not beside it.
    order = np.lexsort((change, np.concatenate([starts, ends]), group))
    running = np.cumsum(change[order])  # a group's changes add up to none
    most = np.zeros(count, dtype=np.int64)
    np.maximum.at(most, group[order], running)
    return most


def _coded(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """Numbers [rows] of names in order, and the names; a null reads as "?"."""
    plain = column.cast(pa.string()).fill_null("?").combine_chunks()
    encoded = plain.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = np.argsort(np.array(names, dtype=object))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return rank[codes], [names[at] for at in order]


def _is(tasks: pa.Table, status: str) -> Flags:
    flags: Flags = pc.equal(tasks["status"].cast(pa.string()), status).to_numpy()
    return flags
