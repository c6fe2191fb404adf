import dataclasses
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import Fault
from cluster.bench.stragglers.scoring import outcome
from cluster.bench.stragglers.simulator import simulate
from cluster.bench.stragglers.traces import (
    KEPT,
    Trace,
    files,
    image_s,
    learned,
    read_all,
    trials,
    truth,
    usual_image_s,
)
from cluster.lab.faults.kinds import Truth
from job.errors import UsageError
from job.schemas import HOST_SCHEMA, TIMING_SCHEMA
from job.stragglers import speeds
from job.stragglers.work import numbers
from tests.unit.cluster.bench.stragglers.conftest import QUIET, of_host

LAB = Cluster(hosts=3)
RECORDED = Path(__file__).parents[4] / "traces"


def trace(
    name: str, *faults: Fault, ordered: tuple[Truth, ...] = (), at: float | None = None
) -> Trace:
    """As it would be recorded on three machines alike, without noise."""
    run = simulate(LAB, images=300, faults=faults, noise=QUIET, seed=2).run
    return Trace(
        lab="alike-20260101-000000",
        name=name,
        even=True,
        learns=name.startswith("00"),
        ordered=ordered,
        at=at,
        timings=run.timings,
        samples=run.samples,
        # As JSON has it.
        record={**json.loads(json.dumps(run.record, default=int)), "options": {"speeds": {}}},
    )


def order(began: float, ended: float | None = None, kind: str = "cpu-quota") -> Truth:
    return Truth(
        kind=kind, host="host-0002", factor=2.0, details={"cpus": 0.2}, began=began, ended=ended
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = trace("01-link", ordered=(order(5.0, 9.0),), at=0.4)
    path = written.write(tmp_path)
    assert path == tmp_path / "alike-20260101-000000" / "01-link.zip" == written.place(tmp_path)
    (read,) = read_all(tmp_path)
    for field in dataclasses.fields(Trace):
        if field.name not in ("timings", "samples"):
            assert getattr(read, field.name) == getattr(written, field.name), field.name
    assert read.timings.schema == TIMING_SCHEMA and read.samples.schema == HOST_SCHEMA
    for name in TIMING_SCHEMA.names:
        if pa.types.is_floating(TIMING_SCHEMA.field(name).type):
            there, here = numbers(read.timings, name), numbers(written.timings, name)
            np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-4)
        else:
            assert read.timings[name].to_pylist() == written.timings[name].to_pylist()
    assert read.samples["throttled"].null_count == written.samples["throttled"].null_count


def test_the_same_run_is_the_same_file_and_a_small_one(tmp_path: Path) -> None:
    one, other = (trace("01-clean").write(tmp_path / name) for name in "ab")
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_size < 60_000


