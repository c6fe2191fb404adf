from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from job.stragglers.attempts import EXECUTORS, TASKS, Attempts
from job.stragglers.tasks import MIN_TASKS, Comparison, TaskHost
from tests.unit.job.stragglers.simulated import simulate


def compared(tasks: pa.Table, executors: pa.Table | None = None) -> dict[str, TaskHost]:
    executors = EXECUTORS.empty_table() if executors is None else executors
    return {host.host: host for host in Comparison(Attempts(tasks), executors).hosts}


def with_rows(tasks: pa.Table, *rows: dict[str, Any]) -> pa.Table:
    more = [dict.fromkeys(TASKS.names) | row for row in rows]
    return pa.concat_tables([tasks, pa.Table.from_pylist(more, schema=TASKS)]).unify_dictionaries()


def changed(tasks: pa.Table, name: str, values: Any) -> pa.Table:
    place = TASKS.names.index(name)
    return tasks.set_column(place, TASKS.field(name), pa.array(values).cast(TASKS.field(name).type))


@pytest.mark.parametrize(
    ("hosts", "tasks", "seeds"), [(2, 30, 40), (5, 12, 40), (50, 24, 6), (500, 12, 2)]
)
def test_equal_hosts_are_not_slow(hosts: int, tasks: int, seeds: int) -> None:
    alarms = [
        host.host
        for seed in range(seeds)
        for host in compared(simulate(hosts, tasks, seed=seed)).values()
        if host.straggler
    ]
    assert alarms == []


@pytest.mark.parametrize(
    ("hosts", "tasks", "factor", "recall"),
    [(2, 60, 1.3, 0.5), (2, 30, 2.0, 0.95), (5, 90, 1.3, 0.8), (5, 30, 2.0, 0.95)],
)
def test_slow_hosts_are_found(hosts: int, tasks: int, factor: float, recall: float) -> None:
    found, held = 0, 0
    for seed in range(20):
        rows = compared(simulate(hosts, tasks, slow={1: factor}, seed=1000 + seed))
        slow = rows["host-0001"]
        assert [host for host in rows.values() if host.slow] in ([slow], [])
        found += slow.slow
        held += slow.low <= factor <= slow.high
    assert found / 20 >= recall
    assert held >= 18


def test_two_of_five_hundred_are_found() -> None:
    rows = compared(simulate(500, 40, slow={17: 2.0, 321: 2.0}))
    assert [host.host for host in rows.values() if host.slow] == ["host-0017", "host-0321"]
    assert rows["host-0321"].factor == pytest.approx(2, rel=0.3)


def test_a_host_with_the_large_partitions_is_not_slow() -> None:
    tasks = simulate(4, 60, stages=1, tail=0)
    attempts = Attempts(tasks)
    size = np.where(attempts.host == 2, 10, 1) * attempts.of("input_bytes")
    noise = np.random.default_rng(0).lognormal(0, 0.2, len(size))
    long = changed(tasks, "run_ms", (size / 1e4) ** 0.8 * noise)
    assert compared(long)["host-0002"].slow
    skewed = changed(long, "input_bytes", size)
    assert not any(host.straggler for host in compared(skewed).values())


def test_hosts_are_compared_in_the_stages_that_they_share() -> None:
    # Stage 0 takes 50 times as long, and one host alone works in it.
    tasks = simulate(3, 60, stages=2)
    attempts = Attempts(tasks)
    first = attempts.stage == 0
    alone = changed(tasks, "run_ms", np.where(first, 50, 1) * attempts.run_ms)
    alone = alone.filter(pa.array(~first | (attempts.host == 0)))
    rows = compared(alone)
    assert not any(host.straggler for host in rows.values())
    assert rows["host-0000"].compared < rows["host-0000"].tasks
    assert rows["host-0001"].compared == rows["host-0001"].tasks


