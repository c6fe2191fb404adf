"""The ways to bring a Python environment to YARN's hosts, each tried on a lab.

A way's time goes from the driver's start to each host's first finished image, all hosts awaited.
"""

import dataclasses
import itertools
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.bench.labs import bounded, command
from cluster.clients import yarn
from cluster.clients.rest import get
from cluster.inventory import EDGE, Inventory
from cluster.run import launch
from cluster.run.site import LOCAL_SPARK
from cluster.ssh import CHUNK, Fleet
from job.driver import Listener
from job.errors import JobError
from job.model import SHIPPED, Model
from job.spec import ClusterSpec, JobSpec

Row = Mapping[str, Any]
Adapt = Callable[[ClusterSpec], ClusterSpec]

SAMPLES = SHIPPED / "images"
MODEL = "yolact-shapes"
# Where the role hadoop has them unless an inventory says otherwise, which those shipped do not.
LOCALISED = "/data/yarn/local/* /data/yarn/state/nodemanager/*"
UNIT = "yarn-nodemanager"
# A gigabyte over a slow link, and unpacked by a quarter of a core.
EXECUTORS_S = 1500.0
RUN_S = 2700.0
PUSH_S = 1800.0
PI_S = 600.0
NODES_S = 180.0
PI_TASKS = 30
PI = "/opt/spark/examples/src/main/python/pi.py"
PRIVATE = "bench-private"


@dataclass(frozen=True, kw_only=True)
class StartupLab:
    """A deployed lab. ``fleet`` reaches its hosts, ``folder`` is for what runs give."""

    name: str
    inventory: Inventory
    fleet: Fleet
    folder: Path
    tell: Callable[[str], None]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def push(self) -> float:
        """Bring the environment to the cluster; seconds, packing included where it was not."""
        told = command(self.inventory.path, "env", "push", "--format", "json", seconds=PUSH_S)
        return float(json.loads(told)["seconds"]["total"])

    def put_naive(self, archive: Path) -> tuple[Adapt, Adapt]:
        """Put an archive on the edge host and, readable by one user, on HDFS.

        Gives how a run takes it from the one and from the other, as if nothing was prepared.
        """
        here = f"/data/runs/{archive.name}"
        with bounded(PUSH_S, f"sending {archive.name}"), archive.open("rb") as stream:
            chunks = iter(lambda: stream.read(CHUNK), b"")
            self.fleet.send(self.inventory.first(EDGE), f"cat > {here}", chunks)
        self.edge(
            f"hdfs dfs -mkdir -p {PRIVATE} && hdfs dfs -chmod 700 {PRIVATE}"
            f" && hdfs dfs -put -f {here} {PRIVATE}/"
            f" && hdfs dfs -chmod 600 {PRIVATE}/{archive.name}",
            seconds=PUSH_S,
        )

        def local(cluster: ClusterSpec) -> ClusterSpec:
            return dataclasses.replace(cluster, archive=f"file://{here}", spark_jars="")

        def private(cluster: ClusterSpec) -> ClusterSpec:
            there = f"hdfs:///user/{cluster.user}/{PRIVATE}/{archive.name}"
            return dataclasses.replace(cluster, archive=there, spark_jars="")

        return local, private

    def start(self, *, images: int, adapt: Adapt) -> list[Row]:
        """Run the job on so many shipped images: a row for each host, until its first image."""
        spec = JobSpec(
            mode="yarn",
            model=Model.locate(MODEL),
            input=str(SAMPLES),
            output=self.new_output(),
            limit=images,
        )
        record = self.run(spec, adapt=adapt)
        rows = host_rows(record, submitted_at=self._submitted_at(record))
        if missing := {host["host"] for host in record["hosts"]} - {row["host"] for row in rows}:
            raise JobError(
                f"{', '.join(sorted(missing))} had no image of {images}: give more by --images"
            )
        return rows

    def run(
        self,
        spec: JobSpec,
        *,
        adapt: Adapt = lambda cluster: cluster,
        listener: Listener | None = None,
    ) -> dict[str, Any]:
        """run.json of a run for which every executor was waited for."""

        def patient(cluster: ClusterSpec) -> ClusterSpec:
            return dataclasses.replace(adapt(cluster), wait_s=EXECUTORS_S, late_s=EXECUTORS_S)

        with bounded(RUN_S, "a run"):
            told = listener or _Steps(self.tell)
            return launch.start(self.inventory, spec, told, adapt=patient)

    def new_output(self) -> Path:
        """A name for a run directory."""
        return self.folder / f"run-{next(self._numbers)}"

    def _submitted_at(self, record: Mapping[str, Any]) -> float:
        """When systemd started the driver, by the clock of the edge host."""
        tags = record["spark_conf"]["spark.yarn.tags"].split(",")
        unit = next(tag for tag in tags if tag.startswith("cluster-run-"))
        journal = f"journalctl --unit={shlex.quote(unit)} --output=short-unix --no-pager"
        done = self.fleet.run(
            self.inventory.first(EDGE), f"{journal} | grep -m1 Started", sudo=True
        )
        return float(done.check().stdout.split()[0])

    def spark_pi(self) -> float:
        """Seconds from spark-submit of Spark's own pi.py to the start of its first task.

        With Spark's jars from the hosts' disks, as ours has them: it sends nothing.
        """
        workers = len(self.inventory.group("yarn_nodemanager"))
        words = ["spark-submit", "--master", "yarn", "--deploy-mode", "client"]
        words += ["--num-executors", str(workers), "--executor-cores", "1"]
        words += [
            "--conf",
            f"spark.yarn.jars={LOCAL_SPARK}",
            "--conf",
            "spark.eventLog.enabled=true",
        ]
        said = self.edge(
            f"events=$(mktemp -d) && date +%s.%N && {shlex.join(words)}"
            f" --conf spark.eventLog.dir=file:$events {PI} {PI_TASKS} >$events/out 2>&1"
            " && grep -h -m1 SparkListenerTaskStart $events/app*"
            " || { tail -n 1 $events/out >&2; exit 1; }",
            seconds=PI_S,
        )
        began, started = said.splitlines()
        return float(json.loads(started)["Task Info"]["Launch Time"]) / 1000 - float(began)

    def forget(self) -> None:
        """Have no host hold anything localised, nor its NodeManager know of it."""
        self._renew(f"systemctl stop {UNIT} && rm -rf {LOCALISED} && systemctl start {UNIT}")

    def restart(self) -> None:
        """Restart the NodeManagers."""
        self._renew(f"systemctl restart {UNIT}")

    def _renew(self, command_: str) -> None:
        hosts = self.inventory.group("yarn_nodemanager")
        done = self.fleet.fan_out(
            hosts, lambda host: self.fleet.run(host, command_, sudo=True, timeout=NODES_S).check()
        )
        for outcome in done.values():
            if isinstance(outcome, Exception):
                raise outcome
        since = time.time()
        with (
            bounded(NODES_S, "the restart of the NodeManagers"),
            self.fleet.http(self.inventory.first("yarn_resourcemanager"), yarn.PORT) as client,
        ):
            # Until then YARN knows the one that was stopped.
            while True:
                nodes = get(client, "/ws/v1/cluster/nodes").object("nodes").objects("node")
                heard = [node for node in nodes if node.number("lastHealthUpdate") > since * 1000]
                if sum(node.text("state") == "RUNNING" for node in heard) == len(hosts):
                    return
                time.sleep(1)

    def edge(self, command_: str, *, seconds: float) -> str:
        """What a shell command on the edge host prints."""
        host = self.inventory.first(EDGE)
        return self.fleet.run(host, command_, timeout=seconds).check().stdout


