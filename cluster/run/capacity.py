"""How many executors YARN can place, how large, and on which hosts. No I/O."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from cluster.clients.yarn import SLOT, NodeManager
from job.errors import UsageError

# The step of containers that the role hadoop sets (hadoop_yarn_minimum_mb).
STEP_MB = 128
AVOIDED = "it is to be avoided (--avoid)"


@dataclass(frozen=True, kw_only=True)
class Executors:
    """What to ask YARN for: ``count`` executors of one size, at most one on each of ``hosts``.

    Where there are more hosts than executors, YARN chooses. ``memory_mb`` is a container's, JVM and
    Python together. ``slot_resource`` is the resource type of which each executor asks for one,
    where YARN knows it. ``left_out`` has the reason by host; ``reasons`` has all, as sentences.
    """

    count: int
    memory_mb: int
    cores: int
    hosts: tuple[str, ...]
    left_out: dict[str, str]
    slot_resource: str | None
    reasons: tuple[str, ...]


def plan_executors(
    nodes: Sequence[NodeManager],
    *,
    application_master_mb: int,
    memory_mb: int | None,
    cores: int,
    executors: int | None,
    default_memory_mb: int,
    avoid: Collection[str] = (),
    step_mb: int = STEP_MB,
) -> Executors:
    """One executor on each host that can hold one, wherever the application master lands.

    Reckoned with what hosts offer, not with what is free now: YARN has executors wait for that.

    Raises:
        UsageError: no host can hold one, or not as many as there are ``executors`` asked for.
    """
    memory = _rounded(memory_mb or default_memory_mb, step_mb)
    master = _rounded(application_master_mb, step_mb)
    slots = any(node.slots for node in nodes)
    size = f"{memory} MiB and {_vcores(cores)}"

    able: list[NodeManager] = []
    left_out: dict[str, str] = {}
    for node in sorted(nodes, key=lambda node: node.host):
        why = AVOIDED if node.host in avoid else _unable(node, memory, cores, slots=slots)
        if why:
            left_out[node.host] = why
        else:
            able.append(node)
    # Those that the application master may land on, and an executor then may not.
    tight = [
        node
        for node in able
        if _fits(node, master, 1) and not _fits(node, memory + master, cores + 1)
    ]
    count = len(able) - bool(tight)
    if count < 1:
        raise UsageError(_no_host(nodes, memory, cores, master))
    if executors and executors > count:
        why = "; ".join(f"{host}: {reason}" for host, reason in left_out.items())
        raise UsageError(
            f"--executors {executors}: YARN's hosts can hold {count} of {size}, one each beside the"
            f" application master{f' ({why})' if why else ''}: ask for {count} or fewer, or for"
            " smaller ones by --executor-memory and --executor-cores."
        )
    wanted = executors or count
    reasons = [f"Executors: {wanted} of {size}, {_where(wanted, able)}."]
    if tight:
        reasons.append(_tight(tight, memory, cores, master, step_mb=step_mb))
    if memory_mb and memory != memory_mb:
        reasons.append(
            f"Executors get {memory} MiB instead of {memory_mb}: YARN's step is {step_mb} MiB."
        )
    reasons += [f"{host} gets no executor: {reason}." for host, reason in left_out.items()]
    reasons += _busy(able, memory, cores, slots=slots)
    reasons += _doubled(able, memory, cores, master, slots=slots, step_mb=step_mb)
    return Executors(
        count=wanted,
        memory_mb=memory,
        cores=cores,
        hosts=tuple(node.host for node in able),
        left_out=left_out,
        slot_resource=SLOT if slots else None,
        reasons=tuple(reasons),
    )


def _unable(node: NodeManager, memory: int, cores: int, *, slots: bool) -> str:
    """Why a host cannot hold an executor, whatever else is there."""
    if node.state != "RUNNING":
        return f"YARN calls it {node.state}"
    if slots and not node.slots:
        return f"it offers no {SLOT} (hadoop_yarn_executor_slots)"
    if not _fits(node, memory, cores):
        return f"it offers {_offer(node)}, an executor takes {memory} MiB and {_vcores(cores)}"
    return ""


def _tight(
    tight: Sequence[NodeManager], memory: int, cores: int, master: int, *, step_mb: int
) -> str:
    names = ", ".join(node.host for node in tight)
    less_mb = (min(node.memory_mb for node in tight) - master) // step_mb * step_mb
    smaller = less_mb > 0 and all(_fits(node, 0, cores + 1) for node in tight)
    return (
        f"One host fewer is counted on, for where the application master lands on {names} no"
        f" executor fits: both take {memory + master} MiB and {_vcores(cores + 1)}"
        f"{f' (--executor-memory {less_mb}m would fit)' if smaller else ''}."
    )


def _where(count: int, able: Sequence[NodeManager]) -> str:
    if count == len(able):
        return "one on each host that can hold one"
    names = ", ".join(node.host for node in able)
    return f"on {count} of the {len(able)} hosts that can hold one ({names}), as YARN chooses"


def _no_host(nodes: Sequence[NodeManager], memory: int, cores: int, master: int) -> str:
    running = [node for node in nodes if node.state == "RUNNING"]
    if not running:
        return "YARN has no running NodeManager: see `cluster status`."
    largest = max(running, key=lambda node: (node.memory_mb, node.vcores))
    takes = (
        f"An executor takes {memory} MiB and {_vcores(cores)}, with the application master beside"
        f" it {memory + master} MiB and {_vcores(cores + 1)}"
    )
    offers = f"the largest host, {largest.host}, offers {_offer(largest)}"
    if _fits(largest, memory + master, cores + 1):
        return (
            f"No host of YARN offers an {SLOT} where there is room: set hadoop_yarn_executor_slots."
        )
    return f"{takes}; {offers}: lower --executor-memory or --executor-cores."


def _busy(able: Iterable[NodeManager], memory: int, cores: int, *, slots: bool) -> Iterable[str]:
    for node in able:
        free_mb, free_vcores = node.memory_mb - node.used_memory_mb, node.vcores - node.used_vcores
        taken = slots and node.used_slots >= node.slots
        if taken or free_mb < memory or free_vcores < cores:
            free = f"{free_mb} MiB and {_vcores(free_vcores)}{', no ' + SLOT if taken else ''}"
            yield f"{node.host} is in use: {free} are free now, and its executor waits for more."


def _doubled(
    able: Sequence[NodeManager],
    memory: int,
    cores: int,
    master: int,
    *,
    slots: bool,
    step_mb: int,
) -> Iterable[str]:
    """Where two executors could land on one host, and what prevents it."""
    two = [
        node.host
        for node in able
        if _fits(node, 2 * memory, 2 * cores) and (node.slots > 1 or not slots)
    ]
    if not two:
        return
    names = ", ".join(two)
    if slots:
        yield f"Two executors may land on one host ({names}), which offers more than one {SLOT}."
        return
    # More than half of the largest host, where that leaves room for the master on the smallest.
    more_mb = _rounded(max(node.memory_mb for node in able) // 2 + 1, step_mb)
    more_cores = max(node.vcores for node in able) // 2 + 1
    bounds = []
    if all(_fits(node, more_mb + master, cores + 1) for node in able):
        bounds.append(f"--executor-memory {more_mb}m")
    if all(_fits(node, memory + master, more_cores + 1) for node in able):
        bounds.append(f"--executor-cores {more_cores}")
    bounds.append(f"`cluster deploy`, after which YARN knows {SLOT}")
    yield f"Two executors may land on one host ({names}); what prevents it: {', or '.join(bounds)}."


def _fits(node: NodeManager, memory: int, vcores: int) -> bool:
    return node.memory_mb >= memory and node.vcores >= vcores


def _rounded(memory: int, step: int) -> int:
    return -(-memory // step) * step


def _offer(node: NodeManager) -> str:
    return f"{node.memory_mb} MiB and {_vcores(node.vcores)}"


def _vcores(count: int) -> str:
    return f"{count} vcore{'' if count == 1 else 's'}"
