"""By how much healthy hosts and images differ, as numbers: given, or fitted to real runs."""

from dataclasses import dataclass

import numpy as np

from job.stragglers.work import Floats

CPU_STAGES = ("decode", "preprocess", "infer", "postprocess")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What a simulated run is drawn from. ``fit_noise`` takes it from recorded runs instead.

    Chosen here by judgement unless a source is named; a spread is the standard deviation of a
    natural logarithm.

    Images. ``cpu_s``: CPU seconds of a usual image, between those of the shipped model (0.04) and
    of YOLACT-ResNet50 (1.7; docs/performance.md). ``shares``: how they go to decode, preprocess,
    infer and postprocess. ``bytes_median``, ``bytes_spread``: sizes of photos of 550 px
    (docs/performance.md: 120 kB). ``pixels_median``: pixels spread as sizes do.
    ``detections_mean`` (docs/performance.md: 8.5). ``pixels_power``: decoding grows with this power
    of the pixels.
    ``detections_weight``: part of a usual image's post-processing that grows with its objects.
    ``unexplained``: spread of cost that no feature tells. ``tail_share`` of the images cost
    e^(exponential with mean ``tail_log``) times more. ``stage_spread``: of one stage's time beside
    the others' of the same image.

    Hosts. ``host_spread``: how they differ although alike. ``probe_error``: spread of a probed
    speed around the true one. ``drift``, ``drift_s``: spread and correlation time of a slow AR(1)
    drift of each host; ``shared_drift`` the same of a lab's one computer, under all of its hosts
    (docs/performance.md: by a third within minutes). ``hiccup_every_s``, ``hiccup_s``: a host
    stands still so often on average, for so long. ``daemon_cpus``: what daemons and Spark's JVM
    take of a host beside the job: it makes a host with a quarter of a core 5.3 times slower
    than one with a core, as was measured. They take most of it every ``heartbeat_s``.

    Counters. In ``io_share`` of the seconds something else waits for the disk, for a part with mean
    ``io_wait``; in ``memory_share`` of them for memory, for ``memory_wait``, as when a file is
    mapped anew. ``pressure_spread``: of a pressure around what the job makes of it.

    Pipeline. ``warmup``: the first image of a lane takes so many times its inference.
    ``drain_images``: what the end of a task costs, in image times (docs/performance.md: 0.65).
    ``task_gap_s``: from a task's end to the next one's start. ``fetch_ms``: to the first byte.
    ``emit_ms``: to add a row. ``link_mbs``, ``disk_mbs``: speeds of links and disks, 10^6 bytes/s.
    ``remote_share`` of the images come over the link, the others from the host's own disk.

    Start, seconds in the median, each with ``start_spread``: ``localise_s``, ``executor_s``,
    ``model_load_s`` (docs/performance.md: hosts of ``lab-yarn`` localise in 3.7 to 6.9 s). With
    part of a CPU the last two take longer by ``start_power`` of it (recorded runs: 26 s at 0.22
    CPUs, 13 s at 0.44, 6.5 s at 0.88).
    """

    cpu_s: float = 0.6
    shares: tuple[float, float, float, float] = (0.09, 0.04, 0.77, 0.10)
    bytes_median: float = 120e3
    bytes_spread: float = 0.3
    pixels_median: float = 400e3
    detections_mean: float = 8.5
    pixels_power: float = 0.9
    detections_weight: float = 0.6
    unexplained: float = 0.08
    tail_share: float = 0.01
    tail_log: float = 0.5
    stage_spread: float = 0.05

    host_spread: float = 0.03
    probe_error: float = 0.03
    drift: float = 0.03
    shared_drift: float = 0.08
    drift_s: float = 60.0
    hiccup_every_s: float = 120.0
    hiccup_s: float = 0.4
    daemon_cpus: float = 0.075
    heartbeat_s: int = 3

    io_share: float = 0.05
    io_wait: float = 0.15
    memory_share: float = 0.02
    memory_wait: float = 0.05
    pressure_spread: float = 0.2

    warmup: float = 2.0
    drain_images: float = 0.65
    task_gap_s: float = 0.03
    fetch_ms: float = 5.0
    emit_ms: float = 1.0
    link_mbs: float = 125.0
    disk_mbs: float = 200.0
    remote_share: float = 0.5

    localise_s: float = 2.0
    executor_s: float = 4.0
    model_load_s: float = 0.4
    start_spread: float = 0.25
    start_power: float = 1.0


USUAL = Noise()


def ar1(
    series: int, seconds: int, *, spread: float, lasts_s: float, random: np.random.Generator
) -> Floats:
    """Stationary first-order autoregressions [series, seconds].

    For more seconds they go on, and are the same before.
    """
    kept = np.exp(-1 / lasts_s)
    steps = spread * random.standard_normal((seconds, series))
    steps[1:] *= np.sqrt(1 - kept**2)
    for at in range(1, seconds):
        steps[at] += kept * steps[at - 1]
    return np.ascontiguousarray(steps.T)
