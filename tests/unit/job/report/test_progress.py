import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job.report import build
from job.report.progress import SILENCES, STEPS
from job.stragglers.pace import covered
from tests.unit.job.report.conftest import START, MakeRun, MakeTimings, Trouble

Hosts = dict[str, dict[str, Any]]


def told(run_dir: Path) -> tuple[Any, Hosts]:
    """Edges of the steps, and every host's progress by name."""
    data = json.loads(json.dumps(build(run_dir).data["progress"], allow_nan=False))
    return np.array(data["edges_s"]), {host["host"]: host for host in data["hosts"]}


def pace(host: dict[str, Any]) -> Any:
    return np.array(host["pace"], dtype=float)


@pytest.fixture
def troubled(make_cluster: MakeRun) -> tuple[Any, Hosts]:
    """One slow from half on, one frozen for a while, one that comes late."""
    return told(
        make_cluster(
            5,
            tasks=90,
            images=12,
            node2=Trouble(slow=1.9, slow_from=35),
            node3=Trouble(frozen=(30, 52)),
            node4=Trouble(localise=22),
            node5=Trouble(localise=0.5),
        )
    )


def test_a_host_that_slows_midway_is_as_usual_before_and_slow_after(
    troubled: tuple[Any, Hosts],
) -> None:
    edges, hosts = troubled
    slow = pace(hosts["node2"])
    assert np.nanmax(slow[edges[1:] <= 34]) < 1.3 and np.nanmin(slow[:-1][edges[:-2] >= 36]) > 1.6
    assert np.nanmedian(pace(hosts["node1"])) == pytest.approx(1, abs=0.05)
    after = hosts["node2"]["end_s"] - 35
    assert hosts["node2"]["slow_s"] == pytest.approx(after * (1 - 1 / 1.9), rel=0.1)
    assert abs(hosts["node1"]["slow_s"]) < 3


def test_a_freeze_is_a_gap_in_which_the_host_had_a_task(troubled: tuple[Any, Hosts]) -> None:
    edges, hosts = troubled
    frozen = hosts["node3"]
    ((begin, end),) = frozen["silent"]
    assert (begin, end) == (pytest.approx(30, abs=1), pytest.approx(52, abs=1))
    inside = (edges[:-1] >= begin) & (edges[1:] <= end)
    assert inside.sum() >= 8 and np.isnan(pace(frozen)[inside]).all()
    assert np.array(frozen["busy"])[inside].tolist() == [1] * inside.sum()
    assert sum(np.array(frozen["images"])[inside]) == 0
    # The image that was caught took as long as the freeze, and does not paint what comes after.
    assert np.nanmax(pace(frozen)[edges[:-1] >= end + 0.5]) < 1.5
    assert frozen["stood_s"] == pytest.approx(22, abs=1)
    assert [hosts[host]["stood_s"] for host in ("node1", "node2", "node4")] == [0, 0, 0]


def test_a_host_that_comes_late_is_empty_before(troubled: tuple[Any, Hosts]) -> None:
    edges, hosts = troubled
    late = hosts["node4"]
    assert late["late_s"] == pytest.approx(20) and late["begin_s"] == pytest.approx(30.3)
    before = edges[1:] <= 30
    assert np.isnan(pace(late)[before]).all() and not np.array(late["busy"])[before].any()
    assert (hosts["node1"]["late_s"], hosts["node5"]["late_s"]) == (0, 0), "nor does early count"


def test_images_and_tasks_are_all_counted(troubled: tuple[Any, Hosts]) -> None:
    edges, hosts = troubled
    assert sum(sum(host["images"]) for host in hosts.values()) == 90 * 12
    tasks = [task for host in hosts.values() for task in host["tasks"]]
    assert len(tasks) == 90 and {images for _, _, images in tasks} == {12}
    for host in hosts.values():
        worked = np.dot(host["busy"], np.diff(edges))
        assert worked == pytest.approx(host["end_s"] - host["begin_s"], abs=0.5), "no pause between"


