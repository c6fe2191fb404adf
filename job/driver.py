"""Runs a job from a request to a finished run directory; the same in every mode."""

import contextlib
import dataclasses
import functools
import importlib.metadata
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import RDD, SparkContext

from job.engines import native, orca
from job.engines.worker import Worker
from job.errors import JobError, UsageError
from job.forming import Forming
from job.host import HostFacts
from job.images.source import ImageRef
from job.model import Model
from job.modes import MODES
from job.phases import of_tasks, phase
from job.pipeline import TaskReport, Work, write_parts
from job.planner import Plan, calibration, expected_speeds, plan, task_price
from job.rundir import RunDirectory
from job.sampler import Row, Sampler
from job.session import spark_context, spark_settings
from job.spec import ClusterSpec, JobSpec
from job.timing import ImageRecord

Records = Callable[[Work, "RDD[ImageRef]", Path], "RDD[Worker | ImageRecord]"]
ENGINES: Mapping[str, Records] = {"native": native.records, "orca": orca.records}
POLL_S = 0.3
# What is missing after this many is missing.
PASSES = 3


@dataclass(frozen=True)
class Progress:
    """Images of this session with a result or an error so far; seconds since the first task."""

    done: int
    total: int
    seconds: float


class Listener:
    """Told how a run goes; the base says nothing."""

    def step(self, text: str) -> None:
        """One thing that begins now, in a few words."""

    def spark(self, application: str, url: str | None) -> None:
        """Spark runs, as APPLICATION, with its web interface at URL."""

    def hosts(self, tasks: Mapping[str, int]) -> None:
        """Tasks done so far by host, where it is known while the run goes on."""

    def progress(self, progress: Progress) -> None:
        """More images are done."""

    def forming(self, hosts: Sequence[str], text: str) -> None:
        """HOSTS are slow so far, and TEXT says how; both are empty where none is."""


def run(spec: JobSpec, listener: Listener | None = None) -> dict[str, Any]:
    """Run SPEC into a new run directory and return its run.json.

    Raises UsageError for a request that cannot be met, before anything is written, and JobError
    for a run that failed; what was done by then is in the run directory.
    """
    return _Session(spec, listener or Listener()).start()


def resume(
    path: Path, listener: Listener | None = None, *, cluster: ClusterSpec | None = None
) -> dict[str, Any]:
    """Finish the run in PATH as its run.json asked for it; nothing done is done again.

    CLUSTER is the cluster as it is now, where the run is one of a cluster.
    """
    before = RunDirectory(path).read()
    if before["status"] == "finished":
        return before
    spec = JobSpec.of_run(before, path, cluster)
    return _Session(spec, listener or Listener()).resume(before)


