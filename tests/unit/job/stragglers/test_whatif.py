import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from job.schemas import TIMING_SCHEMA
from job.stragglers.expected import expected
from job.stragglers.findings import Analysis
from job.stragglers.lines import Lines
from job.stragglers.stretches import Stretch
from job.stragglers.whatif import WhatIf, what_if
from tests.unit.job.stragglers.conftest import STAGE_MS, Rows

BEGAN = 1_760_000_000.0
STEP_S, STEPS = 5.0, 20


def timings(*tasks: tuple[str, float, float], images: int = 10) -> pa.Table:
    """Tasks of as many images each: host, start and end in s."""
    rows: Rows = []
    for number, (host, start, end) in enumerate(tasks):
        seconds = (end - start) / images
        for image in range(images):
            rows.append(
                {f"{stage}_ms": ms for stage, ms in STAGE_MS.items()}
                | {"image_id": f"{number}/{image}", "kind": "image", "host": host}
                | {"task_id": number, "started_at": BEGAN + start + image * seconds}
                | {"total_ms": 1e3 * seconds, "warmup": False}
            )
    return pa.Table.from_pylist(rows, schema=TIMING_SCHEMA)


def analysis(
    *,
    slow: Mapping[str, tuple[int, int, float]] | None = None,
    away: Mapping[str, tuple[float, float]] | None = None,
    hosts: tuple[str, ...] = ("a", "b"),
) -> Analysis:
    """Of hosts of which some were ``slow`` from one step to another, by a factor, or away."""
    empty = np.zeros((len(hosts), STEPS))
    return Analysis(
        hosts=(),
        seen=Lines(
            hosts=hosts,
            edges=BEGAN + STEP_S * np.arange(STEPS + 1),
            busy=empty,
            images=empty,
            cost=empty,
            counted={},
            sampled={},
        ),
        cost=np.zeros(0),
        expected=expected(hosts, {}, {}),
        stretches={
            host: Stretch(
                host=hosts.index(host),
                first=first,
                last=last,
                size=math.log(factor),
                error=0.05,
                z=9.0,
            )
            for host, (first, last, factor) in (slow or {}).items()
        },
        away={host: BEGAN + np.array([each]) for host, each in (away or {}).items()},
    )


def replayed(table: pa.Table, of: Analysis, *hosts: str) -> WhatIf | None:
    """All images cost the same."""
    return what_if(table, replace(of, cost=np.ones(table.num_rows)), hosts)


def asked(table: pa.Table, of: Analysis, *hosts: str) -> WhatIf:
    found = replayed(table, of, *hosts)
    assert found is not None
    return found


# b takes twice as long: four tasks of a in the time of two of b.
HALF = (
    *(("a", at, at + 10.0) for at in (0.0, 10.0, 20.0, 30.0)),
    *(("b", at, at + 20.0) for at in (0.0, 20.0)),
)


def test_a_host_slow_all_along() -> None:
    found = asked(timings(*HALF), analysis(slow={"b": (0, STEPS, 2.0)}), "b")
    assert found.actual == pytest.approx(40)
    assert found.replayed == pytest.approx(40)
    # Six tasks of 10 s on two hosts, or on one.
    assert found.healed == {"b": pytest.approx(30)}
    assert found.without == {"b": pytest.approx(60)}
    assert found.all_healed == found.ideal == pytest.approx(30)
    assert found.cost_s("b") == pytest.approx(10)


def test_a_host_slow_from_some_time_on() -> None:
    tasks = (
        *(("a", at, at + 10.0) for at in (0.0, 10.0, 20.0, 30.0)),
        *(("b", at, at + 10.0) for at in (0.0, 10.0)),
        ("b", 20.0, 50.0),
    )
    found = asked(timings(*tasks), analysis(slow={"b": (4, STEPS, 3.0)}), "b")
    assert found.actual == pytest.approx(50)
    assert found.replayed == pytest.approx(50)
    assert found.healed["b"] == pytest.approx(40)  # seven tasks: one has four
    assert found.without["b"] == pytest.approx(70)
    assert found.ideal == pytest.approx(35)


def test_a_slow_stretch_that_begins_and_ends_within_tasks() -> None:
    # Slow by 2 from 5 to 15 s: 20 s of work take it 25.
    tasks = (("a", 0.0, 20.0), ("a", 20.0, 40.0), ("b", 0.0, 25.0), ("b", 25.0, 45.0))
    found = asked(timings(*tasks), analysis(slow={"b": (1, 3, 2.0)}), "b")
    assert found.replayed == pytest.approx(45)
    assert found.healed["b"] == pytest.approx(40)


def test_a_task_goes_to_the_host_that_is_free_first() -> None:
    # Healed, b takes what a would have had to do at the end.
    tasks = (("a", 0.0, 10.0), ("a", 10.0, 20.0), ("b", 0.0, 30.0), ("a", 20.0, 30.0))
    found = asked(timings(*tasks), analysis(slow={"b": (0, STEPS, 3.0)}), "b")
    assert found.replayed == pytest.approx(30)
    assert found.healed["b"] == pytest.approx(20)
    assert found.ideal == pytest.approx(20)