def test_idle_is_until_the_last_host_ends(troubled: tuple[Any, Hosts]) -> None:
    hosts = troubled[1]
    last = max(host["end_s"] for host in hosts.values())
    assert min(host["idle_s"] for host in hosts.values()) == 0
    for host in hosts.values():
        assert host["idle_s"] == pytest.approx(last - host["end_s"], abs=0.002)


def test_a_host_without_an_image_lost_nothing_that_is_known(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    names = ["node1", "node2", "node3"]
    edges, hosts = told(make_run(names, timings=make_timings(names[:2], 60)))
    none = hosts["node3"]
    assert set(none["pace"]) == {None} and not any(none["busy"]) and none["tasks"] == []
    assert len(none["images"]) == len(none["busy"]) == len(edges) - 1
    assert {none[name] for name in none if name.endswith("_s")} == {None}


def test_what_is_kept_is_bounded(make_cluster: MakeRun) -> None:
    edges, hosts = told(make_cluster(4, tasks=1001, images=3))
    assert {host["tasks"] for host in hosts.values()} == {None}
    assert len(edges) <= STEPS + 1
    few = told(make_cluster(4, tasks=1000, images=3, name="few"))[1]
    assert sum(len(host["tasks"]) for host in few.values()) == 1000


def test_only_the_longest_silences_are_kept(make_run: MakeRun, make_timings: MakeTimings) -> None:
    table = make_timings(["node1"], 60)
    started = START + np.cumsum(np.full(60, 4.0) + np.arange(60) / 10)
    table = table.set_column(
        table.column_names.index("started_at"), table.schema.field("started_at"), [started]
    ).set_column(table.column_names.index("task_id"), table.schema.field("task_id"), [[1] * 60])
    host = told(make_run(["node1"], timings=table))[1]["node1"]
    lengths = np.diff(host["silent"])[:, 0]
    assert len(lengths) == SILENCES and lengths.min() > 7, "of those of 4 to 10 s"
    assert host["stood_s"] > lengths.sum() + 100, "the others count all the same"


def test_hosts_that_are_weak_by_design_are_as_usual_among_themselves(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    strong, weak = ["a", "b", "c"], ["d", "e", "f"]
    table = make_timings(strong + weak, 360, slow=dict.fromkeys(weak, 2.0))
    run_dir = make_run(strong + weak, timings=table)
    assert np.nanmedian(pace(told(run_dir)[1]["e"])) > 1.2
    run = json.loads((run_dir / "run.json").read_text())
    for host in run["hosts"]:
        host["cpus_quota"] = 2.0 if host["host"] in weak else 4.0
    (run_dir / "run.json").write_text(json.dumps(run))
    for host in told(run_dir)[1].values():
        assert np.nanmedian(pace(host)) == pytest.approx(1, abs=0.1)


def test_an_image_counts_in_every_step_it_took(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = make_timings(["node1"], 6)
    for name, values in (
        ("started_at", START + 10.0 * np.arange(6)),
        ("total_ms", [10_000.0] * 6),
        ("task_id", [1] * 6),
    ):
        column = table.column_names.index(name)
        table = table.set_column(column, table.schema.field(name), [values])
    edges, hosts = told(make_run(["node1"], timings=table))
    assert len(edges) == 13 and edges[1] == 5, "two steps an image"
    # The first image is warm-up, which has no pace.
    assert np.isnan(pace(hosts["node1"])).tolist() == [True] * 2 + [False] * 10


def test_few_images_have_wide_steps(make_run: MakeRun) -> None:
    few, _ = told(make_run(["node1", "node2"], 24))
    many, _ = told(make_run(["node1", "node2"], 600, name="many"))
    assert len(few) - 1 <= 12 < len(many) - 1


def test_time_covered_by_spans_that_overlap_counts_once() -> None:
    spans = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 6.0], [9.0, 11.0]])
    assert covered(spans, np.array([0.0, 5.0, 10.0, 20.0])).tolist() == [5, 2, 1]
    assert covered(np.zeros((0, 2)), np.array([0.0, 5.0])).tolist() == [0]
