import json
from typing import Any

import pytest

from job.report import build
from job.report.gantt import Lane, awaited, lanes
from job.report.worst import ALL, WORST
from tests.unit.job.report.conftest import MakeRun, MakeTimings, Trouble


def data_of(run_dir: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(build(run_dir).data))
    return data


@pytest.fixture
def troubled(make_cluster: MakeRun) -> dict[str, Any]:
    return data_of(
        make_cluster(
            4,
            tasks=60,
            images=12,
            node2=Trouble(slow=3.0),
            node3=Trouble(frozen=(30, 42)),
            node4=Trouble(localise=22),
        )
    )


def by_name(drawn: tuple[Lane, ...]) -> dict[str, Lane]:
    return {lane.name: lane for lane in drawn}


def test_the_run_comes_first_and_then_every_host_by_what_it_lost(troubled: dict[str, Any]) -> None:
    drawn = lanes(troubled)
    assert [lane.name for lane in drawn] == ["the run", "node2", "node4", "node3", "node1"]
    assert [piece.kind for piece in drawn[0].pieces] == ["submit", "write"]
    kinds = [piece.kind for piece in by_name(drawn)["node1"].pieces if piece.kind != "steady"]
    assert kinds == ["executor_start", *["localise"] * 2, "model_load", "first_image", "idle"]


def test_pieces_lie_where_they_were_on_the_axis(troubled: dict[str, Any]) -> None:
    whole = troubled["timeline"]["seconds"]
    troubled["phases"][-1]["seconds"] = 1000.0
    for lane in lanes(troubled):
        assert all(p.left >= 0 and p.left + p.width <= 100 + 1e-9 for p in lane.pieces)
    late = by_name(lanes(troubled))["node4"].pieces
    archive = next(piece for piece in late if piece.kind == "localise")
    assert archive.left * whole / 100 == pytest.approx(4)
    assert archive.width * whole / 100 == pytest.approx(19.8)
    assert archive.title == "node4, localise of environment.tar.gz: 20 s from 4.0 s on"
    silent = next(p for p in by_name(lanes(troubled))["node3"].pieces if p.kind == "silent")
    assert silent.left * whole / 100 == pytest.approx(30, abs=1)
    assert silent.width * whole / 100 == pytest.approx(12, abs=1)
    assert "node3, 30 s to 42 s: had a task and finished nothing" in silent.title


def test_few_tasks_are_a_piece_each(troubled: dict[str, Any]) -> None:
    pieces = [piece for lane in lanes(troubled) for piece in lane.pieces if piece.kind == "steady"]
    assert len(pieces) == 60 and {piece.shade for piece in pieces} == {1}
    assert pieces[0].title.startswith("node2, a task of 12 images: ")


def test_many_tasks_are_shades_of_how_much_of_the_time_there_was_one() -> None:
    host = {
        **{"host": "a", "busy": [0.0, 1.0, 0.9, 0.3, 0.0, 0.2], "tasks": None, "silent": []},
        **{"begin_s": 12.0, "end_s": 58.0, "idle_s": 0.0},
        **{"late_s": 0.0, "slow_s": 0.0, "stood_s": 0.0},
    }
    edges = [0, 10, 20, 30, 40, 50, 60]
    data = {
        "phases": [],
        "timeline": {"seconds": 60},
        "verdict": {"findings": []},
        "progress": {"edges_s": edges, "hosts": [host]},
    }
    steady = [(p.left * 0.6, p.width * 0.6, p.shade) for p in lanes(data)[1].pieces]
    # Steps that differ by less than a shade are one; nothing is drawn outside begin and end.
    expected = [(12, 18, 1), (30, 10, 0.5), (50, 8, 0.25)]
    assert steady == [pytest.approx(each) for each in expected]
    host["end_s"] = 38.0
    assert [p.width * 0.6 for p in lanes(data)[1].pieces] == pytest.approx([18, 8])