def test_hosts_without_a_stage_in_common_are_not_compared() -> None:
    tasks = simulate(4, 60, stages=2, slow={3: 2.0})
    attempts = Attempts(tasks)
    # Hosts 0 and 1 work in stage 0, 2 and 3 in stage 1.
    rows = compared(tasks.filter(pa.array((attempts.stage == 0) == (attempts.host < 2))))
    assert rows["host-0003"].slow and not rows["host-0002"].slow
    assert rows["host-0003"].factor == pytest.approx(1 / rows["host-0002"].factor)
    assert rows["host-0000"].factor == pytest.approx(1 / rows["host-0001"].factor)


def test_few_tasks_and_short_ones_are_not_compared() -> None:
    tasks = simulate(3, 40, stages=1)
    attempts = Attempts(tasks)
    rank = np.cumsum(attempts.host == 2)
    few = compared(tasks.filter(pa.array((attempts.host != 2) | (rank < MIN_TASKS))))
    assert few["host-0002"].factor is None and few["host-0000"].factor is not None
    short = changed(tasks, "run_ms", attempts.run_ms / attempts.run_ms.max() * 9)
    assert {host.factor for host in compared(short).values()} == {None}


def test_a_host_with_fewer_slots_is_not_slow() -> None:
    tasks = simulate(3, 60)
    attempts = Attempts(tasks)
    # Host 0 did half as many tasks in the same time.
    kept = (attempts.host != 0) | (attempts.partition % 2 == 0)
    rows = compared(tasks.filter(pa.array(kept)))
    assert not any(host.straggler for host in rows.values())


def test_failed_and_killed_attempts_are_counted_and_not_timed() -> None:
    tasks = simulate(3, 60, stages=1)
    end = {"stage": 0, "stage_attempt": 0, "host": "host-0001", "executor": "1", "task": 9999}
    end |= {"launched": 1.76e9, "finished": 1.76e9 + 0.5, "attempt": 1, "partition": 7}
    rows = compared(
        with_rows(
            tasks,
            *[end | {"status": "failed", "reason": "ExceptionFailure", "run_ms": 1e6}] * 40,
            *[end | {"status": "killed", "reason": "TaskKilled: another attempt succeeded"}] * 2,
        )
    )
    one = rows["host-0001"]
    assert (one.failed, one.killed, one.tasks) == (40, 2, compared(tasks)["host-0001"].tasks)
    assert not one.straggler
    assert one.factor == pytest.approx(compared(tasks)["host-0001"].factor, rel=0.05)


def lost(tasks: pa.Table, partition: int, host: int, times: float, **changes: Any) -> Any:
    """An attempt of a partition on a host that did not finish, so many times as long as it took."""
    attempts = Attempts(tasks)
    at = int(np.flatnonzero((attempts.partition == partition) & attempts.done)[0])
    row = tasks.slice(at, 1).to_pylist()[0]
    took = max(row["finished"] - row["launched"], float(np.nanmedian(attempts.seconds)))
    end = {"host": f"host-{host:04}", "executor": str(host), "status": "failed", "run_ms": None}
    end |= {"reason": "ExecutorLostFailure", "finished": row["launched"] + times * took}
    return row | end | changes


def partition_of(tasks: pa.Table, host: int) -> int:
    attempts = Attempts(tasks)
    return int(attempts.partition[attempts.host == host][8])


def test_a_task_that_another_host_did_far_sooner_was_held() -> None:
    tasks = simulate(3, 60, stages=1)
    partition = partition_of(tasks, 2)
    row = lost(tasks, partition, 1, 50)
    held = compared(with_rows(tasks, row))["host-0001"]
    assert held.straggler and not held.slow and held.outrun == 1
    assert held.held is not None
    assert (held.held.partition, held.held.elsewhere) == (partition, "host-0002")
    assert held.held.seconds == pytest.approx(row["finished"] - row["launched"])
    assert held.held.reason == "ExecutorLostFailure"


