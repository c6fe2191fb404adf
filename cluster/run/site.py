"""What the cluster offers a run, asked of its hosts and daemons before anything is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.checks.program import call
from cluster.clients import spark, yarn
from cluster.env.store import find
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Host, Inventory
from cluster.run.capacity import Executors, plan_executors
from cluster.ssh import Fleet
from job.errors import UsageError
from job.host import HostFacts
from job.modes.cluster import HEAP_MB
from job.modes.yarn import MASTER_MB, MASTER_OVERHEAD_MB
from job.spec import ClusterSpec, JobSpec

# A Python worker with its model, its infer requests and what Spark's JVM needs beside its heap.
EXECUTOR_MB = 1536
ASK_S = 30.0
# Until every executor must be there: a cold host unpacks the environment first.
WAIT_S = 300.0
MASTER_PORT = 7077


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asks for; None leaves it to the planner."""

    mode: str
    engine: str
    executors: int | None = None
    executor_cores: int | None = None
    memory_mb: int | None = None
    queue: str | None = None

    @classmethod
    def of(cls, spec: JobSpec) -> "Wishes":
        """Those of a run."""
        return cls(
            mode=spec.mode,
            engine=spec.engine,
            executors=spec.executors,
            executor_cores=spec.executor_cores,
            memory_mb=spec.executor_memory_mb,
            queue=spec.queue,
        )


def survey(fleet: Fleet, inventory: Inventory, wishes: Wishes, run: str) -> ClusterSpec:
    """The cluster as a run needs to know it.

    Raises:
        UsageError: the inventory has no such cluster, or the cluster cannot hold what is wished.
        ClusterError: a host or daemon does not answer, or the environment was not pushed.
    """
    edge = inventory.first(EDGE)
    stored = find(fleet, inventory)
    namenode = inventory.group("hdfs_namenode")
    user = _login(fleet, edge)
    common: dict[str, Any] = {
        "environment": stored.folder,
        "orca_folder": stored.bigdl_folder,
        "address": edge.address,
        "user": user,
        "wait_s": WAIT_S,
        "tags": (f"environment-{stored.digest}", f"cluster-run-{run}"),
        "namenode": f"{namenode[0].address}:9870" if namenode else "",
        "folder": f"/user/{user}/.cluster/{run}" if namenode else "",
    }
    if wishes.mode == "yarn":
        executors = _on_yarn(fleet, inventory, wishes)
        return ClusterSpec(
            master="yarn",
            hosts=_facts(fleet, inventory, edge, executors.hosts),
            executors=executors.count,
            memory_mb=executors.memory_mb,
            reasons=executors.reasons,
            queue=wishes.queue,
            slot_resource=executors.slot_resource,
            archive=f"hdfs://{stored.archive}",
            spark_jars=f"hdfs://{stored.spark}",
            orca_jars=tuple(f"hdfs://{jar}" for jar in stored.bigdl),
            **common,
        )
    count, reasons, hosts = _on_standalone(fleet, inventory, wishes)
    master = inventory.first("spark_master")
    return ClusterSpec(
        master=f"spark://{master.name}:{MASTER_PORT}",
        hosts=_facts(fleet, inventory, edge, hosts),
        executors=count,
        memory_mb=wishes.memory_mb or EXECUTOR_MB,
        reasons=reasons,
        **common,
    )


def _on_yarn(fleet: Fleet, inventory: Inventory, wishes: Wishes) -> Executors:
    """The executors of a run on YARN, if its queue takes applications."""
    if not inventory.group("yarn_resourcemanager"):
        raise UsageError(f"--mode yarn: {inventory.path} has no host in yarn_resourcemanager.")
    with fleet.http(inventory.first("yarn_resourcemanager"), yarn.PORT) as client:
        nodes = yarn.resource_manager(client).nodes
        queues = yarn.scheduler(client).queues
    wanted = wishes.queue or "default"
    queue = next((each for each in queues if wanted in (each.name, each.path)), None)
    if queue is None:
        known = ", ".join(each.name for each in queues)
        raise UsageError(f"--queue {wanted}: YARN has no such queue; it has {known}.")
    if queue.state != "RUNNING":
        raise UsageError(f"--queue {wanted}: YARN's queue is {queue.state}: it takes no runs.")
    return plan_executors(
        nodes,
        application_master_mb=MASTER_MB + MASTER_OVERHEAD_MB,
        memory_mb=wishes.memory_mb,
        cores=wishes.executor_cores or 1,
        executors=wishes.executors,
        default_memory_mb=EXECUTOR_MB,
    )


def _login(fleet: Fleet, edge: Host) -> str:
    return fleet.run(edge, "id -un").check().stdout.strip()


def _facts(
    fleet: Fleet, inventory: Inventory, edge: Host, names: Sequence[str]
) -> tuple[HostFacts, ...]:
    """The facts of the hosts that are to work, who must be like the edge host where it matters."""
    hosts = [inventory[name] for name in names]
    asked = {host.name: host for host in (edge, *hosts)}.values()
    answers = fleet.fan_out(asked, lambda host: call(fleet, host, "host", seconds=ASK_S))
    for answer in answers.values():
        if isinstance(answer, ClusterError):
            raise answer
    said: dict[str, dict[str, Any]] = answers  # type: ignore[assignment]
    for host in hosts:
        for field, what in (("machine", "processor"), ("spark", "Spark")):
            ours, theirs = said[edge.name][field], said[host.name][field]
            if ours != theirs:
                raise ClusterError(
                    f"{host.name} has another {what} than the driver's host {edge.name}"
                    f" ({theirs or 'none'}, not {ours}): `cluster deploy` makes them alike."
                )
    return tuple(HostFacts(**said[host.name]["facts"]) for host in hosts)


def _on_standalone(
    fleet: Fleet, inventory: Inventory, wishes: Wishes
) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """How many executors, why, and on which hosts."""
    if not inventory.group("spark_master"):
        raise UsageError(f"--mode standalone: {inventory.path} has no host in group spark_master.")
    cores = wishes.executor_cores or 1
    client = fleet.http(inventory.first("spark_master"), spark.MASTER_PORT)
    alive = [worker for worker in spark.master(client).workers if worker.state == "ALIVE"]
    reasons, able = [], []
    for worker in alive:
        free = worker.cores - worker.used_cores, worker.memory_mb - worker.used_memory_mb
        if free[0] >= cores and free[1] >= HEAP_MB:
            able.append(worker.host)
        else:
            reasons.append(
                f"{worker.host} gets no executor: its worker has {free[0]} cores and {free[1]} MiB"
                f" free, an executor takes {cores} and {HEAP_MB}"
            )
    if not able or len(able) < (wishes.executors or 0):
        raise UsageError(
            f"--executors {wishes.executors or 1}: {len(able)} of {len(alive)} workers have"
            f" {cores} cores and {HEAP_MB} MiB free; see `cluster status`."
        )
    count = wishes.executors or len(able)
    reasons.append(f"{count} executors, one on each host that has room")
    return count, tuple(reasons), tuple(able)