class _Session:
    """One driver process's work on a run directory."""

    def __init__(self, spec: JobSpec, listener: Listener) -> None:
        self.spec, self.listener = spec, listener
        self.started_at = time.time()
        self.model = Model.load(spec.model)
        self.run = RunDirectory(spec.output)
        self.mode = MODES[spec.mode](spec, self.run)
        self.hosts = self.mode.hosts()
        self.precision = _precision(spec, self.hosts)
        self.slots = spec.executor_cores or self.mode.slots()
        self.number = 0
        self.java: str | None = None
        self.phases: list[dict[str, Any]] = []
        self.reports: list[TaskReport] = []

    def start(self) -> dict[str, Any]:
        images = self._list()
        RunDirectory.create(self.spec.output)
        with self.run.locked():
            return self._work(images, set())

    def resume(self, before: Mapping[str, Any]) -> dict[str, Any]:
        if self.model.digest != before["model"]["digest"]:
            raise UsageError(
                f"{self.spec.model} is not the model that {self.run.path} was begun with:"
                " restore it, or start a new run"
            )
        images = self._list()
        with self.run.locked():
            self.number = self.run.next_session()
            return self._work(images, self.run.processed())

    def _list(self) -> tuple[ImageRef, ...]:
        listing = self.mode.listing()
        ignored = f", {len(listing.ignored)} other files ignored" if listing.ignored else ""
        self.listener.step(f"Found {len(listing.images)} images{ignored}")
        return listing.images[: self.spec.limit]

    def _work(self, images: Sequence[ImageRef], processed: set[str]) -> dict[str, Any]:
        todo = [image for image in images if image.image_id not in processed]
        order = self._plan(todo)
        for reason in (*order.reasons, *self._learned()):
            self.listener.step(f"Plan: {reason}")
        record = self._describe(order)
        record["counts"] |= {"images": len(images), "resumed": len(processed)}
        self.run.write(record)
        failure: BaseException | None = None
        samples: list[Row] = []
        try:
            if todo:
                with self._sampled(samples), self.mode:
                    record["spark_conf"] = self._execute(order)
        except (Exception, KeyboardInterrupt) as error:
            failure = error
        self.listener.step("Writing the results")
        write_from = time.time()
        self.run.add_host_samples(
            samples + [row for report in self.reports for row in report.samples]
        )
        counts = self.run.merge(self._categories())
        ended_at = time.time()
        self.phases.append(phase("write", write_from, ended_at))
        missing = len(images) - counts.done - counts.errors
        record |= {
            "versions": record["versions"] | {"java": self.java},
            "status": "failed" if failure else "incomplete" if missing else "finished",
            "workers": self._workers(),
            "phases": self.phases,
            "counts": record["counts"] | dataclasses.asdict(counts) | {"missing": missing},
            "finished_at": ended_at,
            "seconds": ended_at - self.started_at,
            "images_per_second": self._throughput(),
        }
        self.run.write(record)
        self.run.tidy(keep_parts=bool(missing))
        if failure:
            raise self._explained(failure, record) from failure
        return record

    def _plan(self, images: Sequence[ImageRef]) -> Plan:
        return plan(
            images,
            slots=self.slots,
            engine=self.spec.engine,
            partitions=self.spec.partitions,
            speeds=expected_speeds(self.hosts, self.spec.speeds),
            hosts=[host.host for host in self.hosts]
            if all(host.host in self.spec.speeds for host in self.hosts)
            else (),
            price=task_price(self.hosts, self.spec.speeds),
        )

    @contextlib.contextmanager
    def _sampled(self, samples: list[Row]) -> Iterator[None]:
        """Sample this host into SAMPLES, where the driver is all there is."""
        if self.mode.remote or not self.spec.instrumentation:
            yield
            return
        with Sampler(self.hosts[0].host) as sampler:
            try:
                yield
            finally:
                samples += sampler.drain()

    def _execute(self, order: Plan) -> dict[str, str]:
        """Run the plan's tasks, whose reports are in ``self.reports`` then; Spark's settings."""
        tell = self.listener.step
        images = [image for task in order.tasks for image in task]
        there = {image.image_id: image for image in self.mode.prepare(self.model, images, tell)}
        order = dataclasses.replace(
            order,
            tasks=tuple(tuple(there[image.image_id] for image in task) for task in order.tasks),
        )
        settings = spark_settings(self.mode, self.slots)
        tell("Starting Spark")
        with spark_context(settings, self.mode) as context:
            submitted_at = time.time()
            self.java = context._jvm.System.getProperty("java.version")
            self.phases.append(phase("submit", self.started_at, submitted_at))
            self.listener.spark(context.applicationId, context.uiWebUrl)
            came = self.mode.started(context, tell)
            work = Work(
                model=dataclasses.replace(self.model, folder=self.mode.model_folder()),
                precision=self.precision,
                slots=self.slots,
                session=self.number,
                origin=self.mode.origin(),
                sink=self.mode.sink(context),
                overlays=self.run.overlays if self.spec.overlays and not self.mode.remote else None,
                flush_seconds=self.spec.flush_seconds,
                instrumentation=self.spec.instrumentation,
                memory_mb=self.mode.worker_mb(self.slots),
                sampling=self.spec.instrumentation and self.mode.remote,
                calibration=self._calibration(tuple(there.values())),
            )
            tell("Loading the model")
            for _ in range(PASSES):
                try:
                    self._collect(context, self._reports(context, work, order), len(images))
                finally:
                    self.mode.gather()
                # A host that is lost takes along what it had ended and not yet handed over.
                processed = self.run.processed()
                left = [
                    ref for task in order.tasks for ref in task if ref.image_id not in processed
                ]
                if not left:
                    break
                tell(f"{len(left)} results were lost with a host: doing these images again")
                order = self._plan(left)
            self.phases += of_tasks(self.reports, submitted_at, came)
        return settings

    def _reports(self, context: SparkContext, work: Work, order: Plan) -> "RDD[TaskReport]":
        refs = self.mode.parts(context, order.tasks, order.places)
        records = ENGINES[self.spec.engine](work, refs, self.model.xml)
        return records.mapPartitions(functools.partial(write_parts, work))

    def _collect(self, context: SparkContext, reports: "RDD[TaskReport]", total: int) -> None:
        """Wait for the tasks, telling the progress; an interrupt cancels them."""
        with ThreadPoolExecutor(1, thread_name_prefix="collect") as pool:
            collected = pool.submit(reports.collect)
            before, began = self.run.progress(), time.monotonic()
            known = [host.to_dict() for host in self.hosts]
            forming = Forming(self.run, {"hosts": known, "options": self.spec.options()})
            try:
                while not collected.done():
                    wait([collected], timeout=POLL_S)
                    # A task that is tried again hands some images over twice.
                    done = min(self.run.progress() - before, total)
                    self.listener.progress(Progress(done, total, time.monotonic() - began))
                    if len(self.hosts) > 1 and (found := forming.look()):
                        slow = [host.host for host in found.hosts if host.straggler]
                        self.listener.forming(slow, found.slow)
            except BaseException:
                context.cancelAllJobs()
                raise
            try:
                self.reports += collected.result()
            except Py4JJavaError as error:
                raise JobError(_spark_reason(error)) from error

    def _calibration(self, images: Sequence[ImageRef]) -> tuple[ImageRef, ...]:
        if self.spec.instrumentation and self.mode.remote:
            return calibration(images, len(self.hosts))
        return ()

    def _learned(self) -> Iterator[str]:
        if known := [host.host for host in self.hosts if host.host in self.spec.speeds]:
            speeds = ", ".join(f"{host} {self.spec.speeds[host]:.3g}" for host in known)
            yield f"speeds are those of earlier runs, in images/s: {speeds}"

    def _workers(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(worker) for report in self.reports for worker in report.workers]

    def _throughput(self) -> float | None:
        """Images per second from the first loaded model to the last image's end."""
        loaded = [worker.loaded_at for report in self.reports for worker in report.workers]
        emitted = [r.last_emitted_at for r in self.reports if r.last_emitted_at is not None]
        if not loaded or not emitted:
            return None
        return sum(r.images for r in self.reports) / (max(emitted) - min(loaded))

    def _categories(self) -> list[dict[str, Any]]:
        pairs = zip(self.model.category_ids, self.model.class_names, strict=True)
        return [{"id": number, "name": name} for number, name in pairs]

    def _describe(self, order: Plan) -> dict[str, Any]:
        """run.json as it stands before the first task."""
        spec, model = self.spec, self.model
        return {
            "status": "running",
            "mode": spec.mode,
            "engine": spec.engine,
            "precision": self.precision,
            "precision_asked": spec.precision,
            "model": {
                "name": model.name,
                "digest": model.digest,
                "folder": str(model.folder),
                "input_size": model.architecture.input_size,
                "weights_precision": model.precision,
                "categories": self._categories(),
            },
            "input": spec.input,
            "options": spec.options(),
            "versions": _versions(spec.engine),
            "hosts": [host.to_dict() for host in self.hosts],
            "workers": [],
            "spark_conf": {},
            "plan": {
                "slots": order.slots,
                "partitions": len(order.tasks),
                "images_per_task": order.images_per_task,
                "order": order.order,
                "reasons": [*self.mode.reasons(), *order.reasons, *self._learned()],
            },
            "phases": [],
            "counts": {"done": 0, "errors": 0, "missing": 0, "detections": 0},
            "started_at": self.started_at,
            "finished_at": None,
            "seconds": None,
            "images_per_second": None,
        }

    def _explained(self, failure: BaseException, record: Mapping[str, Any]) -> JobError:
        counts = record["counts"]
        state = f"{counts['missing']} of {counts['images']} images are missing"
        go_on = f"go on with `cluster run --resume {self.run.path}`"
        if isinstance(failure, KeyboardInterrupt):
            return JobError(f"stopped by you; {state}: {go_on}")
        return JobError(f"{failure}; {state}: see {self.run.path / 'spark.log'}, then {go_on}")


