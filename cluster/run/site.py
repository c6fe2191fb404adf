"""What the cluster offers a run, asked of its hosts and daemons before anything is started."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from cluster.checks.program import call
from cluster.clients import spark, yarn
from cluster.clients.rest import NoAnswerError
from cluster.env.store import Stored, find, hdfs
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Host, Inventory
from cluster.run.capacity import AVOIDED, Executors, plan_executors
from cluster.ssh import Fleet
from job.errors import UsageError
from job.host import HostFacts
from job.modes.cluster import HEAP_MB
from job.modes.yarn import MASTER_MB, MASTER_OVERHEAD_MB
from job.spec import ClusterSpec, JobSpec

# Measured on YARN with the smallest model: 220 MiB of JVM, whose heap may still grow, 160 of Python
# and 60 of the process that starts it. A model is held as read and as compiled, and its tensors.
EXECUTOR_MB = 896
TIMES_WEIGHTS = 5
# Every host that the role spark was deployed to has it.
LOCAL_SPARK = "local:/opt/spark/jars/*"
ASK_S = 30.0
# Until every executor must be there: a cold host unpacks the environment first.
WAIT_S = 300.0
MASTER_PORT = 7077


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asks for, None where it is left to the planner; what an executor needs."""

    mode: str
    need_mb: int
    executors: int | None = None
    executor_cores: int | None = None
    memory_mb: int | None = None
    queue: str | None = None
    avoid: Sequence[str] = ()

    @classmethod
    def of(cls, spec: JobSpec) -> "Wishes":
        """Those of a run."""
        weights_mb = (spec.model / "model.bin").stat().st_size / 2**20
        workers = spec.executor_cores or 1
        return cls(
            mode=spec.mode,
            need_mb=EXECUTOR_MB + round(TIMES_WEIGHTS * weights_mb * workers),
            executors=spec.executors,
            executor_cores=spec.executor_cores,
            memory_mb=spec.executor_memory_mb,
            queue=spec.queue,
            avoid=spec.avoid,
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
    user = stored.user
    if files := hdfs(fleet, inventory, user):
        for path in (stored.archive, stored.spark, *stored.bigdl):
            if path:
                files.set_accessed(path, time.time())
    common: dict[str, Any] = {
        "environment": stored.folder,
        "orca_folder": stored.bigdl_folder,
        "address": edge.address,
        "user": user,
        "wait_s": WAIT_S,
        "avoided": tuple(wishes.avoid),
        "tags": (f"environment-{stored.digest}", f"cluster-run-{run}"),
        "namenode": f"{namenode[0].address}:9870" if namenode else "",
        "folder": f"/user/{user}/.cluster/{run}" if namenode else "",
    }
    if wishes.mode == "yarn":
        executors = _on_yarn(fleet, inventory, wishes)
        hosts = _ask(fleet, inventory, executors.hosts, stored, needs_spark=False)
        return ClusterSpec(
            master="yarn",
            hosts=hosts.facts,
            executors=executors.count,
            memory_mb=executors.memory_mb,
            reasons=executors.reasons,
            queue=wishes.queue,
            slot_resource=executors.slot_resource,
            archive=f"hdfs://{stored.archive}",
            spark_jars=LOCAL_SPARK if hosts.same_spark else f"hdfs://{stored.spark}",
            orca_jars=tuple(f"hdfs://{jar}" for jar in stored.bigdl),
            **common,
        )
    count, reasons, names = _on_standalone(fleet, inventory, wishes)
    master = inventory.first("spark_master")
    return ClusterSpec(
        master=f"spark://{master.name}:{MASTER_PORT}",
        hosts=_ask(fleet, inventory, names, stored, needs_spark=True).facts,
        executors=count,
        memory_mb=wishes.memory_mb or wishes.need_mb,
        reasons=reasons,
        **common,
    )


@contextlib.contextmanager
def _asked(fleet: Fleet, host: Host, port: int) -> Iterator[httpx.Client]:
    """A connection to a daemon whose silence is told with what helps."""
    try:
        with fleet.http(host, port) as client:
            yield client
    except NoAnswerError as error:
        raise NoAnswerError(f"{error} `cluster status` says what is down.") from error


def _on_yarn(fleet: Fleet, inventory: Inventory, wishes: Wishes) -> Executors:
    """The executors of a run on YARN, if its queue takes applications."""
    if not inventory.group("yarn_resourcemanager"):
        raise UsageError(f"--mode yarn: {inventory.path} has no host in yarn_resourcemanager.")
    with _asked(fleet, inventory.first("yarn_resourcemanager"), yarn.PORT) as client:
        nodes = yarn.resource_manager(client).nodes
        queues = yarn.scheduler(client).queues
    _check_avoided(wishes.avoid, [node.host for node in nodes])
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
        default_memory_mb=wishes.need_mb,
        avoid=wishes.avoid,
    )