def scaled(tasks: pa.Table, factor: float) -> pa.Table:
    """All of it so many times as long."""
    a, begin = Attempts(tasks), 1_760_000_000.0
    for name in ("launched", "finished"):
        tasks = changed(tasks, name, begin + factor * (a.of(name) - begin))
    return changed(tasks, "run_ms", factor * a.run_ms)


@pytest.mark.parametrize(
    ("median_s", "times", "outrun", "held"),
    [
        (1, 50, 1, True),
        (1, 0.5, 0, False),
        # 4 times as long is no proof, 4 s are no matter.
        (30, 4, 1, False),
        (0.1, 50, 1, False),
    ],
)
def test_a_task_is_held_that_takes_far_longer_and_long(
    median_s: float, times: float, outrun: int, held: bool
) -> None:
    tasks = simulate(3, 60, stages=1, tail=0, spread=0.1)
    tasks = scaled(tasks, median_s / np.median(Attempts(tasks).seconds))
    a = Attempts(tasks)
    partition = a.partition[(a.host == 2) & (a.seconds < 1.1 * median_s)][3]
    one = compared(with_rows(tasks, lost(tasks, int(partition), 1, times)))["host-0001"]
    assert (one.outrun, one.held is not None, one.straggler) == (outrun, held, held)


def test_a_copy_on_the_same_host_says_nothing_of_it() -> None:
    tasks = simulate(3, 60, stages=1)
    one = compared(with_rows(tasks, lost(tasks, partition_of(tasks, 1), 1, 50)))["host-0001"]
    assert (one.failed, one.outrun, one.straggler) == (1, 0, False)


def test_intervals_hold_for_all_hosts_together() -> None:
    widths = []
    for hosts in (3, 300):
        rows = compared(simulate(hosts, 30, tail=0)).values()
        widths.append(np.median([np.log(host.high / host.low) for host in rows]))
    # Student's t for one comparison in 2, and in 299, of 30 tasks: 2.4 and 4.4.
    assert widths[1] / widths[0] == pytest.approx(4.4 / 2.4, rel=0.25)


KILLED = {"status": "killed", "reason": "TaskKilled: another attempt succeeded"}


def test_one_task_that_a_copy_overtook_is_not_enough() -> None:
    tasks = simulate(3, 60, stages=1, tail=0)
    one = compared(with_rows(tasks, lost(tasks, partition_of(tasks, 2), 1, 200, **KILLED)))
    assert one["host-0001"].outrun == 1 and not one["host-0001"].straggler


@pytest.mark.parametrize(
    "reason", ["FetchFailed: no block", "ExceptionFailure: java.io.IOException"]
)
def test_a_task_that_failed_by_itself_was_not_held(reason: str) -> None:
    tasks = simulate(3, 60, stages=1)
    rows = [lost(tasks, partition_of(tasks, 2), 1, 50, reason=reason)] * 5
    one = compared(with_rows(tasks, *rows))["host-0001"]
    assert (one.failed, one.outrun, one.straggler) == (5, 0, False)


def speculated(tasks: pa.Table, seed: int) -> pa.Table:
    """With Spark's speculation: once 75 % are done, what takes 1.5 times the median has a copy."""
    random = np.random.default_rng(seed)
    a = Attempts(tasks)
    rows = tasks.to_pylist()
    for stage in range(len(a.stages)):
        own = np.flatnonzero(a.stage == stage)
        done, median = np.quantile(a.finished[own], 0.75), np.median(a.seconds[own])
        for at in own:
            copied = max(a.launched[at] + 1.5 * median, done)
            won = copied + float(random.choice(a.seconds[own]))
            if won < a.finished[at]:
                host = int(random.integers(len(a.hosts)))
                copy = {"host": a.hosts[host], "executor": str(host), "attempt": 1}
                took = won - copied
                copy |= {"launched": copied, "finished": won, "run_ms": 1000 * took - 10}
                rows.append(rows[at] | copy | {"speculative": True})
                rows[at] |= KILLED | {"finished": won, "run_ms": None}
    return pa.Table.from_pylist(rows, schema=TASKS)


