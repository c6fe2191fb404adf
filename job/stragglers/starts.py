"""Hosts that began late: their start took longer than their peers'."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from job.stragglers.work import Floats

PHASES = ("localise", "executor_start", "model_load", "first_image")
FIRST_IMAGE = PHASES.index("first_image")
COMPUTED = ("executor_start", "model_load")  # they take longer with part of a CPU
ONE_IMAGE = math.log(3.0)  # it may be an odd one: it says no more than that
COLD_FROM = 1.6
COLD_S = 2.0
LOCALISED_S = 0.2  # what it takes to find a file that is there
FALSE_ALARMS = 0.001
PEERS_WITH_NOISE = 5
MANY = 50  # hosts, of which one is none


@dataclass(frozen=True, kw_only=True)
class Start:
    """By how many times longer a host took to start, and the ``phase`` that it lost most in.

    That took it ``seconds``, and would have taken it ``usual`` as a peer.
    """

    factor: float
    phase: str
    seconds: float
    usual: float


def cold(
    record: Mapping[str, Any], paces: Mapping[str, float], cpus: Mapping[str, float]
) -> dict[str, Start]:
    """Hosts whose start took longer than their peers', by run.json's phases.

    The factor is the geometric mean over the phases that host and peers have. A first image is
    measured in images of the host: ``paces`` are in images/s. ``cpus`` are those a host may use.
    """
    durations: dict[str, dict[str, float]] = {}
    for phase in record.get("phases", ()):
        host, seconds = phase.get("host"), phase.get("seconds")
        if phase["name"] in PHASES and host is not None and seconds and seconds > 0:
            own = durations.setdefault(host, {})
            own[phase["name"]] = max(seconds, own.get(phase["name"], 0.0))
    if sum("localise" in own for own in durations.values()) <= len(durations) / 2:
        # Most had it there: who had not is the odd one.
        for own in durations.values():
            own["localise"] = max(LOCALISED_S, own.get("localise", 0.0))
    hosts = sorted(durations)
    if len(hosts) < 2:
        return {}
    scale = np.array([paces.get(host, np.nan) for host in hosts])
    part = np.array([min(1.0, cpus.get(host, 1.0)) for host in hosts])
    logs = np.full((len(hosts), len(PHASES)), np.nan)
    seconds = np.full(logs.shape, np.nan)
    for row, host in enumerate(hosts):
        for column, name in enumerate(PHASES):
            seconds[row, column] = durations[host].get(name, np.nan)
    with np.errstate(invalid="ignore"):
        logs = np.log(seconds)
        logs[:, FIRST_IMAGE] += np.log(scale)
        for name in COMPUTED:
            logs[:, PHASES.index(name)] += np.log(part)
    usual = _others(logs)
    off = logs - usual
    sure = off.copy()
    sure[:, FIRST_IMAGE] = np.clip(off[:, FIRST_IMAGE], -ONE_IMAGE, ONE_IMAGE)
    count = (~np.isnan(off)).sum(axis=1)
    mean = np.where(count > 0, np.nansum(sure, axis=1) / np.maximum(count, 1), -np.inf)
    least = math.log(COLD_FROM)
    if len(hosts) > PEERS_WITH_NOISE:
        spread = 1.4826 * float(np.median(np.abs(mean[count > 0] - np.median(mean[count > 0]))))
        least = max(least, spread * NormalDist().inv_cdf(1 - FALSE_ALARMS / len(hosts)))
    with np.errstate(invalid="ignore"):
        lost = np.nan_to_num(seconds - seconds / np.exp(off))
    found = {}
    for row in np.flatnonzero((mean > least) & (lost.max(axis=1) >= COLD_S)).tolist():
        worst = int(np.argmax(lost[row]))
        found[hosts[row]] = Start(
            factor=float(np.exp(np.nanmean(off[row]))),
            phase=PHASES[worst],
            seconds=float(seconds[row, worst]),
            usual=float(seconds[row, worst] - lost[row, worst]),
        )
    return found


def _others(logs: Floats) -> Floats:
    """Of each value [hosts, phases] the median of the other hosts', of two the longer one.

    One host that is quick makes the others no late ones.
    """
    if len(logs) > MANY:
        return np.broadcast_to(_longer_median(logs), logs.shape)
    return np.array([_longer_median(np.delete(logs, row, axis=0)) for row in range(len(logs))])


def _longer_median(logs: Floats) -> Floats:
    ordered = np.sort(logs, axis=0)  # NaN last
    known = (~np.isnan(logs)).sum(axis=0)
    middle = np.minimum(known // 2, len(logs) - 1)
    found: Floats = np.where(known > 0, ordered[middle, np.arange(logs.shape[1])], np.nan)
    return found
