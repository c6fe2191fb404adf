"""What a run costs the network in its steady phase, and a host behind a slow link in speed."""

import statistics
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import pyarrow.parquet as pq

from cluster.bench.starts import SAMPLES, Row, StartupLab
from cluster.errors import ClusterError
from cluster.inventory import EDGE
from job.spec import JobSpec

# The network's input is 550 px square: photos with all of its pixels, at a camera's quality.
SIDE = 550
QUALITY = 95
FOLDER = "bench-photos"
RUNS = "/data/runs"
PUT_S = 900.0
LEAST_IMAGES = 3


def write_photos(folder: Path, count: int) -> None:
    """COUNT photos, the shipped ones in turn, with a shorter side of 550 px: some 120 kB each."""
    folder.mkdir()
    encoded = [_scaled(path) for path in sorted((SAMPLES / "photos").glob("*.jpg"))]
    for number in range(count):
        (folder / f"{number:05}.jpg").write_bytes(encoded[number % len(encoded)])


def _scaled(path: Path) -> bytes:
    picture = cv2.imread(str(path))
    height, width = picture.shape[:2]
    scale = SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    _, encoded = cv2.imencode(
        ".jpg",
        cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC),
        [cv2.IMWRITE_JPEG_QUALITY, QUALITY],
    )
    return encoded.tobytes()


def put_photos(lab: StartupLab, count: int) -> str:
    """Put so many photos on HDFS, one copy of each, on the edge host; the input of runs.

    In a lab of three hosts every host would have a copy of every file, and read it without a link.
    So the edge host alone has one, as on a cluster of many hosts a reader is seldom at a copy.
    """
    folder = lab.folder / "photos"
    write_photos(folder, count)
    return put_folder(lab, folder, FOLDER)


def put_folder(lab: StartupLab, folder: Path, name: str) -> str:
    """Put FOLDER on HDFS by a NAME, one copy of each file, on the edge host; its address."""
    send_folder(lab, folder, name)
    lab.edge(f"hdfs dfs -D dfs.replication=1 -put {RUNS}/{name} {name}", seconds=PUT_S)
    return address(lab, name)


def send_folder(lab: StartupLab, folder: Path, name: str) -> None:
    """Send FOLDER to the edge host, to the folder NAME in ``RUNS``."""
    packed = folder.with_name(f"{folder.name}.tar")
    with tarfile.open(packed, "w") as archive:
        archive.add(folder, name)
    lab.fleet.send(
        lab.inventory.first(EDGE), f"tar -C {RUNS} --no-same-owner -xf -", [packed.read_bytes()]
    )
    packed.unlink()


def address(lab: StartupLab, name: str) -> str:
    """Of what is on HDFS by a NAME, as a run's input."""
    user = lab.edge("id -un", seconds=PUT_S).strip()
    return f"hdfs:///user/{user}/{name}"


def photos(lab: StartupLab, *, model: Path, source: str) -> list[Row]:
    """A run on photos: a row for each host of its steady phase."""
    spec = JobSpec(mode="yarn", model=model, input=source, output=lab.new_output())
    lab.run(spec)
    return steady_rows(
        pq.read_table(spec.output / "timings.parquet").to_pylist(),
        pq.read_table(spec.output / "hosts.parquet").to_pylist(),
    )


def steady_rows(
    timings: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """Images per second of each host and what passed its link, both from first to last image.

    ``link_mb`` is what a host received and sent, for each of its images, by the second's samples
    of its own interface (hosts.parquet, 10^6 bytes): the image, its result and all that daemons and
    Spark say meanwhile. A result that is read back by the driver passes the link of its host.

    Raises:
        ClusterError: a host had too few images, or too little time, for a steady phase.
    """
    rows: list[Row] = []
    for host in sorted({row["host"] for row in timings}):
        emitted = sorted(
            row["started_at"] + row["total_ms"] / 1000
            for row in timings
            if row["host"] == host and row["kind"] == "image"
        )
        inside = [
            sample["net_rx_mbs"] + sample["net_tx_mbs"]
            for sample in samples
            if sample["host"] == host
            and emitted[0] < sample["at"] <= emitted[-1]
            and sample["net_rx_mbs"] is not None
        ]
        if len(emitted) < LEAST_IMAGES or not inside:
            raise ClusterError(
                f"{host} did {len(emitted)} images, too few for a steady phase: give more by"
                " --photos."
            )
        rate = (len(emitted) - 1) / (emitted[-1] - emitted[0])
        of_host = [row["bytes_in"] for row in timings if row["host"] == host]
        rows.append(
            {
                "host": host,
                "images": len(emitted),
                "images_per_s": rate,
                "image_mb": statistics.mean(of_host) / 1e6,
                "link_mb": statistics.mean(inside) / rate,
            }
        )
    return rows