@pytest.mark.parametrize(("hosts", "tasks", "seeds"), [(3, 80, 10), (50, 40, 2)])
def test_with_speculation_equal_hosts_are_not_stragglers(
    hosts: int, tasks: int, seeds: int
) -> None:
    overtaken = 0
    for seed in range(seeds):
        rows = compared(speculated(simulate(hosts, tasks, tail=0.05, seed=seed), seed)).values()
        overtaken += sum(host.outrun for host in rows)
        assert [host.host for host in rows if host.straggler] == []
    assert overtaken > 5 * seeds


def test_with_speculation_a_slow_host_is_found() -> None:
    rows = compared(speculated(simulate(4, 60, slow={1: 3.0}, tail=0.05), 0))
    assert [host.host for host in rows.values() if host.straggler] == ["host-0001"]


def test_a_partition_that_is_long_wherever_it_fails_is_no_hosts_doing() -> None:
    tasks = simulate(4, 60, stages=1)
    partition = partition_of(tasks, 2)
    rows = compared(with_rows(tasks, lost(tasks, partition, 1, 50), lost(tasks, partition, 3, 50)))
    assert not any(host.straggler for host in rows.values())


def test_a_host_that_copies_overtake_beyond_chance_is_a_straggler() -> None:
    tasks = simulate(6, 40, stages=1)
    # Twelve copies won, all on other hosts than the sixth, which then has no task of its own left.
    attempts = Attempts(tasks)
    partitions = attempts.partition[attempts.host < 5][10:22].tolist()
    rows = [lost(tasks, each, 5, 2.6, **KILLED) for each in partitions]
    one_host = compared(with_rows(tasks, *rows))
    assert one_host["host-0005"].unlucky and one_host["host-0005"].straggler
    assert one_host["host-0005"].outrun == 12
    spread = [row | {"host": f"host-{n % 6:04}"} for n, row in enumerate(rows)]
    assert not any(host.straggler for host in compared(with_rows(tasks, *spread)).values())


def test_shares_slots_and_executors() -> None:
    tasks = simulate(2, 40)
    attempts = Attempts(tasks)
    tasks = changed(tasks, "gc_ms", np.where(attempts.host == 1, 0.4, 0.1) * attempts.run_ms)
    tasks = changed(tasks, "cpu_ms", 0.5 * attempts.run_ms)
    tasks = changed(tasks, "spilled_bytes", np.full(len(attempts.host), 100.0))
    executors = pa.Table.from_pylist(
        [
            {"executor": "0", "host": "host-0000", "lost": False},
            {"executor": "1", "host": "host-0001", "lost": True},
            {"executor": "2", "host": "host-0001", "lost": False},
        ],
        schema=EXECUTORS,
    )
    rows = compared(tasks, executors)
    one = rows["host-0001"]
    assert one.shares["gc"] == pytest.approx(0.4) and one.shares["cpu"] == pytest.approx(0.5)
    assert one.spilled_bytes == 100 * one.tasks
    # Each task has 10 ms of the driver's time and rounding.
    assert one.shares["delay"] == pytest.approx(0.01 * one.tasks / one.seconds, rel=0.1)
    assert (one.slots, one.executors, one.executors_lost) == (2, 2, 1)
    assert sum(host.time_share for host in rows.values()) == pytest.approx(1)
    assert one.seconds == pytest.approx(attempts.run_ms[attempts.host == 1].sum() / 1000)


def test_the_stage_where_a_host_loses_most() -> None:
    tasks = simulate(3, 120, stages=3, tail=0)
    attempts = Attempts(tasks)
    there = attempts.host == 1
    # It spends most of its time in stage 0, and loses most of it in stage 2.
    factor = np.where(there, np.where(attempts.stage == 2, 3.0, 1.2), 1.0)
    same = attempts.run_ms / attempts.stage_median_ms[attempts.stage] * 1000
    same *= np.where(attempts.stage == 0, 4, 1)
    found = compared(changed(tasks, "run_ms", same * factor))["host-0001"]
    assert found.slow and found.stage == 2


