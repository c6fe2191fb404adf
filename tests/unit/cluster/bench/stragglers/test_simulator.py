import numpy as np
import pyarrow.compute as pc
import pytest

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import Fault
from cluster.bench.stragglers.rows import EPOCH
from cluster.bench.stragglers.simulator import Trial, simulate
from job.schemas import HOST_SCHEMA, TIMING_SCHEMA
from job.stragglers.work import numbers
from tests.unit.cluster.bench.stragglers.conftest import QUIET, ends, images_of, mean, of_host

LAB = Cluster(hosts=3, cpus=(1.0,))
UNEVEN_LAB = Cluster(hosts=3, cpus=(0.25, 0.5, 1.0))
MACHINES = Cluster(hosts=3, cpus=(4.0,), lab=False)
SLOW, PEER = "host-0002", "host-0003"


def run(cluster: Cluster, *faults: Fault, images: int = 600, seed: int = 3) -> Trial:
    return simulate(cluster, images=images, faults=faults, noise=QUIET, seed=seed)


def fault(kind: str, factor: float = 2.0, **when: int) -> Fault:
    return Fault(kind=kind, host=1, factor=factor, **when)


@pytest.mark.parametrize(
    ("cluster", "faults"),
    [
        (LAB, ()),
        (UNEVEN_LAB, (fault("skew", 3.0),)),
        (MACHINES, (fault("freeze", 1.0, since=3, until=9), fault("link", since=5))),
        (Cluster(hosts=200, cpus=(1.0, 2.0, 4.0), lab=False), (fault("memory"),)),
    ],
)
def test_every_image_is_done_once_and_the_tables_are_those_of_a_run(
    cluster: Cluster, faults: tuple[Fault, ...]
) -> None:
    made = simulate(cluster, images=6 * cluster.hosts + 50, faults=faults, seed=1).run
    images = images_of(made)
    assert (
        len(images) == len(set(images)) == 6 * cluster.hosts + 50 == made.record["counts"]["done"]
    )
    assert made.timings.schema == TIMING_SCHEMA
    assert made.samples.schema == HOST_SCHEMA
    assert {host["host"] for host in made.record["hosts"]} == set(made.probed) == {*cluster.names}
    assert set(made.timings["host"].to_pylist()) <= {*cluster.names}


def test_every_host_does_the_same_calibration_images_first() -> None:
    made = run(UNEVEN_LAB, images=1200).run.timings
    rows = made.filter(pc.equal(made["kind"], "calibration"))
    by_host = {host: of_host(rows, host)["image_id"].to_pylist() for host in UNEVEN_LAB.names}
    assert len(by_host[SLOW]) == 4
    assert by_host["host-0001"] == by_host[SLOW] == by_host[PEER]
    for host in UNEVEN_LAB.names:
        own = of_host(made, host)
        first = own.sort_by("started_at").slice(0, 4)
        assert set(first["kind"].to_pylist()) == {"calibration"}


def test_the_seed_fixes_the_run_and_faults_do_not_change_what_is_random() -> None:
    one, same = (simulate(LAB, images=100, seed=5) for _ in range(2))
    assert one.run == same.run
    assert one.run.timings != simulate(LAB, images=100, seed=6).run.timings
    slowed = simulate(LAB, images=100, seed=5, faults=(fault("cpu-quota", 3.0),)).run
    assert slowed.probed == one.run.probed
    looks = ["image_id", "bytes_in", "pixels", "detections"]
    for table in (one.run.timings, slowed.timings):
        assert table.select(looks).sort_by("image_id") == one.run.timings.select(looks).sort_by(
            "image_id"
        )


@pytest.mark.parametrize("cluster", [LAB, UNEVEN_LAB, MACHINES])
@pytest.mark.parametrize("kind", ["cpu-quota", "cpu-neighbour", "link", "memory", "disk"])
@pytest.mark.parametrize("factor", [1.3, 3.0])
def test_a_host_takes_its_factor_longer(cluster: Cluster, kind: str, factor: float) -> None:
    trial = run(cluster, fault(kind, factor), images=900)
    truth = trial.truth[SLOW]
    # Of two queues in turn, one is now and then idle: a little is lost beside the slower.
    assert truth.factor == pytest.approx(factor, rel=0.2 if kind in ("link", "disk") else 0.1)
    assert truth.kinds == (kind,) and truth.since is None
    assert list(trial.truth) == [SLOW]
    # And the other hosts do its work.
    healthy = run(cluster, images=900)
    done = [of_host(each.run.timings, SLOW).num_rows for each in (healthy, trial)]
    assert done[1] < done[0] * 0.95


