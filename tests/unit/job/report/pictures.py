"""The pictures of docs/: pages of recorded runs, by the program itself.

    python -m tests.unit.job.report.pictures TRACES docs

TRACES is a folder of recorded runs (docs/straggler-accuracy.md says how they are made). A page is
opened in a browser without its other sections, and cut off where it ends.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from PIL import Image

from cluster.bench.stragglers.traces import Trace, files, learned
from job.report.build import Report, assemble
from job.report.page import render
from job.report.source import RunTables
from tests.unit.job.report.conftest import browser_path, run_json
from tests.unit.job.report.test_browser import VIRTUAL_TIME, chromium

WIDTH, TALL, MARGIN, COLOURS = 1060, 3000, 16, 256
LIGHT = "--blink-settings=preferredColorScheme=1"


class Picture(NamedTuple):
    """A picture of some SECTIONS of the page of the trace called RUN, of the lab LAB-..."""

    name: str
    lab: str
    run: str
    sections: tuple[str, ...]


TOP = ("header", "#findings", "#what-if", "#summary", "#pace", "#phases")
CARD = ("#findings", "#pace")
PICTURES = (
    Picture("report.png", "alike", "02-link-strong", TOP),
    Picture(
        "straggler-quota.png", "alike", "01-cpu-quota-mild", ("header", "#findings", "#what-if")
    ),
    Picture("straggler-neighbour.png", "alike", "02-cpu-neighbour-strong", CARD),
    Picture("straggler-link.png", "alike", "02-link-mild", CARD),
    Picture("straggler-disk.png", "alike", "02-disk-mild", CARD),
    Picture("straggler-freeze.png", "alike", "01-freeze-long", CARD),
    Picture("straggler-skew.png", "alike", "01-skew-strong", ("header", "#findings")),
    Picture("straggler-none.png", "alike", "01-clean-1", ("header", "#pace")),
)


def report_of(trace: Trace, *, speeds: dict[str, float]) -> Report:
    """The report of a recorded run; what a trace leaves out of run.json is made up."""
    base = run_json([host["host"] for host in trace.record["hosts"]])
    run = {**base, **trace.record, "options": {**base["options"], "speeds": speeds}}
    return assemble(
        RunTables(
            run=run,
            timings=trace.timings,
            samples=trace.samples,
            errors=(),
            error_stages=Counter(),
            notes=(),
        )
    )


def only(page: str, sections: tuple[str, ...]) -> str:
    """The page with these sections alone, as CSS selects them."""
    others = "".join(f":not({section})" for section in sections)
    style = (
        f"body > header{others}, main > {others}, footer {{ display: none }}"
        f" body {{ padding: {MARGIN}px }} header {{ padding: 0 }}"
        f" header + main {{ margin-top: {MARGIN}px }}"
    )
    return page.replace("</style>", f"{style}</style>", 1)


def picture(browser: str, page: str, path: Path, *, width: int = WIDTH) -> None:
    """A picture of the page, cut off below what is on it, and small."""
    with TemporaryDirectory() as folder:
        file, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        file.write_text(page, encoding="utf-8")
        size = (f"--window-size={width},{TALL}", f"--screenshot={shot}")
        chromium(
            browser, Path(folder), VIRTUAL_TIME, "--hide-scrollbars", *size, LIGHT, file.as_uri()
        )
        image = Image.open(shot).convert("RGB")
    pixels = np.asarray(image)
    drawn = np.flatnonzero((pixels != pixels[-1, 0]).any(axis=(1, 2)))
    height = min(image.height, int(drawn.max(initial=0)) + 1 + MARGIN)
    image.crop((0, 0, width, height)).quantize(COLOURS).save(path, optimize=True)


def main(traces: Path, docs: Path) -> None:
    """Make all of them, of the newest lab that has the run."""
    browser = browser_path()
    if browser is None:
        sys.exit("no Chromium on PATH")
    for wanted in PICTURES:
        found = [
            path
            for path in files(traces)
            if path.stem == wanted.run and path.parent.name.startswith(f"{wanted.lab}-")
        ]
        if not found:
            print(f"{wanted.name}: no run {wanted.run} of a lab {wanted.lab}")
            continue
        trace = Trace.read(found[-1])
        lab = [Trace.read(path) for path in files(traces) if path.parent == found[-1].parent]
        report = report_of(trace, speeds=learned(lab))
        picture(browser, only(render(report.data), wanted.sections), docs / wanted.name)
        print(f"{wanted.name}: {report.text}")


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
