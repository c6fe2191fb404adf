"""Records real runs on real labs, with faults and without, for an analysis to be scored on."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import yaml

from cluster.bench import links
from cluster.bench.labs import command, operated, prepare
from cluster.bench.midway import Midway
from cluster.bench.starts import StartupLab
from cluster.bench.stragglers.recipes import BEFORE, CPUS, Item, Recipe, items
from cluster.bench.stragglers.traces import SUFFIX, Trace, files, learned
from cluster.env import build
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Inventory
from cluster.lab import cgroups, nspawn
from cluster.lab.faults.kinds import Truth
from cluster.lab.faults.order import fault
from cluster.lab.faults.skew import skew
from cluster.lab.machines import machines_of
from cluster.signals import handled
from cluster.ssh import Fleet
from job.driver import Listener
from job.errors import JobError
from job.model import Model
from job.spec import JobSpec
from job.stragglers.work import image_rows, numbers

LEARNING = 3
"""Runs of a new lab from which its hosts' speeds are learned; the first one is slow in all."""

NETWORKS: Mapping[str, str] = {"alike": "192.168.61", "uneven": "192.168.62"}
PHOTOS: Mapping[str, int] = {"alike": 600, "uneven": 800}
"""A run's; half a minute of work."""

COSTLY_SHARE = 0.06
"""Of the photos, the costly ones of a skew: about the first task of a run."""

MASTER = "master"
ON_MASTER = ("hdfs_namenode", "yarn_resourcemanager", "spark_history", EDGE)
MEMORY_MB = 4096

# Every second photo has a copy on each host, the others one on the master.
COPIES = {4: "*[02468].jpg", 1: "*[13579].jpg"}
REMOTE_SHARE = 0.5
# A file takes HDFS a while to close.
PUT_THREADS = 16
FAULT_S = 900.0  # at most
MOST_FAILURES = 3
PLAIN = "plain"
FOLDER = "bench-traces"


def record(
    folder: Path,
    *,
    rounds: int,
    kinds: Collection[str],
    clusters: Collection[str],
    model: str,
    tell: Callable[[str], None],
) -> int:
    """Record the runs of so many ROUNDS that are not in FOLDER yet; how many there are new.

    Each is written when it has ended. A run that fails is told, and left out.

    Raises:
        ClusterError: labs cannot run here, or a step failed.
        JobError: several runs failed one after the other.
    """
    todo = missing(items(rounds, kinds=kinds, clusters=clusters), files(folder))
    tell(f"{len(todo)} runs to record, {len(files(folder))} are in {folder}")
    if not todo:
        return 0
    found = Model.locate(model)
    build.build(tell=tell)
    prepare(tell)
    count = failures = 0
    sites: dict[str, Site] = {}
    with _Interrupts() as interrupts, ExitStack() as stack:
        for number, item in enumerate(todo, 1):
            tell(f"{number}/{len(todo)} {item.cluster}: {item.name}")
            if item.cluster not in sites:
                recipes = [each.recipe for each in todo if each.cluster == item.cluster]
                made = site(item.cluster, [each for each in recipes if each], found, folder, tell)
                sites[item.cluster] = stack.enter_context(made)
            try:
                sites[item.cluster].record(item)
            except JobError as error:
                failures += 1
                if interrupts.came or failures == MOST_FAILURES:
                    raise
                tell(f"{item.name} failed, and is left out: {error}")
            else:
                count, failures = count + 1, 0
    return count


def missing(wanted: Iterable[Item], there: Iterable[Path]) -> list[Item]:
    """Those of the runs WANTED of which no trace is THERE."""
    names = {(path.parent.name.partition("-")[0], path.name) for path in there}
    return [item for item in wanted if (item.cluster, f"{item.name}{SUFFIX}") not in names]


