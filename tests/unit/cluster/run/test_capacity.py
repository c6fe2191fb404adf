from typing import Any

import pytest

from cluster.clients.yarn import NodeManager
from cluster.run.capacity import Executors, plan_executors
from job.errors import UsageError


def node(host: str, memory_mb: int, vcores: int = 3, **other: Any) -> NodeManager:
    values = {"state": "RUNNING", "slots": 1, "used_memory_mb": 0, "used_vcores": 0, **other}
    return NodeManager(
        host=host,
        health="",
        version="3.5.0",
        containers=0,
        memory_mb=memory_mb,
        vcores=vcores,
        **values,
    )


def plan(*nodes: NodeManager, **other: Any) -> Executors:
    values = {"memory_mb": None, "cores": 1, "executors": None, "default_memory_mb": 1536, **other}
    return plan_executors(nodes, application_master_mb=512, **values)


# As inventory/lab-yarn offers it, in the order in which YARN tells.
LAB = (node("node3", 2816), node("node1", 2048), node("node2", 2816))


def test_one_on_each_host() -> None:
    found = plan(*LAB)
    assert (found.count, found.memory_mb, found.cores) == (3, 1536, 1)
    assert found.hosts == ("node1", "node2", "node3")
    assert (found.left_out, found.slot_resource) == ({}, "executor-slot")
    assert found.reasons == (
        "Executors: 3 of 1536 MiB and 1 vcore, one on each host that can hold one.",
    )


def test_memory_is_in_yarns_steps() -> None:
    found = plan(*LAB, memory_mb=1500)
    assert found.memory_mb == 1536
    assert "Executors get 1536 MiB instead of 1500: YARN's step is 128 MiB." in found.reasons
    assert plan(*LAB, memory_mb=1500, step_mb=250).memory_mb == 1500
    # What nobody named is told once, as it is.
    assert len(plan(*LAB, default_memory_mb=1500).reasons) == 1


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (node("node9", 2816, state="LOST"), "YARN calls it LOST"),
        (node("node9", 2816, slots=0), "it offers no executor-slot (hadoop_yarn_executor_slots)"),
        (
            node("node9", 1408),
            "it offers 1408 MiB and 3 vcores, an executor takes 1536 MiB and 1 vcore",
        ),
    ],
)
def test_a_host_that_is_left_out(other: NodeManager, why: str) -> None:
    found = plan(other, *LAB)
    assert (found.count, found.hosts) == (3, ("node1", "node2", "node3"))
    assert found.left_out == {"node9": why}
    assert f"node9 gets no executor: {why}." in found.reasons


def test_a_host_too_small_for_the_application_master_needs_no_room_for_it() -> None:
    found = plan(*LAB, node("node4", 448), memory_mb=384)
    assert found.hosts == ("node1", "node2", "node3", "node4")


def test_a_host_on_which_only_one_of_both_fits_costs_one_place() -> None:
    found = plan(node("a", 1536), node("b", 2816), node("c", 1536))
    assert (found.count, found.hosts, found.left_out) == (2, ("a", "b", "c"), {})
    assert found.reasons == (
        "Executors: 2 of 1536 MiB and 1 vcore, on 2 of the 3 hosts that can hold one (a, b, c), as"
        " YARN chooses.",
        "One host fewer is counted on, for where the application master lands on a, c no executor"
        " fits: both take 2048 MiB and 2 vcores (--executor-memory 1024m would fit).",
    )
    assert plan(node("a", 1536), node("b", 2816), node("c", 1536), memory_mb=1024).count == 3
    # Less memory does not help where it is the vcores.
    found = plan(node("a", 2816), node("b", 2816, 1))
    assert found.count == 1 and found.reasons[1].endswith("both take 2048 MiB and 2 vcores.")


def test_fewer_than_there_is_room_for() -> None:
    found = plan(*LAB, executors=2)
    assert (found.count, len(found.hosts)) == (2, 3)
    assert "2 of the 3 hosts that can hold one (node1, node2, node3)" in found.reasons[0]


