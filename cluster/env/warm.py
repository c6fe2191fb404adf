"""``cluster env warm``: YARN brings to every host what a run needs, before a run waits for it.

A Spark application without images (job/warm.py) has an executor on each host, for which YARN
localises the environment, the model and what else a run asks for. Its driver is that of a run: a
unit on the edge host, which goes on without us, and which the next call finds again.
"""

import dataclasses
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.clients import yarn
from cluster.env import store
from cluster.env.build import IMPORTS
from cluster.env.hosts import Tell
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Inventory
from cluster.run.code import Code
from cluster.run.edge import EdgeRun, Status
from cluster.run.follow import Follower, Hosts
from cluster.run.localisation import localised, localised_names
from cluster.run.site import EXECUTOR_MB, Wishes, survey
from cluster.ssh import Fleet
from job.driver import Listener
from job.errors import JobError
from job.images.source import ON_HDFS
from job.model import Model
from job.spec import ClusterSpec

# Until the last executor must be there: as long as a slow link and a slow CPU may take.
WAIT_S = 900.0
# Until Spark must run: the application master localises before that.
START_S = 2 * WAIT_S
# In a node's health report.
FULL = re.compile(r"\[ (?P<folder>/\S+) : free space below limit of (?P<limit>\w+)")
# An application that has just ended gives back its places.
LEAVING_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Warmth:
    """A host of YARN. ``localised`` has the seconds of each file that came now, and no other.

    ``executor_s`` is how long the executor was waited for once Spark ran; ``check`` is what
    job/environment.py found there. ``trouble`` is why the host is not warm; empty where it is.
    """

    host: str
    localised: Mapping[str, float] = field(default_factory=dict)
    executor_s: float | None = None
    check: Mapping[str, Any] | None = None
    trouble: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Warmed:
    """How warm the hosts of YARN are now, and how long that took."""

    digest: str
    hosts: tuple[Warmth, ...]
    seconds: float

    @property
    def was_warm(self) -> bool:
        """Nothing had to be localised."""
        return not any(host.localised for host in self.hosts)


def warm(
    fleet: Fleet,
    inventory: Inventory,
    *,
    model: Path,
    engine: str = "native",
    files: bool = False,
    tell: Tell,
) -> Warmed | None:
    """Have every host of YARN localise what a run needs; None where there is no YARN.

    With FILES each host also compares its copy of the environment with its manifest. Hosts that did
    not get warm say so in the result.

    Raises:
        ClusterError: all hosts are in use, the environment was not pushed, or the edge host or YARN
            does not answer.
        JobError: the application failed.
    """
    if not inventory.group("yarn_resourcemanager"):
        return None
    started = time.monotonic()
    digest, edge = store.current(), inventory.first(EDGE)
    run = EdgeRun(fleet=fleet, edge=edge, id=f"{'verify' if files else 'warm'}-{digest}")
    listener = _Steps(edge.name, tell)
    if run.status().active:
        listener.step("Following the one that goes on there")
        request = run.request()
    else:
        request = _start(run, inventory, Model.load(model), engine, files, listener)
    hosts = Hosts(run, inventory, "yarn")
    follower = _Follower(
        run=run,
        request=request,
        hosts=hosts,
        output=Path(run.folder),
        listener=listener,
        start_s=START_S,
        tell_=tell,
    )
    try:
        said = follower.follow()
    except JobError as error:
        # Where the application master was to start there may have been no room for its files.
        down = "".join(f" {host}: {why}." for host, why in _down_now(fleet, inventory).items())
        raise JobError(f"{error}{down}") from error
    return Warmed(
        digest=digest,
        hosts=_hosts(fleet, inventory, request, said),
        seconds=time.monotonic() - started,
    )


def _start(
    run: EdgeRun,
    inventory: Inventory,
    model: Model,
    engine: str,
    files: bool,
    listener: Listener,
) -> dict[str, Any]:
    """Start the driver; its request."""
    fleet = run.fleet
    listener.step(f"Asking the hosts of {inventory.path}")
    left_out, busy = _left_out(fleet, inventory)
    cluster = survey(fleet, inventory, Wishes(mode="yarn", need_mb=EXECUTOR_MB), run.id)
    free = tuple(facts for facts in cluster.hosts if facts.host not in busy)
    taken = len(cluster.hosts) - len(free)
    run.remove()
    with run.made():
        code = run.send_code(Code.here())
        cluster = dataclasses.replace(
            cluster,
            hosts=free,
            executors=max(1, cluster.executors - taken),
            wait_s=WAIT_S,
            code=f"{code}/job.zip",
        )
        spec = {
            "mode": "yarn",
            "engine": engine,
            "model": run.send_model(model),
            "input": f"{ON_HDFS}//",
            "output": f"{run.folder}/run",
            "conf": {
                "spark.app.name": f"cluster env {'verify' if files else 'warm'}",
                "spark.eventLog.enabled": "false",
            },
        }
        request = {
            "task": "warm",
            "spec": spec,
            "cluster": dataclasses.asdict(cluster),
            "check": {"imports": IMPORTS, "files": files},
            "left_out": {**left_out, **busy},
            "model": model.digest,
        }
        run.start(request, f"{cluster.environment}/bin/python", code)
    listener.step(f"Started as {run.id}")
    return request