def write_inventory(folder: Path, cluster: str) -> None:
    """The inventory of a CLUSTER: its workers, and a machine for the driver and all masters.

    That one does no images: it would be slower than it is declared, and slow others down by it.
    """
    network, cpus = NETWORKS[cluster], CPUS[cluster]
    workers = {
        f"node{number}": {"ansible_host": f"{network}.{10 + number}", "lab_cpus": share}
        for number, share in enumerate(cpus, 1)
    }
    hosts = {MASTER: {"ansible_host": f"{network}.10", "lab_cpus": os.cpu_count()}, **workers}
    groups = {
        **{group: [MASTER] for group in ON_MASTER},
        "hdfs_datanode": [*hosts],
        "yarn_nodemanager": [*workers],
    }
    content = {
        "hosts": hosts,
        # So that a fifth of a core counts as one whole vcore.
        "vars": {"lab_memory_mb": MEMORY_MB, "hadoop_yarn_vcores_per_cpu": 4},
        "children": {group: {"hosts": dict.fromkeys(names)} for group, names in groups.items()},
    }
    folder.mkdir()
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": content}), encoding="utf-8")


@contextmanager
def site(
    cluster: str,
    recipes: Collection[Recipe],
    model: Path,
    traces: Path,
    tell: Callable[[str], None],
) -> Iterator["Site"]:
    """A lab of the CLUSTER with all inputs that RECIPES need, and its hosts' speeds learned."""
    with tempfile.TemporaryDirectory(prefix="bench-") as parent:
        inventory = Path(parent) / cluster
        write_inventory(inventory, cluster)
        with operated(inventory, tell) as deployed, Fleet(deployed) as fleet:
            name = f"{cluster}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
            folder = Path(parent) / "runs"
            folder.mkdir()
            lab = StartupLab(name=name, inventory=deployed, fleet=fleet, folder=folder, tell=tell)
            tell(f"{name}: push, warm-up and inputs")
            with _unlimited(deployed):
                lab.push()
                command(inventory, "env", "warm", "--format", "json")
                source = _put_inputs(lab, PHOTOS[cluster], recipes)
            made = Site(cluster=cluster, lab=lab, model=model, traces=traces, source=source)
            made.learn()
            yield made


def _put_inputs(lab: StartupLab, photos: int, recipes: Collection[Recipe]) -> str:
    """Put the photos and each skew of them on HDFS; the address of the folder with all of them.

    Half of the files have a copy on each host, the others one on the master: so what a host reads
    comes in equal parts from its own disk and over its link.
    """
    inputs = lab.folder / "inputs"
    inputs.mkdir()
    links.write_photos(inputs / PLAIN, photos)
    for recipe in {each.name: each for each in recipes if each.kind == "skew"}.values():
        skew(
            inputs / PLAIN,
            inputs / recipe.name,
            factor=recipe.options["factor"],
            share=COSTLY_SHARE,
        )
    links.send_folder(lab, inputs, FOLDER)
    folders = sorted({path.parent.relative_to(inputs) for path in inputs.rglob("*.jpg")})
    shutil.rmtree(inputs)
    words = " ".join(f"{FOLDER}/{folder}" for folder in folders)
    lab.edge(f"hdfs dfs -mkdir -p {words}", seconds=links.PUT_S)
    for folder in folders:
        for copies, files_ in COPIES.items():
            lab.edge(
                f"hdfs dfs -D dfs.replication={copies} -put -t {PUT_THREADS}"
                f" {links.RUNS}/{FOLDER}/{folder}/{files_} {FOLDER}/{folder}",
                seconds=links.PUT_S,
            )
    return links.address(lab, FOLDER)


@contextmanager
def _unlimited(inventory: Inventory) -> Iterator[None]:
    """All machines with all CPUs, for what is prepared and not measured."""
    name = nspawn.Lab.of(inventory.path).name
    machines = machines_of(inventory)
    for machine in machines:
        cgroups.set_cpus(name, machine.name, os.cpu_count() or 1)
    try:
        yield
    finally:
        for machine in machines:
            cgroups.set_cpus(name, machine.name, machine.cpus)


