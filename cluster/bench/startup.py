"""``cluster bench startup``: how soon a job starts on YARN, by how its environment comes there.

In one lab, in rounds: a ratio is taken inside a round and the median of the rounds is the figure,
for machines drift. What a run costs the network is measured in the same labs.
"""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.bench import links, naive
from cluster.bench.labs import deployed
from cluster.bench.result import Result
from cluster.bench.starts import Row, StartupLab
from cluster.bench.throughput import model_of
from cluster.env import build
from cluster.inventory import EDGE
from cluster.lab import network, nspawn
from cluster.lab.machines import machines_of
from cluster.ssh import Fleet

YARN, HETERO = "lab-yarn", "lab-hetero"
LABS = (YARN, HETERO)
TARGETS = {
    "warm_over_spark_pi_s": ("<=", 15.0),
    "cold_over_naive": ("<=", 0.5),
    "cold_over_naive_hetero": ("<=", 1 / 3),
    "network_mb_per_image": ("<=", 0.3),
    "link_loss": ("<=", 0.1),
}

PUSH = "push"
NAIVE = "naive: a local archive"
PRIVATE = "naive: private on HDFS"
COLD = "ours, cold"
PI = "Spark's pi.py"
WARM = "ours, warm"
RESTARTED = "ours, warm, NodeManagers restarted"
PHOTOS = "photos"
UNSHAPED = "photos, link not slowed"

START_COLUMNS = (
    *("submit_s", "localise_s", "executor_s", "wait_s", "model_load_s", "first_image_s"),
    "total_s",
)
LINK_COLUMNS = ("images", "images_per_s", "image_mb", "link_mb")


def measure(
    *,
    labs: Sequence[str],
    runs: int,
    images: int,
    photos: int,
    model: str,
    tell: Callable[[str], None],
) -> Result:
    """Measure in each of LABS, of ``LABS``, one after the other, in RUNS rounds.

    Args:
        labs: shipped inventories.
        runs: rounds in each lab.
        images: how many of the shipped images a start is measured with.
        photos: how many photos the network is measured with; 0 leaves it out.
        model: what those are run through; a name, a folder, or ``seeded:N``.
        tell: called with a line about what is measured now.

    Raises:
        ClusterError: labs cannot run here, a step failed, or took longer than it may.
        JobError: a run failed.
    """
    found = model_of(model, tell)
    build.build(tell=tell)
    archive = naive.archive(tell)
    rows: list[Row] = []
    for name in labs:
        with (
            tempfile.TemporaryDirectory(prefix="bench-runs-") as folder,
            deployed(name, tell) as inventory,
            Fleet(inventory) as fleet,
        ):
            lab = StartupLab(
                name=name, inventory=inventory, fleet=fleet, folder=Path(folder), tell=tell
            )
            for row in _starts(lab, archive, runs=runs, images=images):
                rows.append({"lab": name, **row})
            for row in _links(lab, found.folder, runs=runs if photos else 0, photos=photos):
                rows.append({"lab": name, **row})
    measured = figures(rows)
    return Result(
        bench="startup",
        rows=rows,
        figures=measured,
        targets={name: target for name, target in TARGETS.items() if name in measured},
        notes=[
            f"{runs} rounds; medians; the first image of each host, of {images}; every phase of"
            " `naive` and `cold` begins with NodeManagers that have nothing",
            f"The network: {photos} photos through {found.name}",
        ],
    )


def _starts(lab: StartupLab, archive: Path, *, runs: int, images: int) -> Iterator[Row]:
    lab.tell(f"{lab.name}: {PUSH}")
    yield {"round": 1, "way": PUSH, "host": "", "total_s": lab.push()}
    lab.tell(f"{lab.name}: the naive archive to the edge host and to HDFS")
    local, private = lab.put_naive(archive)
    for number in range(1, runs + 1):
        for way, before, adapt in (
            (NAIVE, lab.forget, local),
            (PRIVATE, lab.forget, private),
            (COLD, lab.forget, None),
            (PI, None, None),
            (WARM, None, None),
            (RESTARTED, lab.restart, None),
        ):
            lab.tell(f"{lab.name}, round {number} of {runs}: {way}")
            if before:
                before()
            common = {"round": number, "way": way}
            if way == PI:
                yield {**common, "host": "", "total_s": lab.spark_pi()}
                continue
            for row in lab.start(images=images, adapt=adapt or (lambda cluster: cluster)):
                yield {**common, **row}