def test_a_host_that_stood_still() -> None:
    tasks = (("a", 0.0, 10.0), ("a", 10.0, 20.0), ("b", 0.0, 22.0), ("a", 20.0, 30.0))
    found = asked(timings(*tasks), analysis(away={"b": (4.0, 16.0)}), "b")
    assert found.replayed == pytest.approx(30)
    assert found.healed["b"] == pytest.approx(20)
    assert found.without["b"] == pytest.approx(40)


def test_hosts_rest_between_tasks_as_long_as_they_did() -> None:
    tasks = (
        *(("a", at, at + 10.0) for at in (0.0, 11.0, 22.0, 33.0)),
        *(("b", at, at + 20.0) for at in (0.0, 21.0)),
    )
    found = asked(timings(*tasks), analysis(slow={"b": (0, STEPS, 2.0)}), "b")
    assert found.replayed == pytest.approx(43)
    assert found.healed["b"] == pytest.approx(32)
    assert found.without["b"] == pytest.approx(65)
    assert found.ideal == pytest.approx(30)  # nobody ever waits


def test_a_host_that_began_late_begins_late() -> None:
    tasks = (("a", 0.0, 10.0), ("a", 10.0, 20.0), ("a", 20.0, 30.0), ("b", 12.0, 32.0))
    found = asked(timings(*tasks), analysis(slow={"b": (0, STEPS, 2.0)}), "b")
    assert found.replayed == pytest.approx(32)
    assert found.healed["b"] == pytest.approx(30)


def test_of_several_each_is_healed_by_itself_and_all_together() -> None:
    tasks = (
        *(("a", at, at + 10.0) for at in (0.0, 10.0, 20.0, 30.0)),
        *(("b", at, at + 20.0) for at in (0.0, 20.0)),
        ("c", 0.0, 40.0),
    )
    of = analysis(
        slow={"b": (0, STEPS, 2.0), "c": (0, STEPS, 4.0)},
        hosts=("a", "b", "c"),
    )
    found = asked(timings(*tasks), of, "c", "b")
    assert [*found.healed] == ["c", "b"]
    assert found.replayed == pytest.approx(40)
    assert found.all_healed == pytest.approx(30)  # seven tasks on three hosts
    assert found.ideal == pytest.approx(70 / 3)
    assert found.healed["c"] == pytest.approx(40)  # b still begins its second one at 20
    assert found.healed["b"] == pytest.approx(40)  # c still has its one until then
    assert found.without["c"] == pytest.approx(50)
    # Of the others none is healed: the ideal is with those asked for only.
    assert asked(timings(*tasks), of, "b").ideal == pytest.approx(70 / (1 + 1 + 1 / 4))
    assert asked(timings(*tasks), of).ideal == pytest.approx(70 / (1 + 1 / 2 + 1 / 4))


def test_a_lone_host_has_nobody_to_leave_its_tasks_to() -> None:
    tasks = (("a", 0.0, 20.0), ("a", 20.0, 40.0))
    found = asked(timings(*tasks), analysis(slow={"a": (0, STEPS, 2.0)}, hosts=("a",)), "a")
    assert found.without == {"a": None}
    assert found.healed["a"] == pytest.approx(20)


def test_to_heal_a_host_costs_nothing() -> None:
    found = asked(timings(*HALF), analysis(), "b")
    assert found.cost_s("b") == 0.0
    worse = WhatIf(
        actual=10.0, replayed=10.0, healed={"a": 12.0}, without={}, all_healed=12.0, ideal=9.0
    )
    assert worse.cost_s("a") == 0.0


def test_the_order_of_the_rows_does_not_matter() -> None:
    table, of = timings(*HALF), analysis(slow={"b": (0, STEPS, 2.0)})
    mixed = table.take(np.random.default_rng(1).permutation(table.num_rows))
    one, other = asked(table, of, "b"), asked(mixed, of, "b")
    assert one.healed["b"] == pytest.approx(other.healed["b"])
    assert one.ideal == pytest.approx(other.ideal)


def test_rows_that_tell_no_time_are_not_replayed() -> None:
    assert replayed(timings(), analysis(), "a") is None
    rows = [row | {"started_at": None} for row in timings(*HALF).to_pylist()]
    unknown = pa.Table.from_pylist(rows, schema=TIMING_SCHEMA)
    assert replayed(unknown, analysis(), "b") is None
    # One row without: its task is a little shorter, no more.
    rows = timings(*HALF).to_pylist()
    rows[3]["total_ms"] = None
    some = pa.Table.from_pylist(rows, schema=TIMING_SCHEMA)
    found = asked(some, analysis(slow={"b": (0, STEPS, 2.0)}), "b")
    assert found.healed["b"] == pytest.approx(30, abs=2)
