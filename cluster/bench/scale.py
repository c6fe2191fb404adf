"""``cluster bench scale``: what push, warm-up and run take with more hosts, and what with 1000.

Labs of a few small hosts, which share nothing but the network, are measured; each step's time is
fitted as what it is on any cluster and what each host, copy or image adds. What a lab is too small
to show (more readers than copies, the driver's link) is reckoned from sizes and the link's speed.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cluster.bench.deploy import write_inventory
from cluster.bench.labs import command, operated, prepare
from cluster.bench.links import write_photos
from cluster.bench.result import Result
from cluster.env import build
from cluster.env.push import MOST_COPIES
from cluster.errors import ClusterError

# Five such hosts fit the two cores of a small computer, so that each has what it is promised.
CPUS, LINK_MBIT = 0.4, 200.0
STEP_S = 1500.0
# Real hosts; their links and cores are what the reckoning is for.
REAL_LINK_MBIT = 1000.0
REAL_HOSTS = (5, 10, 100, 1000)
REAL_IMAGES = 100_000
# Seconds of compute an image costs one host of those: YOLACT-ResNet50, four images a second.
REAL_IMAGE_S = 0.25

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Term:
    """Seconds of a step: ``base_s``, and ``each_s`` for each of ``per``."""

    step: str
    per: str
    base_s: float
    each_s: float
    error_s: float


def measure(
    *, nodes: Sequence[int], photos: int, model: str, tell: Callable[[str], None]
) -> Result:
    """Measure labs of so many NODES, in each a run of PHOTOS photos.

    Raises:
        ClusterError: labs cannot run here, fewer than two sizes were given, or a step failed.
    """
    if len(set(nodes)) < 2:
        raise ClusterError("--nodes: give two numbers or more, a line is fitted through them.")
    prepare(tell)
    environment = build.build(tell=tell)
    with tempfile.TemporaryDirectory(prefix="bench-") as parent:
        source = Path(parent) / "photos"
        write_photos(source, photos)
        rows = [_measure(count, Path(parent), source, model, tell) for count in nodes]
    terms = fitted(rows)
    archive = build.pack(environment, "tar.gz", 1, tell=tell)
    predicted = predict(terms, archive_mb=archive.stat().st_size / 1e6)
    return Result(
        bench="scale",
        rows=[*rows, *(vars(term) for term in terms), *predicted],
        figures={f"{term.step}_each_s": term.each_s for term in terms},
        targets={},
        notes=[
            f"Labs of hosts with {CPUS:g} of a core and {LINK_MBIT:g} Mbit/s each; one lab a size,"
            f" {photos} photos",
            f"Reckoned for {REAL_IMAGES} images of {REAL_IMAGE_S:g} s on hosts with"
            f" {REAL_LINK_MBIT:g} Mbit/s",
        ],
    )


def _measure(
    count: int, parent: Path, source: Path, model: str, tell: Callable[[str], None]
) -> Row:
    folder = parent / f"lab-{count}"
    write_inventory(folder, count, lab_cpus=CPUS, lab_bandwidth_mbit=LINK_MBIT)
    with operated(folder, tell):
        said = {}
        for step in ("push", "warm"):
            tell(f"{folder.name}: {step}")
            said[step] = json.loads(
                command(folder, "env", step, "--format", "json", seconds=STEP_S)
            )
        tell(f"{folder.name}: a run")
        output = parent / f"run-{count}"
        words = ["--mode", "yarn", "--input", str(source), "--output", str(output)]
        command(folder, "run", *words, "--model", model, "--format", "json", seconds=STEP_S)
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return {"nodes": count, **_steps(said["push"], said["warm"], record)}


def _steps(push: Mapping[str, Any], warm: Mapping[str, Any], record: Mapping[str, Any]) -> Row:
    """The seconds of each step; of what hosts do side by side, those of the slowest."""
    phases: list[Mapping[str, Any]] = record["phases"]

    def of(name: str) -> list[Mapping[str, Any]]:
        return [each for each in phases if each["name"] == name]

    def ends(name: str) -> float:
        return max(float(each["started_at"]) + float(each["seconds"]) for each in of(name))

    begins = min(float(each["started_at"]) for each in of("steady"))
    return {
        "write_s": push["seconds"]["write"],
        "replicate_s": push["seconds"]["replicate"],
        "copies": push["copies"],
        "localise_s": max(sum(host["localised"].values()) for host in warm["hosts"]),
        "submit_s": sum(each["seconds"] for each in of("submit")),
        "executors_s": max(each["seconds"] for each in of("executor_start")),
        "compute_s": ends("steady") - begins,
        "finish_s": ends("write") - ends("steady"),
        "images": record["counts"]["done"],
    }


def fitted(rows: Sequence[Mapping[str, Any]]) -> list[Term]:
    """A line for each step, through labs of different sizes, by least squares.

    A slope below zero is noise: the step does not grow, and its time is the mean.
    """
    terms = []
    for step, per, amount in (
        ("write", "host", lambda row: row["nodes"]),
        ("replicate", "copy beyond the first", lambda row: row["copies"] - 1),
        # Up to MOST_COPIES hosts each reads its own copy.
        ("localise", "-", lambda _: 0),
        ("submit", "host", lambda row: row["nodes"]),
        ("executors", "host", lambda row: row["nodes"]),
        ("compute", "image of one host", lambda row: row["images"] / row["nodes"]),
        ("finish", "host", lambda row: row["nodes"]),
    ):
        seconds = np.array([row[f"{step}_s"] for row in rows])
        amounts = np.array([amount(row) for row in rows], dtype=float)
        design = np.stack([np.ones(len(rows)), amounts], axis=1)
        (base, each), *_ = np.linalg.lstsq(design, seconds, rcond=None)
        if each < 0:
            base, each = seconds.mean(), 0.0
        error = np.abs(design @ np.array([base, each]) - seconds).max()
        terms.append(
            Term(step=step, per=per, base_s=float(base), each_s=float(each), error_s=float(error))
        )
    return terms


def predict(terms: Sequence[Term], *, archive_mb: float) -> list[Row]:
    """The steps' seconds on ``REAL_HOSTS`` hosts, and how many images a second all of them do.

    What the labs' slow cores add to a step is left in: it is an upper bound for real ones. Beyond
    ``MOST_COPIES`` hosts, those read from the copies' links in turn.
    """
    by = {term.step: term for term in terms}

    def on(step: str, amount: float) -> float:
        return by[step].base_s + by[step].each_s * amount

    rows = []
    for hosts in REAL_HOSTS:
        copies = min(hosts, MOST_COPIES)
        waiting = max(0.0, hosts / copies - 1) * archive_mb * 8 / REAL_LINK_MBIT
        row = {
            "hosts": hosts,
            "write_s": on("write", hosts),
            "replicate_s": on("replicate", copies - 1),
            "localise_s": by["localise"].base_s + waiting,
            "submit_s": on("submit", hosts),
            "executors_s": on("executors", hosts),
            "compute_s": REAL_IMAGES * REAL_IMAGE_S / hosts,
            "finish_s": on("finish", hosts),
            "images_per_s": hosts / REAL_IMAGE_S,
        }
        rows.append(row)
    return rows


def tables(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The labs, the terms, and what was reckoned."""
    return [[row for row in rows if key in row] for key in ("nodes", "step", "hosts")]