def _links(lab: StartupLab, model: Path, *, runs: int, photos: int) -> Iterator[Row]:
    """Runs as the lab is, and where a link is slowed, with that link at full speed beside each."""
    if not runs:
        return
    machines = machines_of(lab.inventory)
    edge = lab.inventory.first(EDGE).name
    slowed = [machine.name for machine in machines if machine.bandwidth_mbit is not None]
    lab.tell(f"{lab.name}: {photos} photos to HDFS")
    source = links.put_photos(lab, photos)
    for number in range(1, runs + 1):
        # In turn the one or the other first, for what a machine does drifts.
        for free in (None, *slowed)[:: 1 if number % 2 else -1]:
            way = UNSHAPED if free else PHOTOS
            lab.tell(f"{lab.name}, round {number} of {runs}: {way}")
            name = nspawn.Lab.of(lab.inventory.path).name
            link = network.unshaped(name, machines, free) if free else contextlib.nullcontext()
            with link:
                measured = links.photos(lab, model=model, source=source)
            for row in measured:
                host = row["host"]
                common = {"round": number, "way": way, "remote": host != edge}
                if free in (None, host):
                    yield {**common, **row, "slowed": free is None and host in slowed}


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """The figures that ROWS have what is needed for.

    A way's seconds are those until its last host's first image. A photo crosses the network once
    where its reader holds no copy, so the bytes are taken from the hosts that hold none.
    """
    found: dict[str, float] = {}
    for lab, suffix in ((YARN, ""), (HETERO, "_hetero")):
        seconds = _seconds([row for row in rows if row["lab"] == lab])
        rounds = {number for number, _ in seconds}
        pairs = [{way: seconds.get((number, way)) for way in _WAYS} for number in sorted(rounds)]
        for name, one, other in (
            ("warm_over_spark_pi_s", WARM, PI),
            ("restarted_over_spark_pi_s", RESTARTED, PI),
        ):
            over = [a - b for a, b in _both(pairs, one, other)]
            if over:
                found[name + suffix] = statistics.median(over)
        ratios = [a / b for a, b in _both(pairs, COLD, NAIVE)]
        if ratios:
            found[f"cold_over_naive{suffix}"] = statistics.median(ratios)
    if per_image := [row["link_mb"] for row in rows if row["way"] == PHOTOS and row["remote"]]:
        found["network_mb_per_image"] = statistics.median(per_image)
    free = {(row["round"], row["host"]): row for row in rows if row["way"] == UNSHAPED}
    losses = [
        1 - row["images_per_s"] / free[row["round"], row["host"]]["images_per_s"]
        for row in rows
        if row["way"] == PHOTOS and row["slowed"]
    ]
    if losses:
        found["link_loss"] = statistics.median(losses)
    return found


_WAYS = (NAIVE, PRIVATE, COLD, PI, WARM, RESTARTED)


def _seconds(rows: Sequence[Row]) -> dict[tuple[int, str], float]:
    """Until the last host was there, by round and way."""
    longest: dict[tuple[int, str], float] = {}
    for row in rows:
        if "total_s" in row:
            key = row["round"], row["way"]
            longest[key] = max(longest.get(key, 0.0), row["total_s"])
    return longest


def _both(
    rounds: Sequence[Mapping[str, float | None]], one: str, other: str
) -> Iterator[tuple[float, float]]:
    for seconds in rounds:
        first, second = seconds[one], seconds[other]
        if first is not None and second is not None:
            yield first, second


def tables(rows: Sequence[Row]) -> list[list[dict[str, Any]]]:
    """Medians over the rounds by way and host, a table a lab: of the starts, and of the network."""
    labs = dict.fromkeys(row["lab"] for row in rows)
    return [
        table
        for columns in (START_COLUMNS, LINK_COLUMNS)
        for lab in labs
        if (table := _medians(lab, [row for row in rows if columns[-1] in row], columns))
    ]


def _medians(lab: str, rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in (row for row in rows if row["lab"] == lab):
        groups.setdefault((row["way"], row["host"]), []).append(row)
    return [
        {f"way, {lab}": way, "host": host}
        | {name: _median([row.get(name) for row in group]) for name in columns}
        for (way, host), group in groups.items()
    ]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
