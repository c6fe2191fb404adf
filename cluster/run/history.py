"""How fast hosts were in earlier runs, so that the next one knows what to expect of each."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.places import state
from job.errors import UsageError
from job.host import HostFacts
from job.parts import write_atomically
from job.rundir import RunDirectory
from job.stragglers import Verdict, speeds

KEPT = 5
# Fewer images of a host tell too little of its speed.
MIN_IMAGES = 30
ROUNDS = 20


def speeds_of(run: Path) -> dict[str, float]:
    """Images per second of each host of a run directory.

    Raises:
        UsageError: it is none, or its rows tell of no host.
    """
    RunDirectory(run).read()
    try:
        found = speeds(pq.read_table(run / "timings.parquet"))
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{run / 'timings.parquet'} cannot be read: {error}") from error
    if not found:
        raise UsageError(f"{run}: no host finished an image there outside its warm-up")
    return found


def remember(inventory: Path, path: Path, record: Mapping[str, Any], found: Verdict) -> None:
    """Keep what hosts did in the run in PATH, if it finished on a cluster, none was slow, and it
    was long enough to tell."""
    least = min((host.images for host in found.hosts), default=0)
    if record["mode"] == "local" or record["status"] != "finished":
        return
    if found.straggler or least < MIN_IMAGES:
        return
    alike = record["model"]["digest"], record["engine"], record["precision_asked"]
    History.of(inventory, *alike).add(record["hosts"], speeds_of(path))


@dataclass(frozen=True)
class History:
    """The last runs of one model by one engine on the hosts of one inventory."""

    path: Path

    @classmethod
    def of(cls, inventory: Path, model: str, engine: str, precision: str) -> "History":
        """That of runs alike, MODEL being its digest, PRECISION as it was asked for."""
        place = inventory.resolve()
        what = [str(place), model, engine, precision]
        name = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
        return cls(state() / "speeds" / f"{place.name}-{name}.json")

    def speeds(self, hosts: Iterable[HostFacts]) -> dict[str, float]:
        """Images per second of those of HOSTS that are known and have the processor they had.

        Not the quota they had: one that was lowered since is a reason to be slow. Runs differ in
        their images, so a host's speed is its part in those of the runs that it was in.
        """
        processors = {host.host: _processor(asdict(host)) for host in hosts}
        runs = [
            {
                name: known["images_per_second"]
                for name, known in run.items()
                if _processor(known["facts"]) == processors.get(name)
            }
            for run in self._runs()
        ]
        runs = [run for run in runs if run]
        names = sorted({name for run in runs for name in run})
        if not names:
            return {}
        logs = np.array([[np.log(run.get(name, np.nan)) for name in names] for run in runs])
        of_run, of_host = np.zeros((len(runs), 1)), np.zeros(len(names))
        for _ in range(ROUNDS):  # median polish
            of_run = np.nanmedian(logs - of_host, axis=1, keepdims=True)
            of_host = np.nanmedian(logs - of_run, axis=0)
        return dict(zip(names, np.exp(of_host + of_run[-1]).tolist(), strict=True))

    def add(
        self, hosts: Sequence[Mapping[str, Any]], images_per_second: Mapping[str, float]
    ) -> None:
        """Keep what HOSTS, as run.json has them, did in a run; the last ``KEPT`` runs stay."""
        run = {
            host["host"]: {
                "images_per_second": images_per_second[host["host"]],
                "facts": dict(host),
            }
            for host in hosts
            if host["host"] in images_per_second
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps([*self._runs(), run][-KEPT:], indent=1))

    def _runs(self) -> list[dict[str, Any]]:
        try:
            runs: list[dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet, or damaged: it is only a memory
            return []
        return runs


def _processor(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return facts["cpu_model"], facts["cpus_visible"]
