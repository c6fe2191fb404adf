"""``cluster bench makespan``: how long unequal hosts take for a run, by how its work is parted.

Beside T* = work / sum of speeds, what hosts would take that never wait, with the speed of each host
measured alone in the same round. Where a host slows down midway, T* counts its speed from then on
as that of the host alone with the fault.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.bench import links
from cluster.bench.labs import deployed
from cluster.bench.midway import Midway
from cluster.bench.result import Result
from cluster.bench.starts import Row, StartupLab
from cluster.bench.throughput import model_of
from cluster.env import build
from cluster.inventory import EDGE
from cluster.lab.faults.kinds import Truth
from cluster.lab.faults.order import fault
from cluster.ssh import Fleet
from job.driver import Listener
from job.spec import JobSpec
from job.stragglers import speeds
from job.stragglers.work import ended_at, numbers

LAB = "lab-hetero"
EQUAL, DEFAULT, PLANNER, FAULT = (
    "one equal part a host",
    "Spark's default",
    "our planner",
    "our planner, a fault midway",
)
TARGETS = {"planner_ratio": ("<=", 1.05), "planner_fault_ratio": ("<=", 1.10)}
NAMES = {
    EQUAL: "equal_parts_ratio",
    DEFAULT: "spark_default_ratio",
    PLANNER: "planner_ratio",
    FAULT: "planner_fault_ratio",
}
FACTOR = 3.0
FAULT_AT = 0.4  # of the images
FAULT_S = 900.0  # at most
# spark.sql.files.maxPartitionBytes and openCostInBytes: how Spark parts a folder of files.
PARTITION_BYTES, FILE_BYTES = 128 << 20, 4 << 20


def measure(*, runs: int, photos: int, model: str, tell: Callable[[str], None]) -> Result:
    """Measure in RUNS rounds of PHOTOS photos each.

    Raises:
        ClusterError: labs cannot run here, a step failed, or took longer than it may.
        JobError: a run failed.
    """
    found = model_of(model, tell)
    build.build(tell=tell)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-runs-") as folder,
        deployed(LAB, tell) as inventory,
        Fleet(inventory) as fleet,
    ):
        lab = StartupLab(name=LAB, inventory=inventory, fleet=fleet, folder=Path(folder), tell=tell)
        tell(f"{LAB}: push")
        lab.push()
        bench = _Bench(lab, found.folder, links.put_photos(lab, photos), photos)
        for number in range(1, runs + 1):
            rows += [{"round": number, **row} for row in bench.round()]
    return Result(
        bench="makespan",
        rows=rows,
        figures=figures(rows),
        targets=TARGETS,
        notes=[
            f"{runs} rounds of {photos} photos through {found.name} on {LAB}; T from the first"
            " image's start to the last one's end, all executors awaited; medians",
            f"The fault: {FACTOR:g} times less CPU for one host, once {FAULT_AT:.0%} are done",
        ],
    )


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """T / T* of each way, the median of the rounds."""
    return {
        name: statistics.median(row["ratio"] for row in rows if row["way"] == way)
        for way, name in NAMES.items()
    }


def ideal_s(images: int, own: Mapping[str, float]) -> float:
    """Seconds for IMAGES where hosts of these speeds, in images/s, never wait."""
    return images / sum(own.values())


def ideal_with_fault_s(
    images: int, own: Mapping[str, float], *, host: str, speed: float, after_s: float
) -> float:
    """The same where HOST does SPEED images/s from AFTER_S seconds on."""
    left = images - after_s * sum(own.values())
    return after_s + left / sum({**own, host: speed}.values()) if left > 0 else ideal_s(images, own)


def spark_partitions(sizes: Sequence[int], *, cores: int) -> int:
    """In how many partitions Spark reads files of SIZES bytes, by its source and defaults.

    It packs them by size, each with what opening costs (FilePartition.getFilePartitions).
    """
    padded = sorted((size + FILE_BYTES for size in sizes), reverse=True)
    most = min(PARTITION_BYTES, max(FILE_BYTES, sum(padded) // cores))
    count, filled = 1, 0
    for size in padded:
        if filled and filled + size - FILE_BYTES > most:
            count, filled = count + 1, 0
        filled += size
    return count


@dataclass(frozen=True)
class _Bench:
    """A lab with photos on its HDFS, and what is run there."""

    lab: StartupLab
    model: Path
    source: str
    photos: int

    def round(self) -> Iterator[Row]:
        """Each host alone, then all together, with the work parted in each way."""
        hosts = [host.name for host in self.lab.inventory.group("yarn_nodemanager")]
        own = {}
        for host in hosts:
            own[host] = self._alone(host, hosts)
            yield {"way": f"{host} alone", "images_per_s": own[host]}
        # Not the driver's host: it would slow down more than one host's work.
        edge = self.lab.inventory.first(EDGE).name
        victim = max((host for host in hosts if host != edge), key=lambda host: own[host])
        with self._fault(victim):
            faulty = self._alone(victim, hosts)
        yield {"way": f"{victim} alone with the fault", "images_per_s": faulty}
        timings = self._run(EQUAL, partitions=len(hosts))
        yield _row(EQUAL, timings, ideal_s(self.photos, own))
        default = spark_partitions(timings["bytes_in"].to_pylist(), cores=len(hosts))
        for way, partitions in ((DEFAULT, default), (PLANNER, None)):
            timings = self._run(way, partitions=partitions)
            yield _row(way, timings, ideal_s(self.photos, own))
        midway = Midway(partial(self._fault, victim), at=round(FAULT_AT * self.photos))
        with midway:
            timings = self._run(FAULT, listener=midway)
        began = midway.truth.began if midway.truth else math.inf
        after_s = began - _began(timings)
        ideal = ideal_with_fault_s(self.photos, own, host=victim, speed=faulty, after_s=after_s)
        yield {**_row(FAULT, timings, ideal), "fault_after_s": after_s}

    def _alone(self, host: str, hosts: Sequence[str]) -> float:
        """Images per second of a host, as many as are its share if all were alike."""
        timings = self._run(
            f"{host} alone",
            avoid=[other for other in hosts if other != host],
            limit=self.photos // len(hosts),
        )
        return speeds(timings)[host]

    def _fault(self, host: str) -> AbstractContextManager[Truth]:
        return fault(self.lab.inventory, "cpu-quota", host, factor=FACTOR, seconds=FAULT_S)

    def _run(self, way: str, *, listener: Listener | None = None, **options: Any) -> pa.Table:
        self.lab.tell(f"{LAB}: {way}")
        spec = JobSpec(
            mode="yarn",
            model=self.model,
            input=self.source,
            output=self.lab.new_output(),
            **options,
        )
        self.lab.run(spec, listener=listener)
        return pq.read_table(spec.output / "timings.parquet")


def _began(timings: pa.Table) -> float:
    return float(numbers(timings, "started_at").min())


def _row(way: str, timings: pa.Table, ideal: float) -> Row:
    """A way's seconds from the first image's start to the last one's end."""
    took = float(ended_at(timings).max()) - _began(timings)
    return {"way": way, "seconds": took, "ideal_s": ideal, "ratio": took / ideal}