@pytest.mark.parametrize("cluster", [LAB, MACHINES])
def test_a_lower_quota_throttles_and_costs_no_more_cpu_time(cluster: Cluster) -> None:
    healthy, slowed = run(cluster).run, run(cluster, fault("cpu-quota")).run
    assert mean(slowed.timings, "cpu_ms", SLOW) == pytest.approx(
        mean(healthy.timings, "cpu_ms", SLOW), rel=0.03
    )
    for stage in ("decode_ms", "infer_ms", "postprocess_ms"):
        longer = mean(slowed.timings, stage, SLOW) / mean(healthy.timings, stage, SLOW)
        assert longer == pytest.approx(2, rel=0.05)
    held = mean(slowed.timings, "throttled_ms", SLOW)
    assert held > 2 * mean(healthy.timings, "throttled_ms", SLOW) + 100
    assert mean(slowed.samples, "throttled", SLOW) > mean(healthy.samples, "throttled", SLOW) + 0.2
    assert mean(slowed.samples, "cpu_busy", SLOW) == pytest.approx(
        mean(healthy.samples, "cpu_busy", SLOW) / 2, rel=0.1
    )
    quota = QUIET.daemon_cpus + (cluster.cpus[0] - QUIET.daemon_cpus) / 2
    assert numbers(of_host(slowed.samples, SLOW), "cpu_busy").max() < 1.05 * quota
    for column in ("psi_io", "psi_memory", "major_faults"):
        assert mean(slowed.samples, column, SLOW) < 0.1
    # A peer is as it was.
    for column in ("infer_ms", "throttled_ms"):
        assert mean(slowed.timings, column, PEER) == pytest.approx(
            mean(healthy.timings, column, PEER), rel=0.03, abs=1
        )


@pytest.mark.parametrize("cluster", [LAB, MACHINES])
def test_a_neighbour_makes_threads_wait_and_throttles_nothing(cluster: Cluster) -> None:
    healthy, slowed = run(cluster).run, run(cluster, fault("cpu-neighbour")).run
    assert mean(slowed.timings, "throttled_ms", SLOW) < 0.1 * mean(
        run(cluster, fault("cpu-quota")).run.timings, "throttled_ms", SLOW
    )
    assert mean(slowed.timings, "run_delay_ms", SLOW) > 2 * mean(
        healthy.timings, "run_delay_ms", SLOW
    )
    assert mean(slowed.timings, "cpu_ms", SLOW) == pytest.approx(
        mean(healthy.timings, "cpu_ms", SLOW), rel=0.06
    )
    assert mean(slowed.samples, "psi_cpu", SLOW) > mean(healthy.samples, "psi_cpu", SLOW) + 0.2
    # A lab's host counts its own CPU time; a machine counts the neighbour's too.
    busy = mean(slowed.samples, "cpu_busy", SLOW) / mean(healthy.samples, "cpu_busy", SLOW)
    assert busy < 0.6 if cluster.lab else busy > 0.95
    # Noisier than a quota: paces of neighbouring images differ.
    own = of_host(slowed.timings, SLOW)
    quota = of_host(run(cluster, fault("cpu-quota")).run.timings, SLOW)
    assert np.std(np.log(numbers(own, "infer_ms"))) > 1.5 * np.std(
        np.log(numbers(quota, "infer_ms"))
    )


