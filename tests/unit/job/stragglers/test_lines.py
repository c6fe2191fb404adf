from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from job.schemas import HOST_SCHEMA, TIMING_SCHEMA
from job.stragglers.lines import Lines, costs, lines
from job.stragglers.work import Floats
from tests.unit.job.stragglers.conftest import STAGE_MS, MakeTable, Rows

BEGAN = 1_760_000_000.0
LANES = 2


def task(
    host: str,
    seconds: Sequence[float] | Floats,
    *,
    task_id: int = 1,
    at: float = 0.0,
    lanes: int = LANES,
    **changes: Any,
) -> Rows:
    """Rows of a task whose images end so many SECONDS after one another, some under way at once."""
    ends = BEGAN + at + np.cumsum(seconds)
    starts = [BEGAN + at] * lanes + ends.tolist()
    rows: Rows = []
    for number, (start, end) in enumerate(zip(starts, ends.tolist(), strict=False)):
        rows.append(
            dict.fromkeys(TIMING_SCHEMA.names)
            | {f"{stage}_ms": ms for stage, ms in STAGE_MS.items()}
            | {"image_id": f"{host}/{task_id}/{number}", "kind": "image", "host": host}
            | {"task_id": task_id, "started_at": start, "total_ms": 1e3 * (end - start)}
            | {"warmup": False, "cpu_ms": 90.0, "run_delay_ms": 5.0, "throttled_ms": 1.0}
            | changes
        )
    return rows


def seen(
    rows: Rows,
    *,
    lanes: int = LANES,
    away: Mapping[str, Iterable[tuple[float, float]]] | None = None,
    samples: Rows | None = None,
) -> Lines:
    """Of ROWS; ``away`` from and to so many seconds after the beginning."""
    timings = pa.Table.from_pylist(rows, schema=TIMING_SCHEMA)
    return lines(
        timings,
        pa.Table.from_pylist(samples or [], schema=HOST_SCHEMA),
        costs(timings, {}),
        lanes={row["host"]: lanes for row in rows},
        away={host: BEGAN + np.array([*each]) for host, each in (away or {}).items()},
    )


def spread(number: int, *, seed: int = 0) -> Floats:
    """Times of NUMBER images around half a second."""
    return np.asarray(0.5 * np.exp(0.2 * np.random.default_rng(seed).standard_normal(number)))


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_images_under_way_at_once_share_their_time(lanes: int) -> None:
    seconds = spread(40)
    found = seen(task("a", seconds, lanes=lanes), lanes=lanes)
    # All of the task's time, once: their own times overlap.
    assert found.busy.sum() == pytest.approx(seconds.sum())
    assert found.images.sum() == pytest.approx(40)
    assert found.edges[0] == pytest.approx(BEGAN)
    assert found.edges[-1] == pytest.approx(BEGAN + seconds.sum())


def test_the_steps_add_up_to_the_rows() -> None:
    rows = [
        *task("b", spread(60), task_id=1),
        *task("b", spread(60, seed=1), task_id=2, at=70.0),
        *task("a", 2 * spread(30, seed=2), task_id=3, at=20.0),
    ]
    found = seen(rows)
    assert found.hosts == ("a", "b")
    assert found.busy.shape == found.images.shape == found.cost.shape
    assert found.busy.shape == (2, len(found.edges) - 1)
    assert (np.diff(found.edges) > 0).all()
    assert_allclose(found.images.sum(axis=1), [30, 120])
    assert_allclose(
        found.busy.sum(axis=1),
        [2 * spread(30, seed=2).sum(), spread(60).sum() + spread(60, seed=1).sum()],
    )
    for name, each in {"cpu_ms": 90.0, "run_delay_ms": 5.0, "throttled_ms": 1.0}.items():
        assert_allclose(found.counted[name].sum(axis=1), [30 * each, 120 * each])
    assert_allclose(found.counted["fetch_ms"].sum(axis=1), [30 * STAGE_MS["fetch"], 120.0])


def test_what_a_host_did_is_in_the_steps_in_which_it_did_it() -> None:
    rows = task("a", np.full(200, 0.5), task_id=1)
    rows += task("b", np.full(100, 0.5), task_id=2, at=50.0)
    found = seen(rows)
    middle = (found.edges[:-1] + found.edges[1:]) / 2 - BEGAN
    length = np.diff(found.edges)
    early = middle < 45
    assert (found.busy[1, early] == 0).all() and (found.images[1, early] == 0).all()
    assert_allclose(found.busy[0] / length, 1.0, atol=1e-6)
    assert_allclose(found.images[0] / length, 2.0, rtol=1e-6)


