from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.stragglers.attempts import EXECUTORS, TASKS, Attempts
from job.stragglers.causes import cause
from job.stragglers.diagnosis import Diagnosis, diagnose
from job.stragglers.tasks import Held, TaskHost
from job.stragglers.wording import duration
from tests.unit.job.stragglers.simulated import simulate


def told(tasks: pa.Table, **facts: Any) -> Diagnosis:
    return diagnose(tasks, EXECUTORS.empty_table(), **facts)


def changed(tasks: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        field = TASKS.field(name)
        tasks = tasks.set_column(TASKS.names.index(name), field, pa.array(values).cast(field.type))
    return tasks


def test_a_slow_host_is_named_with_its_cause_cost_and_what_to_do() -> None:
    tasks = simulate(4, 120, slow={2: 2.0}, tail=0, seed=3)
    attempts = Attempts(tasks)
    gc = np.where(attempts.host == 2, 0.55, 0.05) * attempts.run_ms
    found = told(changed(tasks, gc_ms=gc), seconds=1000.0)
    host = found.hosts[2]
    assert found.kind == "slow" and found.straggler
    assert found.text == (
        f"host-0002 is {host.factor:.2f}x slower than its peers (95 % interval {host.low:.2f} to "
        f"{host.high:.2f}, {host.compared} tasks, most of it in stage {host.stage}): garbage "
        "collection takes 55 % of its tasks' time, 5.0 % on its peers; it cost "
        f"{duration(found.cost_s['host-0002'])} of 16 min 40 s. Give its executors more memory "
        "(spark.executor.memory) or fewer cores each."
    )
    assert host.factor == pytest.approx(2, rel=0.1)
    saved = [replay.replayed - replay.healed["host-0002"] for replay in found.what_if.values()]
    assert len(saved) == 3
    assert found.cost_s["host-0002"] == pytest.approx(sum(saved)) and sum(saved) > 1


def test_several_slow_hosts_are_named_the_slowest_first() -> None:
    slow = {1: 1.8, 4: 3.0, 6: 2.4, 8: 2.1}
    found = told(simulate(12, 120, slow=slow, tail=0))
    assert found.text.startswith("host-0004 is ")
    assert "), host-0006 2." in found.text and "x, host-0008 2." in found.text
    assert "x, and 1 more: the event log does not tell why" in found.text
    assert set(found.causes) == {"host-0001", "host-0004", "host-0006", "host-0008"}
    assert list(found.cost_s) == ["host-0004", "host-0006", "host-0008"]


def test_equal_hosts_are_told_so() -> None:
    found = told(simulate(3, 120, tail=0), seconds=600.0)
    assert (found.kind, found.straggler) == ("none", False)
    assert found.text.startswith("No straggler: the slowest host, host-000")
    assert "% longer per task than its peers (95 % interval " in found.text
    assert found.text.endswith("; 3 hosts finished 360 tasks of 3 stages in 10 min 0 s.")
    assert found.what_if == found.causes == found.cost_s == {}


def test_what_few_tasks_leave_open_is_said() -> None:
    found = told(simulate(2, 10, stages=1, slow={1: 1.5}, spread=0.5, seed=2))
    assert (found.kind, found.straggler) == ("uncertain", False)
    assert found.text.startswith("No straggler for certain: host-0001 looks ")
    assert f"x slower than its peers, but its {found.hosts[1].compared} tasks leave " in found.text


def test_a_task_held_is_told_with_the_reason() -> None:
    tasks = simulate(3, 60, stages=1, tail=0)
    row = tasks.slice(90, 1).to_pylist()[0]
    ends = {
        "executor": "9",
        "status": "failed",
        "run_ms": None,
        "reason": "ExecutorLostFailure: gone.",
    }
    row |= ends | {"host": "other", "finished": row["finished"] + 600}
    more = pa.Table.from_pylist([row], schema=TASKS)
    found = told(pa.concat_tables([tasks, more]).unify_dictionaries(), seconds=700.0)
    took = row["finished"] - 600 - row["launched"]
    assert found.kind == "held" and found.straggler
    assert found.text.startswith(
        f"other held task {row['partition']} of stage 0 for {duration(600 + took)} and did not "
        f"finish it; host-000"
    )
    assert f" then took {duration(took)}: ExecutorLostFailure: gone; it cost " in found.text
    assert found.text.endswith("See what it did at that time: frozen, cut off, or out of memory.")
    # Others went on meanwhile: no more than the stage was longer than its tasks need.
    assert 0 < found.cost_s["other"] <= 600


def test_skew_is_told_apart_from_a_slow_host() -> None:
    tasks = simulate(3, 60, stages=1, tail=0, spread=0.05)
    attempts = Attempts(tasks)
    longest, host = 100, int(attempts.host[100])
    size, noise = np.full(180, 1e7), np.random.default_rng(0).lognormal(0, 0.1, 180)
    size *= np.random.default_rng(1).lognormal(0, 0.5, 180)
    size[longest] = 4e8
    run = size / 1e4 * noise
    partition = int(attempts.partition[longest])
    skewed = told(changed(tasks, run_ms=run, input_bytes=size), seconds=60.0)
    assert skewed.kind == "none"
    task = skewed.stages[0].longest
    assert task is not None and task.by == "data" and task.partition == partition
    assert task.size_times == pytest.approx(40, rel=0.4)
    assert (
        f" The longest task of stage 0, partition {partition} on host-000{host}, took "
        f"{duration(run[longest] / 1000)}, "
    ) in skewed.text
    assert skewed.text.endswith("x): split it.")

    alone = told(changed(tasks, run_ms=run, input_bytes=np.full(180, 1e7)), seconds=60.0)
    assert alone.stages[0].longest is not None and alone.stages[0].longest.by == "task"
    assert alone.text.endswith("host explains that: see what is in that partition.")
    # A tenth of the application's time is worth the first line.
    assert "longest task" not in told(changed(tasks, run_ms=run), seconds=6000.0).text


def test_the_longest_task_of_a_slow_host_is_long_by_it() -> None:
    found = told(simulate(3, 90, stages=1, slow={1: 6.0}, tail=0, spread=0.1))
    task = found.stages[0].longest
    assert task is not None and (task.host, task.by) in {
        ("host-0001", "host"),
        ("host-0001", "data"),
    }
    first = told(simulate(3, 90, stages=2, tail=0, spread=0.1, seed=1)).stages[0]
    assert first.longest is None or first.longest.by in ("start", "data")


def test_stages_add_up() -> None:
    tasks = simulate(3, 60)
    attempts = Attempts(tasks)
    for place, stage in enumerate(told(tasks).stages):
        own = attempts.stage == place
        assert (stage.stage, stage.tasks, stage.hosts) == (place, 60, 3)
        assert stage.run_s == pytest.approx(attempts.run_ms[own].sum() / 1000)
        assert stage.median_s == pytest.approx(np.median(attempts.run_ms[own]) / 1000)
        assert stage.longest_s == attempts.run_ms[own].max() / 1000
        assert stage.started == attempts.launched[own].min()
        assert stage.started + stage.seconds == pytest.approx(attempts.finished[own].max())


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ((1, 40), "all 40 tasks ran on one host, host-0000; run it with executors on two hosts"),
        ((3, 4), "no host has 6 tasks in stages that another host worked in, too; a comparison"),
    ],
)
def test_cannot_tell(made: tuple[int, int], why: str) -> None:
    found = told(simulate(*made, stages=1))
    assert (found.kind, found.straggler) == ("cannot_tell", False)
    assert found.text.startswith(f"Cannot tell whether a host is slow: {why}")