def _left_out(fleet: Fleet, inventory: Inventory) -> tuple[dict[str, str], dict[str, str]]:
    """Why hosts will not be warm: those that are down, and those in use.

    Raises:
        ClusterError: none is free, and none will be before an application ends.
    """
    with fleet.http(inventory.first("yarn_resourcemanager"), yarn.PORT) as client:
        deadline = time.monotonic() + LEAVING_S
        while True:
            manager = yarn.resource_manager(client)
            busy = _busy(manager)
            if not busy or time.monotonic() > deadline:
                break
            time.sleep(1)
    if all(node.host in busy for node in manager.nodes if node.state == "RUNNING") and busy:
        raise ClusterError(
            f"No host of YARN has room for an executor: {next(iter(busy.values()))}; wait until"
            " that has ended (`cluster status` shows it), or end it with `yarn application -kill`."
        )
    return _down(manager, inventory), busy


def _down_now(fleet: Fleet, inventory: Inventory) -> dict[str, str]:
    with fleet.http(inventory.first("yarn_resourcemanager"), yarn.PORT) as client:
        return _down(yarn.resource_manager(client), inventory)


def _down(manager: yarn.ResourceManager, inventory: Inventory) -> dict[str, str]:
    """The hosts that YARN gives nothing to, and why."""
    down = {}
    for host in inventory.group("yarn_nodemanager"):
        nodes = [node for node in manager.nodes if node.host == host.name]
        if not nodes:
            down[host.name] = "YARN does not know it: see `cluster status`"
        elif all(node.state != "RUNNING" for node in nodes):
            health = nodes[0].health.strip()
            if full := FULL.search(health):
                down[host.name] = (
                    f"YARN gives it nothing, for {full['folder']} has less than {full['limit']}"
                    " free: make room there"
                )
            else:
                down[host.name] = f"YARN calls it {nodes[0].state}{health and f' ({health})'}"
    return down


def _busy(manager: yarn.ResourceManager) -> dict[str, str]:
    """The hosts whose place for an executor is taken, or the memory for it."""
    running = [f"{each.id} ({each.name})" for each in manager.applications]
    by = f"in use by {', '.join(running) or 'an application that has just ended'}"
    return {
        node.host: by
        for node in manager.nodes
        if node.state == "RUNNING"
        and (
            0 < node.slots <= node.used_slots
            or node.memory_mb - node.used_memory_mb < EXECUTOR_MB <= node.memory_mb
        )
    }


@dataclass
class _Steps(Listener):
    """Tells the driver's steps as those of the edge host."""

    edge: str
    tell: Tell

    def step(self, text: str) -> None:
        """One thing that begins now."""
        self.tell(self.edge, text, 0, 0)


@dataclass(kw_only=True)
class _Follower(Follower):
    """Follows a driver whose results are in its status.json."""

    tell_: Tell
    _known: dict[str, str] = field(default_factory=dict)

    def goes_on(self) -> str:
        """The next call finds it."""
        return "It goes on there: the same command again follows it."

    def tell(self, status: Status) -> None:
        """How the hosts get on, too."""
        super().tell(status)
        for host, said in status.said.get("hosts", {}).items():
            step = _step(said)
            if self._known.get(host) != step:
                self._known[host] = step
                self.tell_(host, step, 0, 0)

    def end(self, status: Status) -> dict[str, Any]:
        """What the driver has said last."""
        said = dict(status.said)
        if said.get("state") == "finished":
            self.run.remove()
            return said
        raise JobError(f"{self.run.place}: {self.why(status)}.")


def _step(said: Mapping[str, Any]) -> str:
    if said.get("trouble"):
        return f"Failed: {said['trouble']}"
    if check := said.get("check"):
        return "Damaged" if check["failure"] or check["damaged"] else "Ready"
    return f"Executor after {said['executor_s']:.1f} s"


def _hosts(
    fleet: Fleet, inventory: Inventory, request: Mapping[str, Any], said: Mapping[str, Any]
) -> tuple[Warmth, ...]:
    cluster = ClusterSpec.from_dict(request["cluster"])
    known = {facts.host: said.get("hosts", {}).get(facts.host, {}) for facts in cluster.hosts}
    came: dict[str, dict[str, float]] = {}
    names = localised_names(request["cluster"], request["model"])
    since = said["steps"][0]["at"]
    for each in localised(fleet, inventory.group("yarn_nodemanager"), names, since):
        came.setdefault(each.host, {})[each.name] = each.seconds
    without = [host for host, of_host in known.items() if "executor_s" not in of_host]
    # Where the application master is, there may be no room for an executor beside it.
    spare = len(cluster.hosts) - cluster.executors
    note = "the application master was there, and no room for an executor beside it"
    hosts = [
        Warmth(
            host=host,
            localised=came.get(host, {}),
            executor_s=of_host.get("executor_s"),
            check=of_host.get("check"),
            trouble=_trouble(of_host) if host not in without[:spare] else "",
            note=note if host in without[:spare] else "",
        )
        for host, of_host in known.items()
    ]
    hosts += [Warmth(host=host, trouble=why) for host, why in request["left_out"].items()]
    if any(host.trouble for host in hosts):
        # A host that YARN has given up meanwhile lost its executor for that reason.
        down = _down_now(fleet, inventory)
        hosts = [
            dataclasses.replace(each, trouble=down.get(each.host, each.trouble)) for each in hosts
        ]
    return tuple(sorted(hosts, key=lambda each: each.host))


def _trouble(said: Mapping[str, Any]) -> str:
    if "check" in said:
        failure: str = said["check"]["failure"]
        return failure and f"{failure}; `cluster env verify` tells which file is damaged"
    if said.get("trouble"):
        return f"it has no executor: {said['trouble']}"
    if "executor_s" in said:
        return "its executor was lost before the environment was tried there: run this again"
    return f"no executor came in {WAIT_S:.0f} s: see the NodeManager's log there"
