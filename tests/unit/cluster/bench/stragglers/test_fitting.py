import dataclasses

import numpy as np
import pytest

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.fitting import fit_noise
from cluster.bench.stragglers.noise import USUAL, Noise
from cluster.bench.stragglers.simulator import simulate
from job.errors import UsageError

OTHER = dataclasses.replace(
    USUAL,
    cpu_s=0.2,
    shares=(0.2, 0.1, 0.5, 0.2),
    bytes_median=60e3,
    pixels_power=0.7,
    detections_mean=4.0,
    detections_weight=0.3,
    unexplained=0.12,
    tail_share=0.03,
    stage_spread=0.1,
    drift=0.1,
    shared_drift=0.2,
    drift_s=30.0,
    host_spread=0.1,
    daemon_cpus=0.15,
    warmup=4.0,
    remote_share=0.8,
    io_share=0.1,
    io_wait=0.3,
    memory_share=0.05,
    memory_wait=0.1,
    pressure_spread=0.1,
)
# Of what a run tells little, little is asked.
WITHIN = {
    **dict.fromkeys(
        ("cpu_s", "bytes_median", "pixels_power", "detections_mean", "detections_weight"), 0.1
    ),
    **dict.fromkeys(("stage_spread", "daemon_cpus", "remote_share"), 0.1),
    **dict.fromkeys(("unexplained", "warmup"), 0.25),
    **dict.fromkeys(
        ("io_share", "io_wait", "memory_wait", "memory_share", "pressure_spread"), 0.35
    ),
    **dict.fromkeys(("drift", "shared_drift", "host_spread"), 0.3),
}


@pytest.mark.parametrize("noise", [USUAL, OTHER])
def test_what_runs_were_drawn_from_is_found(noise: Noise) -> None:
    runs = [simulate(Cluster(hosts=8), images=8000, noise=noise, seed=n).run for n in range(5)]
    fits = [fit_noise(run.timings, run.samples) for run in runs]
    for name, within in WITHIN.items():
        found = np.median([getattr(fit, name) for fit in fits])
        assert found == pytest.approx(getattr(noise, name), rel=within), name
    assert fits[0].shares == pytest.approx(noise.shares, abs=0.01)
    assert 0.3 < np.median([fit.tail_share for fit in fits]) / noise.tail_share < 3


def test_what_a_run_cannot_tell_stays() -> None:
    run = simulate(Cluster(hosts=2), images=60, noise=OTHER, seed=2).run
    found = fit_noise(run.timings, run.samples)
    for name in ("host_spread", "drift", "hiccup_s", "link_mbs", "drain_images", "probe_error"):
        assert getattr(found, name) == getattr(USUAL, name), name


def test_too_short_a_run_is_refused() -> None:
    run = simulate(Cluster(hosts=2), images=20).run
    with pytest.raises(UsageError, match="30 images"):
        fit_noise(run.timings, run.samples)