def test_cannot_tell_of_short_tasks_of_stages_apart_and_of_nothing() -> None:
    tasks = simulate(2, 40, stages=1)
    attempts = Attempts(tasks)
    assert (
        "the median task of every stage takes less than 10 ms; "
        in told(changed(tasks, run_ms=attempts.run_ms / attempts.run_ms.max() * 9)).text
    )
    apart = changed(tasks, stage=attempts.host.astype(np.int32))
    assert "no host has 6 tasks in stages that another" in told(apart).text
    assert "no task was finished; " in told(TASKS.empty_table()).text
    one = changed(
        tasks, stage_attempt=np.where((attempts.host == 0) | (attempts.partition < 9), 0, 1)
    )
    assert "no two hosts have enough tasks in the same stages" in told(one).text


def host(name: str, *, factor: float = 1.0, low: float | None = None, **shares: float) -> TaskHost:
    known = dict.fromkeys(("gc", "fetch_wait", "shuffle_write", "cpu"), 0.0) | shares
    counts = dict.fromkeys(("slots", "executors", "executors_lost", "failed", "killed"), 0)
    return TaskHost(host=name, factor=factor, low=low or factor, high=factor, tasks=9, compared=9,
                    seconds=1, time_share=0.5, outrun=0, shares=known, **counts)  # fmt: skip


@pytest.mark.parametrize(
    ("slow", "peer", "kind"),
    [
        # Of 2x, half of the time is extra, and half of that is a quarter.
        ({"gc": 0.35}, {"gc": 0.05}, "gc"),
        ({"gc": 0.25}, {"gc": 0.05}, "unknown"),
        ({"fetch_wait": 0.5}, {"fetch_wait": 0.1}, "fetch_wait"),
        ({"fetch_wait": 0.5}, {"fetch_wait": 0.5}, "unknown"),
        ({"shuffle_write": 0.5}, {"shuffle_write": 0.1}, "shuffle_write"),
        # The same CPU time in twice the time; twice the CPU time.
        ({"cpu": 0.45}, {"cpu": 0.9}, "cpu_wait"),
        ({"cpu": 0.9}, {"cpu": 0.9}, "cpu_slow"),
        # Peers' JVMs hardly compute: Python does.
        ({"cpu": 0.1}, {"cpu": 0.2}, "unknown"),
    ],
)
def test_causes(slow: dict[str, float], peer: dict[str, float], kind: str) -> None:
    peers = [host("b", **peer), host("c", **peer), host("d", gc=0.9)]
    found = cause(one := host("a", factor=2.0, **slow), [one, *peers])
    assert found.kind == kind
    assert found.text and found.action


def test_a_host_that_held_a_task_has_sparks_reason() -> None:
    held = Held(stage=0, partition=1, seconds=9, elsewhere="b", elsewhere_s=1, reason="Lost: gone.")
    kept = TaskHost(**{**vars(host("a")), "held": held})
    assert (cause(kept, [kept]).kind, cause(kept, [kept]).text) == ("held", "Lost: gone")
    unlucky = TaskHost(**{**vars(host("a")), "unlucky": True})
    assert cause(unlucky, [unlucky]).kind == "unknown"