def test_what_only_the_machine_knows_is_not_told(tmp_path: Path) -> None:
    fault = order(1.0, 2.0, "disk")
    fault.details.update(device="7:1", output="somewhere", mbs=0.5)
    trace("01-disk", ordered=(fault,)).write(tmp_path)
    (read,) = read_all(tmp_path)
    assert read.ordered[0].details == {"cpus": 0.2, "mbs": 0.5}


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab" / "01-clean.zip"
    path.parent.mkdir()
    path.write_text("no")
    with pytest.raises(UsageError, match=r"01-clean\.zip is no recorded run"):
        read_all(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("trace.json", "{}")
    with pytest.raises(UsageError, match="is no recorded run"):
        read_all(tmp_path)


def test_a_trace_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    path = trace("01-clean").write(tmp_path)
    path.rename(path.with_name(f".{path.name}.tmp"))
    assert files(tmp_path) == []


def test_an_images_time_is_the_hosts_pace_while_it_has_work() -> None:
    run = trace("00-learn-1").timings
    for host, speed in speeds(run).items():
        assert image_s(run, host) == pytest.approx(1 / speed, rel=0.02)
    assert math.isnan(image_s(run, "nobody"))
    starts = numbers(of_host(run, "host-0001"), "started_at")
    middle = float(np.median(starts))
    assert image_s(run, "host-0001", until=middle) == pytest.approx(
        image_s(run, "host-0001", middle), rel=0.1
    )
    assert math.isnan(image_s(run, "host-0001", starts.max() + 1e3))


@pytest.mark.parametrize(("since", "until"), [(0, None), (20, None), (15, 45)])
def test_a_factor_is_that_of_the_seconds_of_the_fault(since: int, until: int | None) -> None:
    fault = Fault(kind="cpu-quota", host=1, factor=2.0, since=since, until=until)
    spec = simulate(LAB, images=300, faults=(fault,), noise=QUIET, seed=2)
    began = float(numbers(spec.run.timings, "started_at").min())
    ordered = order(began + since, began + until if until else None)
    slow = trace("01-cpu-quota", fault, ordered=(ordered,), at=0.4 if since else None)
    found = truth(slow, [trace("00-learn-1"), trace("01-clean")])
    assert {*found} == {"host-0002"}
    assert found["host-0002"].factor == pytest.approx(spec.truth["host-0002"].factor, rel=0.05)
    assert found["host-0002"].since == (ordered.began if since else None)


def test_a_slow_start_and_costly_images_make_no_host_slow() -> None:
    clean = [trace("00-learn-1")]
    cold = trace("01-cold", Fault(kind="cold", host=1, factor=3.0), ordered=(order(1, 1, "cold"),))
    assert truth(cold, clean)["host-0002"].factor == pytest.approx(1.0, abs=0.1)
    skewed = trace("01-skew", ordered=(order(1, 1, "skew"),))
    images = np.array(skewed.timings["image_id"].to_pylist(), dtype=object)
    own = np.array(skewed.timings["host"].to_pylist()) == "host-0003"
    images[own] = "2-costly/" + images[own]
    at = TIMING_SCHEMA.get_field_index("image_id")
    timings = skewed.timings.set_column(at, "image_id", pa.array(images))
    found = truth(dataclasses.replace(skewed, timings=timings), clean)
    assert {host: (each.kinds, each.factor) for host, each in found.items()} == {
        "host-0003": (("skew",), 1.0)
    }


def test_what_is_usual_follows_the_cpu_time_of_the_other_healthy_hosts() -> None:
    clean = trace("00-learn-1")
    at = TIMING_SCHEMA.get_field_index("cpu_ms")
    longer = pa.array(1.1 * numbers(clean.timings, "cpu_ms"))
    today = dataclasses.replace(clean, timings=clean.timings.set_column(at, "cpu_ms", longer))
    usual = image_s(clean.timings, "host-0002")
    assert usual_image_s(today, [clean], "host-0002") == pytest.approx(usual)
    for healthy, ratio in (({"host-0001", "host-0003"}, 1.1), ({"host-0002"}, 1.0)):
        found = usual_image_s(today, [clean], "host-0002", healthy=healthy)
        assert found == pytest.approx(ratio * usual)
    assert math.isnan(usual_image_s(today, [], "host-0002"))


@pytest.mark.parametrize(("kind", "slow"), [("cpu-neighbour", 2), ("cpu-quota", 1)])
def test_hosts_that_a_neighbour_of_another_slows_are_in_the_truth(kind: str, slow: int) -> None:
    faults = [Fault(kind="cpu-quota", host=host, factor=2.0) for host in (1, 2)]
    found = truth(
        trace("01-both", *faults, ordered=(order(0.0, kind=kind),)), [trace("00-learn-1")]
    )
    assert len(found) == slow
    assert {each.kinds for each in found.values()} == {(kind,)}
    assert all(each.factor == pytest.approx(2.0, rel=0.1) for each in found.values())


def test_trials_are_all_runs_but_those_that_speeds_are_learned_from() -> None:
    fault = Fault(kind="cpu-quota", host=1, factor=2.0)
    runs = [
        trace("00-learn-1"),
        trace("00-learn-2"),
        trace("01-cpu-quota", fault, ordered=(order(0.0),)),
        trace("01-clean"),
    ]
    slow, clean = trials(runs)
    assert slow.run.probed == clean.run.probed == learned(runs) == speeds(runs[0].timings)
    assert (slow.clean, clean.clean, slow.even) == (False, True, True)
    assert {*slow.truth} == {"host-0002"} and clean.truth == {}
    assert outcome(slow, {}).hosts[0].kinds == ("cpu-quota",)
    with pytest.raises(UsageError, match="learn"):
        trials(runs[2:])


def test_runs_that_were_recorded_are_trials_of_every_kind() -> None:
    recorded = read_all(RECORDED)
    found = trials(recorded)
    kinds = {kind for trial in found for each in trial.truth.values() for kind in each.kinds}
    assert {"cpu-quota", "cpu-neighbour", "link", "disk", "memory", "freeze", "cold"} <= kinds
    assert {trial.even for trial in found} == {True, False}
    assert any(trial.clean for trial in found)
    for trace_ in recorded:
        assert {*trace_.record} == {*KEPT, "options"}
        assert trace_.timings.num_rows > 100 and trace_.samples.num_rows > 10
    for trial in found:
        assert {*trial.run.probed} == {*trial.run.timings["host"].to_pylist()}
        for each in trial.truth.values():
            quiet = {*each.kinds} <= {"cold", "skew"}
            assert 0.7 < each.factor < 1.4 if quiet else each.factor > 0.9
