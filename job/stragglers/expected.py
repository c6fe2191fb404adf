"""What a host may be expected to do: as it did before, else as its quota says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from job.stragglers.work import Floats

# How far off (log) a host is that is as ever: where its speed is known, where hosts are declared
# alike, and where they are declared to differ.
KNOWN, ALIKE, UNLIKE = 0.035, 0.06, 0.25
LANES = 2
CUT = 1.25  # a quota is less than it was if the CPUs there are do so much more than others do


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of hosts beforehand; each by host, ``paces`` and ``spreads`` [hosts].

    ``paces``: what they should do, in one unit; ``spreads`` by how much (log) that may be wrong.
    ``cpus`` they may use, ``lanes`` images under way at once, ``threads`` of an inference.
    ``usual_cpus`` [hosts]: those that they had when their paces were learned, NaN where unknown;
    ``limited`` [hosts]: a quota gives them less than there is.
    """

    paces: Floats
    spreads: Floats
    cpus: Mapping[str, float]
    usual_cpus: Floats
    limited: npt.NDArray[np.bool_]
    lanes: Mapping[str, int]
    threads: Mapping[str, float]


def expected(
    hosts: Sequence[str], record: Mapping[str, Any], speeds: Mapping[str, float]
) -> Expected:
    """Of HOSTS, by run.json's RECORD and images/s of earlier runs; both may be empty."""
    facts = {host["host"]: host for host in record.get("hosts", ())}
    cpus = {
        name: float(found)
        for name, host in facts.items()
        if (found := host.get("cpus_quota") or host.get("cpus_visible"))
    }
    visible = [facts.get(host, {}).get("cpus_visible") or np.inf for host in hosts]
    has = np.array([cpus.get(host, np.nan) for host in hosts])
    declared = np.ones(len(hosts)) if np.isnan(has).any() else has
    alike = bool((declared == declared[:1]).all())
    known = np.array([speeds.get(host, np.nan) for host in hosts])
    there = ~np.isnan(known)
    usual = median((known[there] / declared[there]).tolist()) if there.any() else 1.0
    paces = np.where(there, known, declared * usual)
    each = paces / declared
    more = each / np.median(each) if len(each) else each
    workers = [worker for worker in record.get("workers", ()) if worker.get("threads")]
    return Expected(
        paces=paces,
        spreads=np.where(there, KNOWN, ALIKE if alike else UNLIKE),
        cpus=cpus,
        usual_cpus=has * np.where(more > CUT, more, 1.0),
        limited=has < np.array(visible),
        lanes={worker["host"]: int(worker.get("requests") or LANES) for worker in workers},
        threads={
            worker["host"]: worker["threads"] / max(1, worker.get("streams") or 1)
            for worker in workers
        },
    )