@pytest.mark.parametrize("cluster", [LAB, MACHINES])
def test_a_slow_link_lengthens_fetch_and_emit_and_idles_the_cpu(cluster: Cluster) -> None:
    healthy, slowed = run(cluster).run, run(cluster, fault("link", 3.0)).run
    for stage in ("fetch_ms", "emit_ms"):
        assert mean(slowed.timings, stage, SLOW) > 20 * mean(healthy.timings, stage, SLOW)
    assert mean(slowed.timings, "infer_ms", SLOW) < 1.05 * mean(healthy.timings, "infer_ms", SLOW)
    assert mean(slowed.timings, "cpu_ms", SLOW) == pytest.approx(
        mean(healthy.timings, "cpu_ms", SLOW), rel=0.03
    )
    assert mean(slowed.samples, "cpu_busy", SLOW) < 0.5 * mean(healthy.samples, "cpu_busy", SLOW)
    assert mean(slowed.samples, "psi_io", SLOW) < 0.05
    # Flat at the cap: bytes of an image over three times what it took.
    received = numbers(of_host(slowed.samples, SLOW), "net_rx_mbs")
    pace = 1 / healthy.probed[SLOW]
    cap = QUIET.bytes_median / 1e6 * QUIET.remote_share / (3 * pace)
    assert np.median(received) == pytest.approx(cap + 0.002, rel=0.12)
    assert received.max() < 1.1 * np.median(received) + 0.02  # heartbeats


@pytest.mark.parametrize("cluster", [LAB, MACHINES])
def test_a_slow_disk_shows_in_io_pressure_fetch_and_model_load(cluster: Cluster) -> None:
    healthy, slowed = run(cluster).run, run(cluster, fault("disk", 3.0)).run
    assert mean(slowed.timings, "fetch_ms", SLOW) > 20 * mean(healthy.timings, "fetch_ms", SLOW)
    assert mean(slowed.samples, "psi_io", SLOW) > 0.8
    assert mean(healthy.samples, "psi_io", SLOW) < 0.05
    assert mean(slowed.samples, "major_faults", SLOW) < 1
    if not cluster.lab:
        assert mean(slowed.samples, "disk_await_ms", SLOW) > 5 * mean(
            healthy.samples, "disk_await_ms", SLOW
        )
    assert seconds_of(slowed.record, "model_load", SLOW) == pytest.approx(
        3 * seconds_of(slowed.record, "model_load", PEER)
    )
    # Only those images that lie on it.
    fetch = numbers(of_host(slowed.timings, SLOW), "fetch_ms")
    assert 0.3 < (fetch < 100).mean() < 0.7


@pytest.mark.parametrize("cluster", [LAB, MACHINES])
def test_thrashing_shows_in_faults_and_pressure_with_a_heavy_tail(cluster: Cluster) -> None:
    healthy, slowed = run(cluster).run, run(cluster, fault("memory", 3.0)).run
    assert mean(slowed.samples, "major_faults", SLOW) > 100
    assert mean(slowed.samples, "psi_memory", SLOW) > 0.4
    assert mean(healthy.samples, "psi_memory", SLOW) < 0.01
    assert mean(slowed.samples, "cpu_busy", SLOW) < 0.6 * mean(healthy.samples, "cpu_busy", SLOW)
    own, was = (numbers(of_host(run.timings, SLOW), "infer_ms") for run in (slowed, healthy))
    for values, least, most in ((own, 1.7, 20.0), (was, 1.0, 1.2)):
        assert least < np.percentile(values, 90) / np.median(values) < most
    for stage in ("decode_ms", "postprocess_ms"):
        assert mean(slowed.timings, stage, SLOW) > 2 * mean(healthy.timings, stage, SLOW)
    if not cluster.lab:
        assert mean(slowed.samples, "swap_in", SLOW) > 1
    # Waiting for memory is not waiting for a CPU.
    assert mean(slowed.timings, "run_delay_ms", SLOW) < 1.5 * mean(
        healthy.timings, "run_delay_ms", SLOW
    )


def test_a_freeze_is_a_gap_in_rows_and_samples() -> None:
    slowed = run(LAB, fault("freeze", 1.0, since=40, until=48)).run
    gaps = {
        host: [
            np.diff(np.sort(numbers(of_host(slowed.samples, host), "at"))).max(),
            np.diff(np.sort(ends(of_host(slowed.timings, host)))).max(),
        ]
        for host in (SLOW, PEER)
    }
    assert min(gaps[SLOW]) > 8 and max(gaps[SLOW]) < 12
    assert max(gaps[PEER]) < 4
    held = numbers(of_host(slowed.timings, SLOW), "run_delay_ms")
    assert held.max() < 4 * np.median(held)