def _spark_reason(error: Py4JJavaError) -> str:
    """Spark's message of a failed job down to the line that says why."""
    lines = (error.java_exception.getMessage() or "").splitlines()
    reasons = [
        line for line in lines if re.match(r"\w+(\.\w+)*(Error|Exception|Interrupt)\b", line)
    ]
    return f"the job failed ({(reasons or lines or ['no message'])[-1][:300]})"


def _precision(spec: JobSpec, hosts: Sequence[HostFacts]) -> str:
    """f32 or bf16, one for the whole run: a mixed run's results would depend on the host."""
    without = [host for host in hosts if not host.bf16]
    if spec.precision == "bf16" and without:
        raise UsageError(
            f"--precision bf16: the CPU of {without[0].host} ({without[0].cpu_model}) does not"
            " compute in bfloat16; use f32 or auto"
        )
    if spec.precision == "auto":
        return "f32" if without else "bf16"
    return spec.precision


def _versions(engine: str) -> dict[str, str | None]:
    version = importlib.metadata.version
    return {
        "product": version("yarn-cluster-toolkit"),
        "python": platform.python_version(),
        "java": None,  # asked of the JVM once it runs
        "spark": version("pyspark"),
        "openvino": version("openvino"),
        "orca": version("bigdl-orca-spark3") if engine == "orca" else None,
        "numpy": version("numpy"),
    }
