"""Drawn masks of a run on a cluster: drawn where the images are, from what was found there."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from job.images.decode import decode
from job.images.source import Listing, Reader
from job.overlay import write_overlay


def draw(run: Path, listing: Listing, categories: Mapping[int, str]) -> None:
    """Draw into RUN/overlays the images of LISTING in which the run in RUN found something."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in pq.read_table(run / "detections.parquet").to_pylist():
        found[row["image_id"]].append(row)
    with closing(Reader()) as reader:
        for ref in listing.images:
            if objects := found.get(ref.image_id):
                pixels = decode(reader.fetch(ref))
                write_overlay(run / "overlays", ref.image_id, pixels, objects, categories)