def test_names_that_are_missing_and_the_order_of_rows() -> None:
    tasks = simulate(3, 30, seed=5)
    shuffled = tasks.take(np.random.default_rng(0).permutation(tasks.num_rows))
    for name, host in compared(shuffled).items():
        assert host.factor == pytest.approx(compared(tasks)[name].factor, rel=1e-3)
    nameless = changed(tasks, "host", pa.nulls(tasks.num_rows, pa.string()))
    assert list(compared(nameless)) == ["?"]
    assert compared(TASKS.empty_table()) == {}


def test_first_tasks_of_slots_and_order_in_a_stage() -> None:
    attempts = Attempts(simulate(2, 30, stages=2))
    assert attempts.first.sum() == 4
    assert set(attempts.stage[attempts.first]) == {0}
    second = attempts.stage == 1
    order = attempts.order[second]
    assert order.min() == 0 and order.max() == 1
    assert (np.argsort(order) == np.argsort(attempts.launched[second])).all()


def test_stage_attempts_are_stages_of_their_own() -> None:
    tasks = simulate(2, 30, stages=1)
    again = changed(tasks, "stage_attempt", np.ones(tasks.num_rows, dtype=np.int32))
    both = pa.concat_tables([tasks, again]).unify_dictionaries()
    assert Attempts(both).stages == [(0, 0), (0, 1)]
    assert pc.count_distinct(both["stage"]).as_py() == 1


def test_a_host_whose_executors_do_few_tasks_each_is_not_slow() -> None:
    tasks = simulate(3, 60, stages=1, tail=0, spread=0.1, luck=0)
    a = Attempts(tasks)
    # Host 1 has an executor for every two tasks, and a first task takes three times as long.
    own = np.cumsum(a.host == 1) // 2
    executor = np.where(a.host == 1, [f"1-{number}" for number in own], a.host.astype(str))
    tasks = changed(tasks, "executor", executor)
    first = Attempts(tasks).first
    assert first[a.host == 1].mean() > 0.4 and first[a.host != 1].mean() < 0.1
    same = changed(tasks, "input_bytes", np.full(180, 1e7))
    noise = np.random.default_rng(0).lognormal(0, 0.1, 180)
    rows = compared(changed(same, "run_ms", 1000 * noise * np.where(first, 3, 1)))
    assert rows["host-0001"].factor == pytest.approx(1, abs=0.1)


def test_a_host_that_worked_while_all_tasks_were_long_is_not_slow() -> None:
    tasks = changed(simulate(3, 60, stages=1, tail=0), "input_bytes", np.full(180, 1e7))
    a = Attempts(tasks)
    # Tasks get shorter, by 4 times in all; host 1 did nothing in the stage's second half.
    noise = np.random.default_rng(0).lognormal(0, 0.1, 180)
    falling = changed(tasks, "run_ms", 1000 * 4 ** (1 - a.order) * noise)
    rows = compared(falling.filter(pa.array((a.host != 1) | (a.order < 0.5))))
    assert rows["host-0001"].factor == pytest.approx(1, abs=0.1)


def test_the_winner_of_a_partition_is_who_was_done_first() -> None:
    tasks = simulate(2, 10, stages=1)
    late = [row | {"finished": row["finished"] + 60} for row in tasks.to_pylist()]
    soon = tasks.to_pylist()
    for rows in ([*soon, *late], [*late, *soon]):
        a = Attempts(pa.Table.from_pylist(rows, schema=TASKS))
        done = {row["partition"]: row["finished"] for row in soon}
        assert a.finished[a.winner].tolist() == [done[number] for number in a.partition.tolist()]