def host_rows(record: Mapping[str, Any], *, submitted_at: float) -> list[Row]:
    """The phases of each host up to its first image, in seconds; they add up to its total.

    But for ``localise_s``, what came to the host meanwhile: it is part of ``submit_s``, which ends
    with the application master running, and of ``executor_s``. ``wait_s`` is for the other
    executors and for Python's start.
    """
    phases: list[Mapping[str, Any]] = record["phases"]

    def of(name: str, host: str | None) -> list[Mapping[str, Any]]:
        return [each for each in phases if (each["name"], each["host"]) == (name, host)]

    def ends(found: list[Mapping[str, Any]]) -> list[float]:
        return [each["started_at"] + each["seconds"] for each in found]

    submit_s = min(ends(of("submit", None))) - submitted_at
    rows: list[Row] = []
    for host in sorted({each["host"] for each in phases if each["name"] == "steady"}):
        total_s = min(each["started_at"] for each in of("steady", host)) - submitted_at
        executor_s = of("executor_start", host)[0]["seconds"]
        load = min(of("model_load", host), key=lambda each: float(each["started_at"]))
        loading_s = load["started_at"] - submitted_at
        loaded_s = loading_s + load["seconds"]
        localised = of("localise", host)
        localise_s = None
        if localised:
            localise_s = max(ends(localised)) - min(each["started_at"] for each in localised)
        rows.append(
            {
                "host": host,
                "submit_s": submit_s,
                "localise_s": localise_s,
                "executor_s": executor_s,
                "wait_s": loading_s - submit_s - executor_s,
                "model_load_s": load["seconds"],
                "first_image_s": total_s - loaded_s,
                "total_s": total_s,
            }
        )
    return rows


@dataclass
class _Steps(Listener):
    """Tells a run's steps."""

    tell: Callable[[str], None]

    def step(self, text: str) -> None:
        """One thing that begins now."""
        self.tell(f"  {text}")