def seconds_of(record: object, name: str, host: str) -> float:
    assert isinstance(record, dict)
    found = [each for each in record["phases"] if (each["name"], each["host"]) == (name, host)]
    assert len(found) == 1
    return float(found[0]["seconds"])


def test_a_cold_host_starts_late_and_keeps_its_pace() -> None:
    trial = run(LAB, fault("cold", 4.0), images=900)
    for name, least in (("localise", 3.9), ("model_load", 3.9), ("first_image", 2.0)):
        there, elsewhere = (seconds_of(trial.run.record, name, host) for host in (SLOW, PEER))
        assert there > least * elsewhere
    assert trial.truth[SLOW].factor == pytest.approx(1)
    assert mean(trial.run.timings, "infer_ms", SLOW) == pytest.approx(
        mean(trial.run.timings, "infer_ms", PEER), rel=0.02
    )


def test_costly_images_make_a_task_long_on_a_host_that_is_not_slow() -> None:
    trial = run(LAB, fault("skew", 3.0), images=900)
    (host,) = trial.truth
    assert trial.truth[host].kinds == ("skew",) and trial.truth[host].factor == 1
    rows = trial.run.timings
    clip = rows.filter(pc.starts_with(rows["image_id"], "clip.mp4"))
    rest = rows.filter(pc.invert(pc.starts_with(rows["image_id"], "clip.mp4")))
    assert set(clip["host"].to_pylist()) == {host}
    assert len(set(clip["task_id"].to_pylist())) == 1
    cost = {name: np.mean(numbers(table, "cpu_ms")) for name, table in (("c", clip), ("r", rest))}
    assert cost["c"] / cost["r"] == pytest.approx(3, rel=0.05)
    assert np.median(numbers(clip, "infer_ms")) == pytest.approx(
        np.median(numbers(rest, "infer_ms")), rel=0.05
    )
    assert np.mean(numbers(clip, "pixels")) > 5 * np.mean(numbers(rest, "pixels"))
    slowest = max(
        set(rows["task_id"].to_pylist()),
        key=lambda task: np.median(np.diff(ends(rows.filter(pc.equal(rows["task_id"], task))))),
    )
    assert slowest == clip["task_id"][0].as_py()
    # Those of other images on that host take no longer than elsewhere.
    assert mean(rest, "decode_ms", host) == pytest.approx(
        np.mean([mean(rest, "decode_ms", other) for other in LAB.names]), rel=0.02
    )


def test_a_fault_from_some_time_on_changes_nothing_before_and_ends() -> None:
    healthy, slowed = run(LAB), run(LAB, fault("cpu-quota", 3.0, since=40, until=80))
    before = [
        each.run.timings.filter(pc.less(pa_ends(each), EPOCH + 38)).sort_by("image_id")
        for each in (healthy, slowed)
    ]
    assert before[0].num_rows > 100
    for column in ("image_id", "host", "task_id"):
        assert before[0][column] == before[1][column]
    truth = slowed.truth[SLOW]
    assert truth.since == EPOCH + 40
    assert truth.factor == pytest.approx(3, rel=0.1)
    own = of_host(slowed.run.timings, SLOW)
    at, infer = ends(own) - EPOCH, numbers(own, "infer_ms")
    during = np.median(infer[(at > 43) & (at < 80)])
    after = np.median(infer[at > 85])
    assert during / after == pytest.approx(3, rel=0.1)


def pa_ends(trial: Trial) -> object:
    rows = trial.run.timings
    return pc.add(rows["started_at"], pc.divide(rows["total_ms"], 1e3))


def test_a_link_that_slows_down_midway_is_felt_at_once() -> None:
    slowed = run(LAB, fault("link", 3.0, since=60))
    own = of_host(slowed.run.timings, SLOW)
    late = numbers(own, "fetch_ms") > 300
    started = numbers(own, "started_at")[late]
    assert 55 < started.min() - EPOCH < 70


