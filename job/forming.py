"""The verdict while it forms: what the images done so far tell of the hosts."""

import json
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from job.rundir import RunDirectory
from job.schemas import TIMING_SCHEMA
from job.stragglers import Verdict, verdict

EVERY_S = 3.0
# The newest of them: what is judged is how hosts are now, and the driver has more to do than this.
MOST_ROWS = 20_000
# Parts are read again for this: of many that have come, some tell as much.
MOST_PARTS = 50


class Forming:
    """Reads parts of a run that goes on, each once."""

    def __init__(self, run: RunDirectory, record: Mapping[str, Any]) -> None:
        """Of RUN, of which RECORD tells as much as run.json will: hosts and options."""
        self._run = run
        self._record = record
        self._read = {path.name for path in run.part_files()}
        self._rows: list[dict[str, Any]] = []
        self._looked_at = 0.0

    def look(self) -> Verdict | None:
        """The verdict so far; None where nothing is new, or was looked at just now."""
        if time.monotonic() - self._looked_at < EVERY_S:
            return None
        self._looked_at = time.monotonic()
        new = [path for path in self._run.part_files() if path.name not in self._read]
        self._read.update(path.name for path in new)
        before = len(self._rows)
        for path in new[-MOST_PARTS:]:
            with path.open(encoding="utf-8") as lines:
                self._rows += [json.loads(line)["timing"] for line in lines]
        if len(self._rows) == before:
            return None
        self._rows = self._rows[-MOST_ROWS:]
        rows = pa.Table.from_pylist(self._rows, schema=TIMING_SCHEMA)
        return verdict(rows, record=self._record)
