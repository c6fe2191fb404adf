"""How right the replays are, how early the verdict comes, and what the analysis takes."""

import time
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import AT_START, CLEAN, Fault
from cluster.bench.stragglers.noise import Noise
from cluster.bench.stragglers.scoring import CLEARLY_SLOW
from cluster.bench.stragglers.simulator import Run, Trial, simulate
from cluster.bench.stragglers.traces import Trace, by_lab, learned, truth
from cluster.bench.stragglers.trials import Spec
from job.stragglers.findings import analyse
from job.stragglers.whatif import what_if
from job.stragglers.work import Floats, ended_at, image_rows, numbers

RERUN_HOSTS = 20
"""Clusters up to this size are simulated again without their faults."""

SHARES = (0.05, 0.1, 0.2, 0.5)
"""Of the images that are done when the verdict is asked for, before the end."""

LARGE = Cluster(hosts=5000, cpus=(1.0,), lab=False)
LARGE_IMAGES = 1_000_000


def slow_hosts(trial: Trial) -> list[str]:
    """Those that faults slow clearly, and that no freeze or skew disturbs."""
    return [
        host
        for host, true in trial.truth.items()
        if true.factor >= CLEARLY_SLOW and not {*true.kinds} & {"freeze", "skew"}
    ]


def what_if_error(spec: Spec, trial: Trial, noise: Noise) -> float | None:
    """|run time with the slow hosts healed, as replayed / as simulated without faults - 1|.

    None where there is no slow host, or the cluster is large.
    """
    slow = slow_hosts(trial)
    if not slow or spec.cluster.hosts > RERUN_HOSTS or len(trial.truth) > len(slow):
        return None
    healthy = simulate(spec.cluster, images=spec.images, noise=noise, seed=spec.seed)
    replayed = _healed(trial.run, slow)
    return None if replayed is None else abs(replayed / span_s(healthy.run.timings) - 1)


def what_if_errors_real(recorded: Sequence[Trace]) -> list[float]:
    """The same of runs RECORDED, beside the median of their lab's clean ones."""
    errors = []
    for traces in by_lab(recorded).values():
        probed = learned(traces)
        clean = [trace for trace in traces if trace.kind == CLEAN]
        usual = float(np.median([span_s(trace.timings) for trace in clean]))
        for trace in traces:
            if trace.kind in (CLEAN, "freeze", *AT_START):
                continue
            slow = [
                host for host, true in truth(trace, clean).items() if true.factor >= CLEARLY_SLOW
            ]
            run = Run(
                timings=trace.timings,
                samples=trace.samples,
                record=trace.record,
                probed=probed,
            )
            if slow and (replayed := _healed(run, slow)):
                errors.append(abs(replayed / usual - 1))
    return errors


def verdict_at(trial: Trial) -> float | None:
    """The share of the images done by which the verdict names a host that was slow from the start.

    None where there is none such; 1 where it is not named before the end, or not at all.
    """
    slow = [host for host in slow_hosts(trial) if trial.truth[host].since is None]
    if not slow:
        return None
    run = trial.run
    done, sampled = ended_at(run.timings), numbers(run.samples, "at")
    ends = np.sort(ended_at(image_rows(run.timings)))
    for share in SHARES:
        until = float(ends[max(0, int(share * len(ends)) - 1)])
        judged = analyse(
            _before(run.timings, done, until),
            _before(run.samples, sampled, until),
            run.record,
            run.probed,
        )
        if {host.host for host in judged.hosts if host.slow} >= {*slow}:
            return share
    return 1.0


def analysis_s(noise: Noise) -> float:
    """Seconds that the analysis of a million images on 5,000 hosts takes."""
    fault = Fault(kind="cpu-quota", host=7, factor=2.0, since=20)
    run = simulate(LARGE, images=LARGE_IMAGES, faults=(fault,), noise=noise, seed=3).run
    began = time.perf_counter()
    analysis = analyse(run.timings, run.samples, run.record, run.probed)
    what_if(run.timings, analysis, [host.host for host in analysis.hosts if host.slow][:1])
    return time.perf_counter() - began


def span_s(timings: pa.Table) -> float:
    """Seconds from the first image's start to the last one's end."""
    return float(np.nanmax(ended_at(timings)) - np.nanmin(numbers(timings, "started_at")))


def median(values: Iterable[float | None]) -> Sequence[float]:
    """The median of those VALUES that are there, in a list of one; of none, an empty one."""
    known = [value for value in values if value is not None]
    return [float(np.median(known))] if known else []


def _healed(run: Run, slow: Sequence[str]) -> float | None:
    replayed = what_if(run.timings, run.analysis, slow)
    return replayed.all_healed if replayed else None


def _before(table: pa.Table, at: Floats, until: float) -> pa.Table:
    return table.filter(pa.array(at <= until))