def test_more_than_there_is_room_for() -> None:
    with pytest.raises(UsageError) as caught:
        plan(*LAB, node("node4", 1024), executors=4)
    assert str(caught.value) == (
        "--executors 4: YARN's hosts can hold 3 of 1536 MiB and 1 vcore, one each beside the"
        " application master (node4: it offers 1024 MiB and 3 vcores, an executor takes 1536 MiB"
        " and 1 vcore): ask for 3 or fewer, or for smaller ones by --executor-memory and"
        " --executor-cores."
    )


def test_no_host_can_hold_one() -> None:
    # The last: one host alone, on which the application master has to be as well.
    for nodes, options in (
        (LAB, {"memory_mb": 4096}),
        (LAB, {"cores": 4}),
        (LAB[1:2], {"cores": 3}),
    ):
        with pytest.raises(UsageError) as caught:
            plan(*nodes, **options)
        said = str(caught.value)
        assert said.startswith("An executor takes ")
        host = "node1, offers 2048" if len(nodes) == 1 else "node3, offers 2816"
        assert f"the largest host, {host} MiB and 3 vcores: lower --executor-memory" in said


def test_no_host_is_there() -> None:
    for nodes in ((), (node("node1", 2816, state="LOST"),)):
        with pytest.raises(UsageError, match="no running NodeManager: see `cluster status`"):
            plan(*nodes)


def test_the_hosts_with_room_have_no_slot() -> None:
    with pytest.raises(UsageError, match="set hadoop_yarn_executor_slots"):
        plan(node("node1", 4096, slots=0), node("node2", 512))


def test_a_host_in_use_is_told_and_waited_for() -> None:
    busy = node("node4", 4096, used_memory_mb=3072)
    taken = node("node5", 4096, used_slots=1)
    found = plan(*LAB, busy, taken)
    assert found.count == 5
    assert found.reasons[1:] == (
        "node4 is in use: 1024 MiB and 3 vcores are free now, and its executor waits for more.",
        "node5 is in use: 4096 MiB and 3 vcores, no executor-slot are free now, and its executor"
        " waits for more.",
    )


def test_where_yarn_does_not_know_the_slot_size_bounds_it() -> None:
    nodes = [node("node1", 2816, slots=0), node("node2", 4096, slots=0)]
    found = plan(*nodes)
    assert (found.count, found.slot_resource) == (2, None)
    assert found.reasons[1:] == (
        "Two executors may land on one host (node2); what prevents it: --executor-memory 2176m, or"
        " --executor-cores 2, or `cluster deploy`, after which YARN knows executor-slot.",
    )
    # Both ways do: more than half of each host, and room for the application master.
    for bound in ({"memory_mb": 2176}, {"cores": 2}):
        bounded = plan(*nodes, **bound)
        assert (bounded.count, len(bounded.reasons)) == (2, 1)


def test_where_no_size_bounds_it_only_the_slot_does() -> None:
    found = plan(node("small", 2048, 2, slots=0), node("big", 8192, 16, slots=0))
    assert found.reasons[1] == (
        "Two executors may land on one host (big); what prevents it: `cluster deploy`, after which"
        " YARN knows executor-slot."
    )


def test_a_host_with_two_slots_may_get_two() -> None:
    found = plan(*LAB, node("node4", 4096, slots=2))
    assert found.count == 4
    assert found.reasons[1:] == (
        "Two executors may land on one host (node4), which offers more than one executor-slot.",
    )


def test_a_host_to_be_avoided_gets_none() -> None:
    found = plan(*LAB, avoid=["node2"])
    assert (found.count, found.hosts) == (2, ("node1", "node3"))
    assert "node2 gets no executor: it is to be avoided (--avoid)." in found.reasons
    with pytest.raises(UsageError, match=r"--executors 3: .*node2: it is to be avoided"):
        plan(*LAB, avoid=["node2"], executors=3)