@dataclass(frozen=True, kw_only=True)
class _Hosts:
    """The hosts that are to work. ``same_spark``: all have the edge host's Spark unpacked."""

    facts: tuple[HostFacts, ...]
    same_spark: bool


def _ask(
    fleet: Fleet,
    inventory: Inventory,
    names: Sequence[str],
    stored: Stored,
    *,
    needs_spark: bool,
) -> _Hosts:
    """What the hosts say of themselves, who must be like the edge host where it matters."""
    edge = inventory.first(EDGE)
    hosts = [host for host in inventory.hosts if host.name in names]
    asked = {host.name: host for host in (edge, *hosts)}
    said: dict[str, dict[str, Any]] = {}
    used = (stored.folder, stored.bigdl_folder)
    answers = fleet.fan_out(
        asked.values(), lambda host: call(fleet, host, "host", *used, seconds=ASK_S)
    )
    for name, answer in answers.items():
        if isinstance(answer, ClusterError):
            raise answer
        said[name] = answer
    ours = said[edge.name]
    for host in hosts:
        name, theirs = host.name, said[host.name]
        if theirs["machine"] != ours["machine"]:
            raise ClusterError(
                f"{name} has a processor of another kind than {edge.name} ({theirs['machine']}, not"
                f" {ours['machine']}): the environment of one does not run on the other."
            )
        if needs_spark and theirs["spark"] != ours["spark"]:
            raise ClusterError(
                f"{name} has another Spark than {edge.name}, where the driver runs: `cluster"
                " deploy` makes them alike."
            )
    return _Hosts(
        facts=tuple(HostFacts(**said[host.name]["facts"]) for host in hosts),
        same_spark=all(said[host.name]["spark"] == ours["spark"] != "" for host in hosts),
    )


def _check_avoided(avoid: Sequence[str], known: Sequence[str]) -> None:
    for host in avoid:
        if host not in known:
            raise UsageError(
                f"--avoid {host}: there is no such host; there are {', '.join(sorted(known))}."
            )
    if set(known) <= set(avoid):
        raise UsageError("--avoid: no host would be left.")


def _on_standalone(
    fleet: Fleet, inventory: Inventory, wishes: Wishes
) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """How many executors, why, and on which hosts."""
    if not inventory.group("spark_master"):
        raise UsageError(f"--mode standalone: {inventory.path} has no host in group spark_master.")
    if wishes.queue:
        raise UsageError(f"--queue {wishes.queue}: a standalone master has no queues.")
    cores = wishes.executor_cores or 1
    with _asked(fleet, inventory.first("spark_master"), spark.MASTER_PORT) as client:
        alive = [worker for worker in spark.master(client).workers if worker.state == "ALIVE"]
    reasons, able = [], []
    _check_avoided(wishes.avoid, [worker.host for worker in alive])
    for worker in alive:
        if worker.host in wishes.avoid:
            reasons.append(f"{worker.host} gets no executor: {AVOIDED}")
            continue
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
            f"--executors {wishes.executors or 1}: {len(able)} of {len(alive)} workers have room"
            f" for one ({cores} cores and {HEAP_MB} MiB free): ask for {len(able)} or fewer, or see"
            " by `cluster status` what runs there."
        )
    count = wishes.executors or len(able)
    reasons.append(f"{count} executors, one on each host that has room")
    return count, tuple(reasons), tuple(able)