def test_a_host_that_waits_for_a_task_is_not_busy() -> None:
    rows = task("a", np.full(40, 0.5), task_id=1)
    rows += task("a", np.full(40, 0.5), task_id=2, at=120.0)
    assert seen(rows).busy.sum() == pytest.approx(40.0)


def test_to_begin_a_task_costs_the_same_whatever_its_size() -> None:
    def run(host: str, size: int, first: int) -> Rows:
        rows: Rows = []
        for number in range(120 // size):
            seconds = np.full(size, 0.5)
            seconds[0] += 0.4  # the lanes are empty
            rows += task(host, seconds, task_id=first + number, at=number * (size / 2 + 1))
        return rows

    found = seen(run("long", 40, 0) + run("short", 10, 100))
    pace = found.cost.sum(axis=1) / found.busy.sum(axis=1)
    assert pace[0] == pytest.approx(pace[1], rel=1e-3)
    # Beginning is 0.4 s, or 0.8 of an image.
    assert_allclose(found.cost.sum(axis=1), [120 + 3 * 0.8, 120 + 12 * 0.8], rtol=1e-3)
    assert_allclose(found.images.sum(axis=1), [120, 120])


def test_warm_up_is_left_out() -> None:
    rows = task("a", np.full(40, 0.5))
    slow = task("b", np.full(40, 0.5), task_id=2)
    for row in slow[:4]:
        row["warmup"] = True
    found = seen(rows + slow)
    assert_allclose(found.images.sum(axis=1), [40, 36])
    assert_allclose(found.busy.sum(axis=1), [20, 18])


def test_images_begun_beside_warm_up_are_left_out_with_it() -> None:
    rows = task("a", np.full(40, 0.5))
    rows[0]["warmup"] = True  # its lane's neighbour's time is its time
    assert seen(rows).images.sum() == pytest.approx(38)


def test_a_task_of_few_images_tells_nothing_but_a_hosts_first_one_may_have_just_begun() -> None:
    few = task("a", np.full(3, 0.5), task_id=2, at=20.0)
    found = seen(task("a", np.full(40, 0.5)) + few + task("b", np.full(4, 0.5), task_id=3))
    assert_allclose(found.images.sum(axis=1), [40, 4])
    assert_allclose(found.busy.sum(axis=1), [20, 2])


def test_of_a_single_odd_image_a_part_counts_and_late_bytes_are_kept() -> None:
    seconds = np.full(60, 0.5)
    seconds[30] = 10.0
    found = seen(task("a", seconds))
    assert found.images.sum() == pytest.approx(60)
    assert found.busy.sum() == pytest.approx(29.5 + 2.5 * 0.5)
    late = task("a", seconds)
    late[30]["fetch_ms"] = 9500.0
    found = seen(late)
    assert found.images.sum() == pytest.approx(60)
    assert found.busy.sum() == pytest.approx(39.5)


def test_several_slow_images_together_are_not_odd() -> None:
    seconds = np.full(80, 0.5)
    seconds[30:50] = 3.0
    found = seen(task("a", seconds))
    assert found.images.sum() == pytest.approx(80)
    assert found.busy.sum() == pytest.approx(90.0)


@pytest.mark.parametrize("stood", [0.6, 30.0])
def test_to_stand_still_is_no_time_of_an_image(stood: float) -> None:
    seconds = np.full(60, 0.5)
    seconds[30] += stood
    rows = task("a", seconds, task_id=1) + task("b", np.full(60, 0.5), task_id=2)
    rows[30]["fetch_ms"] = 1e3 * seconds[30]  # so that it is kept
    rows[31]["fetch_ms"] = 1e3 * seconds[30]  # under way meanwhile
    found = seen(rows, away={"a": [(15.2, 15.2 + stood)]})
    fetch_ms = found.counted["fetch_ms"].sum(axis=1)
    assert fetch_ms[0] <= fetch_ms[1]
    images = found.images.sum(axis=1)
    assert 57 <= images[0] <= 60 and images[1] == pytest.approx(60)
    assert_allclose(found.busy.sum(axis=1) / images, 0.5)


def test_samples_are_means_of_the_seconds_in_a_step() -> None:
    rows = task("a", np.full(100, 0.5), task_id=1) + task("b", np.full(100, 0.5), task_id=2)
    samples = [
        {"host": "a", "at": BEGAN + second + 1, "psi_io": float(second < 25), "cpu_busy": 0.5}
        for second in range(50)
    ]
    samples += [{"host": "elsewhere", "at": BEGAN + 5, "psi_io": 9.0}]
    found = seen(rows, samples=samples)
    io = found.sampled["psi_io"]
    end = found.edges - BEGAN
    assert (io[0, end[1:] <= 24] == 1).all() and (io[0, end[:-1] >= 26] == 0).all()
    assert np.isnan(io[1]).all()
    assert_allclose(found.sampled["cpu_busy"][0], 0.5)
    assert np.isnan(found.sampled["psi_memory"]).all()
    assert not {"host", "at", "source"} & {*found.sampled}


def test_nothing_to_see() -> None:
    nobody = seen([])
    assert nobody.hosts == () and nobody.busy.shape[0] == 0
    one = seen(task("a", [0.5]))
    assert one.hosts == ("a",) and one.busy.sum() == one.images.sum() == 0
    untimed = seen(task("a", np.full(40, 0.5), started_at=None))
    assert untimed.images.sum() == 0


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = task("a", spread(60)) + task("b", spread(60, seed=1), task_id=2)
    mixed = [rows[number] for number in np.random.default_rng(3).permutation(len(rows))]
    one, other = seen(rows), seen(mixed)
    for name in ("edges", "busy", "images", "cost"):
        assert_allclose(getattr(one, name), getattr(other, name))


def pictures(table: MakeTable, random: np.random.Generator, **changes: Any) -> tuple[pa.Table, Any]:
    """Images whose decoding grows with their pixels and post-processing with their objects."""
    pixels = 1e6 * np.exp(0.5 * random.standard_normal(300))
    objects = random.poisson(8, 300)
    stages = {
        "decode_ms": 20 * pixels / 1e6,
        "preprocess_ms": 10 * pixels / 1e6,
        "infer_ms": np.full(300, 60.0),
        "postprocess_ms": 5 + 5 * objects / 8,
    }
    rows: Rows = [
        dict.fromkeys(TIMING_SCHEMA.names)
        | {"host": "a", "kind": "image", "pixels": int(pixels[n]), "detections": int(objects[n])}
        | {name: values[n] for name, values in stages.items()}
        | changes
        for n in range(300)
    ]
    return table(rows), sum(stages.values()) / 100


def test_costs_follow_pixels_and_objects(table: MakeTable) -> None:
    made, truth = pictures(table, np.random.default_rng(0))
    found = costs(made, {})
    assert np.median(found) == pytest.approx(1, abs=0.05)
    assert_allclose(found / np.median(found), truth / np.median(truth), rtol=0.04)


def test_costs_know_neither_hosts_nor_moments(table: MakeTable) -> None:
    made, _ = pictures(table, np.random.default_rng(0))
    usual = costs(made, {})
    slowed = made.to_pylist()
    for row in slowed[:150]:
        for stage in ("decode", "preprocess", "infer", "postprocess"):
            row[f"{stage}_ms"] *= 3
    assert_allclose(costs(table(slowed), {}), usual, rtol=1e-6)


def test_an_inference_of_several_threads_costs_as_much(table: MakeTable) -> None:
    made, _ = pictures(table, np.random.default_rng(0))
    usual = costs(made, {})
    shared = made.to_pylist()
    for row in shared[:150]:
        row |= {"infer_ms": row["infer_ms"] / 4, "host": "b"}
    assert_allclose(costs(table(shared), {"b": 4.0}), usual, rtol=1e-6)


def test_what_is_not_known_of_an_image_makes_it_a_usual_one(table: MakeTable) -> None:
    unknown, _ = pictures(table, np.random.default_rng(0), pixels=None, detections=None)
    assert_allclose(costs(unknown, {}), 1.0)
    stages = dict.fromkeys(name for name in TIMING_SCHEMA.names if name.endswith("_ms"))
    unmeasured, _ = pictures(table, np.random.default_rng(0), **stages)
    assert (costs(unmeasured, {}) == 1).all()


def test_costly_images_are_no_slow_host() -> None:
    # Twice the pixels, and so much more time for decoding: as much work done in a second.
    usual = task("a", np.full(100, 0.5), task_id=1, pixels=1_000_000, infer_ms=50.0, decode_ms=50.0)
    rows = usual + task(
        "b", np.full(60, 0.75), task_id=2, pixels=2_000_000, infer_ms=50.0, decode_ms=100.0
    )
    # Both sizes on both hosts, or it may be the host.
    rows += task(
        "a", np.full(60, 0.75), task_id=3, at=60, pixels=2_000_000, infer_ms=50.0, decode_ms=100.0
    )
    rows += task(
        "b", np.full(60, 0.5), task_id=4, at=60, pixels=1_000_000, infer_ms=50.0, decode_ms=50.0
    )
    found = seen(rows)
    pace = found.cost.sum(axis=1) / found.busy.sum(axis=1)
    assert pace[0] == pytest.approx(pace[1], rel=0.03)