def test_a_host_without_rows_has_its_phases(make_run: MakeRun, make_timings: MakeTimings) -> None:
    names = ["node1", "node2"]
    data = data_of(make_run(names, timings=make_timings(names[:1], 30)))
    data["phases"] += [dict(data["phases"][1], host="node2", name="steady")]
    lost = by_name(lanes(data))["node2"]
    assert [piece.kind for piece in lost.pieces] == [
        *("executor_start", "localise", "model_load", "steady")
    ]
    assert lost.seconds["idle_s"] is None and lost.seconds["localise"] == 1.0


def test_what_a_start_took(troubled: dict[str, Any]) -> None:
    lost = by_name(lanes(troubled))["node4"]
    assert lost.files == "environment.tar.gz 20 s, model.zip 2.2 s"
    assert lost.seconds["localise"] == pytest.approx(22), "one file after the other"
    assert lost.seconds["late_s"] == pytest.approx(20)
    for phase in troubled["phases"]:
        if phase["host"] == "node4" and phase["note"] == "model.zip":
            phase |= {"from_s": 4.0, "seconds": 25.0}
    beside = by_name(lanes(troubled))["node4"].seconds["localise"]
    assert beside == pytest.approx(25), "one file beside the other"


def test_a_phase_whose_length_is_not_known_is_left_out(troubled: dict[str, Any]) -> None:
    for phase in troubled["phases"]:
        phase["seconds"] = None
    kinds = {p.kind for lane in lanes(troubled) for p in lane.pieces}
    assert kinds == {"steady", "silent", "idle", "found"}


def test_a_slow_stretch_is_marked(troubled: dict[str, Any]) -> None:
    (finding,) = (each for each in troubled["verdict"]["findings"] if each["host"] == "node2")
    finding |= {"since_s": 20.0, "until_s": 40.0}
    drawn = {lane.name: [p for p in lane.pieces if p.kind == "found"] for lane in lanes(troubled)}
    assert [name for name, pieces in drawn.items() if pieces] == ["node2", "node3"]
    (still,) = drawn["node3"]
    assert still.title.startswith("node3, found standing still: 1")
    (piece,) = drawn["node2"]
    whole = troubled["timeline"]["seconds"]
    assert (piece.left, piece.width) == pytest.approx((2000 / whole, 2000 / whole))
    assert piece.title == "node2, found slow: 20 s from 20 s on"


def test_of_many_hosts_the_rest_is_their_median(make_cluster: MakeRun) -> None:
    data = data_of(make_cluster(ALL + 5, tasks=300, node07=Trouble(slow=3.0)))
    drawn = lanes(data)
    assert len(drawn) == 1 + WORST + 1 and drawn[1].name == "node07"
    rest = drawn[-1]
    assert rest.name == f"{ALL + 5 - WORST} others, median"
    kinds = {piece.kind for piece in rest.pieces}
    assert {"executor_start", "localise", "model_load", "first_image", "steady", "idle"} <= kinds
    assert rest.seconds["localise"] == pytest.approx(2) and rest.seconds["late_s"] == 0
    loading = next(piece for piece in rest.pieces if piece.kind == "model_load")
    assert loading.left * data["timeline"]["seconds"] / 100 == pytest.approx(8.4)


def test_who_is_waited_for_at_the_end(troubled: dict[str, Any], make_run: MakeRun) -> None:
    hosts = {host["host"]: host for host in troubled["progress"]["hosts"]}
    last = max(hosts, key=lambda name: float(hosts[name]["end_s"]))
    idle = sorted(host["idle_s"] for name, host in hosts.items() if name != last)
    assert awaited(troubled) == (last, idle[1])
    assert awaited(data_of(make_run(["alone"], name="alone"))) is None


def test_nothing_recorded_is_no_lane(make_run: MakeRun) -> None:
    assert lanes(data_of(make_run(images=0, samples=False, phases=[]))) == ()