def test_two_faults_on_one_host_and_on_two() -> None:
    both = run(LAB, fault("cpu-quota"), fault("link", 3.0))
    assert both.truth[SLOW].kinds == ("cpu-quota", "link")
    assert 2.7 < both.truth[SLOW].factor < 3.6  # the link's, and at times the quota's
    assert mean(both.run.timings, "infer_ms", SLOW) > 1.3 * mean(
        run(LAB, fault("link", 3.0)).run.timings, "infer_ms", SLOW
    )
    two = run(LAB, fault("cpu-quota"), Fault(kind="memory", host=0, factor=1.5))
    assert {host: truth.kinds for host, truth in two.truth.items()} == {
        SLOW: ("cpu-quota",),
        "host-0001": ("memory",),
    }
    assert two.truth["host-0001"].factor == pytest.approx(1.5, rel=0.1)


def test_a_quarter_of_a_core_is_more_than_four_times_slower() -> None:
    # Measured: 5.3 times, for daemons take as much of a quarter as of a whole.
    made = run(UNEVEN_LAB).run
    pace = {
        host: np.median(np.diff(np.sort(ends(of_host(made.timings, host)))))
        for host in UNEVEN_LAB.names
    }
    assert pace["host-0001"] / pace["host-0003"] == pytest.approx(5.3, rel=0.07)
    assert made.probed["host-0003"] / made.probed["host-0001"] == pytest.approx(5.3, rel=0.01)
    assert [host["cpus_quota"] for host in made.record["hosts"]] == [0.25, 0.5, 1.0]


def test_stages_overlap_and_the_total_is_all_there_is() -> None:
    rows = of_host(run(LAB).run.timings, SLOW)
    stages = ("fetch", "decode", "preprocess", "infer", "postprocess", "emit")
    work = sum(numbers(rows, f"{stage}_ms") for stage in stages)
    total = numbers(rows, "total_ms")
    assert np.abs(work + numbers(rows, "wait_ms") - total).max() < 1e-6
    assert (numbers(rows, "wait_ms") >= 0).all()
    pace = 1e3 * np.median(np.diff(np.sort(ends(rows))))
    assert np.median(work) > 1.1 * pace


def test_a_lab_host_knows_less_of_itself_than_a_machine() -> None:
    lab, machine = run(LAB).run.samples, run(MACHINES).run.samples
    unknown = {name for name in lab.column_names if lab[name].null_count == lab.num_rows}
    assert unknown == {
        *("cpu_steal", "swap_in", "swap_out", "mhz"),
        *("disk_read_mbs", "disk_write_mbs", "disk_await_ms"),
    }
    assert all(machine[name].null_count == 0 for name in machine.column_names)
    assert set(lab["source"].to_pylist()) == {"cgroup"}
    for table, cpus in ((lab, 1.0), (machine, 4.0)):
        assert numbers(table, "cpu_busy").max() < 1.05 * cpus
        own = numbers(of_host(table, SLOW), "at") - EPOCH
        assert (np.diff(own.astype(int)) == 1).all()


def test_what_counters_say_of_rows_and_seconds_is_one_account() -> None:
    made = run(LAB).run
    rows = of_host(made.timings, SLOW)
    used = numbers(rows, "cpu_ms").sum() / 1e3
    sampled = numbers(of_host(made.samples, SLOW), "cpu_busy")
    assert used == pytest.approx(sampled.sum() - QUIET.daemon_cpus * len(sampled), rel=0.02)
    received = numbers(of_host(made.samples, SLOW), "net_rx_mbs").sum() * 1e6
    assert received == pytest.approx(QUIET.remote_share * numbers(rows, "bytes_in").sum(), rel=0.2)


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(ValueError, match="no host 3"):
        simulate(LAB, images=10, faults=(Fault(kind="link", host=3),))
    with pytest.raises(ValueError, match="an image"):
        simulate(LAB, images=0)


def test_hosts_without_work_have_no_rows() -> None:
    made = simulate(Cluster(hosts=8), images=3, faults=(fault("memory"), fault("skew"))).run
    assert len(images_of(made)) == 3
    assert len(set(made.timings["host"].to_pylist())) <= 3
    assert set(made.samples["host"].to_pylist()) == set(made.timings["host"].to_pylist())