@dataclass(kw_only=True)
class Site:
    """A lab with its inputs below ``source``; ``speeds`` are its hosts', ``image_mb`` an image's
    size (10^6 bytes), both as learned."""

    cluster: str
    lab: StartupLab
    model: Path
    traces: Path
    source: str
    speeds: Mapping[str, float] = field(default_factory=dict)
    image_mb: float = 0.0

    def learn(self) -> None:
        """Learn the hosts' speeds by a few runs, and keep those as traces, too."""
        known = []
        for number in range(1, LEARNING + 1):
            known.append(self._clean(f"00-learn-{number}", learns=True))
            known[-1].write(self.traces)
        rows = image_rows(known[-1].timings)
        self.image_mb = float(np.mean(numbers(rows, "bytes_in"))) / 1e6
        self.speeds = learned(known)
        told = ", ".join(f"{host} {speed:.2f}" for host, speed in self.speeds.items())
        self.lab.tell(f"{self.lab.name}: images/s: {told}")

    def record(self, item: Item) -> None:
        """Record one run.

        Raises as ``StartupLab.run`` and ``order.fault`` do.
        """
        if item.recipe is None:
            trace = self._clean(item.name)
        elif item.kind == "skew":
            trace = self._skewed(item.name, item.recipe)
        else:
            trace = self._faulty(item.name, item.recipe, item.host)
        trace.write(self.traces)

    def _skewed(self, name: str, recipe: Recipe) -> Trace:
        now = time.time()
        costly = max(1, round(PHOTOS[self.cluster] * COSTLY_SHARE))
        truth = Truth(
            kind="skew",
            host=None,
            factor=recipe.options["factor"],
            details={"images": PHOTOS[self.cluster], "costly": costly},
            began=now,
            ended=now,
        )
        # As on a new cluster: a planner that knows the hosts spreads what is costly.
        output = self._measure(source=recipe.name, speeds={})
        return self._trace(output, name, truths=[truth], at=recipe.at)

    def _faulty(self, name: str, recipe: Recipe, number: int) -> Trace:
        host = f"node{number}"
        make = partial(self._fault, recipe, host)
        if recipe.at is BEFORE:
            with make() as truth:
                output = self._measure()
        else:
            with Midway(make, at=round(recipe.at * PHOTOS[self.cluster])) as midway:
                output = self._measure(listener=midway)
            if midway.truth is None:
                raise ClusterError(f"{name}: the run ended before the fault {recipe.kind} came.")
            truth = midway.truth
        return self._trace(output, name, truths=[truth], at=recipe.at)

    def _fault(self, recipe: Recipe, host: str) -> AbstractContextManager[Truth]:
        return fault(
            self.lab.inventory,
            recipe.kind,
            host,
            seconds=recipe.seconds or FAULT_S,
            **order_options(recipe, self.speeds[host], self.image_mb * REMOTE_SHARE),
        )

    def _clean(self, name: str, *, learns: bool = False) -> Trace:
        return self._trace(self._measure(), name, truths=(), at=None, learns=learns)

    def _measure(
        self,
        *,
        source: str = PLAIN,
        speeds: Mapping[str, float] | None = None,
        listener: Listener | None = None,
    ) -> Path:
        spec = JobSpec(
            mode="yarn",
            model=self.model,
            input=f"{self.source}/{source}",
            output=self.lab.new_output(),
            speeds=self.speeds if speeds is None else speeds,
        )
        self.lab.run(spec, listener=listener or Listener())
        return spec.output

    def _trace(
        self,
        output: Path,
        name: str,
        *,
        truths: Collection[Truth],
        at: float | None,
        learns: bool = False,
    ) -> Trace:
        trace = Trace.of_run(
            output,
            lab=self.lab.name,
            name=name,
            even=len(set(CPUS[self.cluster])) == 1,
            learns=learns,
            ordered=tuple(truths),
            at=at,
        )
        shutil.rmtree(output)
        return trace


def order_options(recipe: Recipe, speed: float, mb: float) -> dict[str, Any]:
    """What to order for RECIPE on a host that does SPEED images/s.

    Of each it reads so many MB over its link, and as many from its disk.
    """
    options: dict[str, Any] = {**recipe.options}
    if recipe.slows:
        mbs = mb * speed / recipe.slows
        options |= {"mbit": 8 * mbs} if recipe.kind == "link" else {"mbs": mbs}
    return options


class _Interrupts:
    """Knows whether Ctrl-C or SIGTERM came: a run that is stopped by it fails like any other.

    Its error names a run directory, which goes with the lab; at the end it is an interrupt again.
    """

    def __init__(self) -> None:
        self.came = False
        self._handled = ExitStack()

    def __enter__(self) -> Self:
        self._handled.enter_context(handled(self._ring, signal.SIGINT, signal.SIGTERM))
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._handled.close()
        if self.came and isinstance(error, JobError):
            raise KeyboardInterrupt("What was recorded is kept.") from error

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.default_int_handler(number, frame)
