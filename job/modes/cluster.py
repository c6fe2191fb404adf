"""What standalone and YARN have in common: one executor on each host, the driver on the edge."""

import contextlib
import pickle
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from pyspark import RDD, SparkContext
from pyspark.serializers import BatchedSerializer, CPickleSerializer

from job.errors import JobError
from job.host import HostFacts
from job.images.source import ON_HDFS, ImageRef, Listing, list_images, listing_of
from job.model import Model
from job.modes.base import Mode, Tell
from job.origins import Driver, Hdfs, Origin, hdfs
from job.packs import pack
from job.parts import DriverSink, HdfsSink, Sink, WrittenParts, write_atomically
from job.rundir import RunDirectory
from job.server import FileServer
from job.spec import ClusterSpec, JobSpec
from job.webhdfs import FileStatus, HdfsError, WebHdfs

# The executor's JVM hands rows to Python and back; what computes is Python, beside its heap.
HEAP_MB = 512
# Of which it and the JVM's own use this much (measured: 220).
JVM_MB = 320
POLL_S = 0.2
MODEL = "model"
GATHER_EVERY_S = 2.0
READERS = 8


class ClusterMode(Mode):
    """Executors on the hosts of a cluster; subclasses say how they get there.

    Where the cluster has HDFS, input and parts go through it; else through the driver.
    """

    remote = True

    def __init__(self, spec: JobSpec, run: RunDirectory) -> None:
        super().__init__(spec, run)
        assert spec.cluster is not None, "the operator's side says what cluster it is"
        self.cluster: ClusterSpec = spec.cluster
        self._server: FileServer | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="parts")
        self._copies: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self.ended = threading.Event()

    @property
    def hdfs(self) -> WebHdfs | None:
        """The cluster's HDFS."""
        cluster = self.cluster
        return hdfs(cluster.namenode, cluster.user) if cluster.namenode else None

    def __exit__(self, *_: object) -> None:
        """Stop serving files; remove the run's own folder from HDFS."""
        self.ended.set()
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._server:
            self._server.close()
        with contextlib.suppress(HdfsError):
            if self.hdfs:
                self.hdfs.delete(self.cluster.folder, recursive=True)

    def hosts(self) -> Sequence[HostFacts]:
        """As the operator's side has asked them."""
        return self.cluster.hosts

    def slots(self) -> int:
        """One everywhere: Spark knows one number for all hosts, and threads make up for it."""
        return 1

    def reasons(self) -> tuple[str, ...]:
        """As the operator's side has planned."""
        return self.cluster.reasons

    def model_folder(self) -> Path:
        """Beside the executor, unpacked."""
        return Path(MODEL)

    def worker_mb(self, slots: int) -> int | None:
        """An equal share of what the JVM leaves."""
        return (self.cluster.memory_mb - JVM_MB) // slots

    def spark_conf(self, slots: int) -> dict[str, str]:
        """One executor for a host, on addresses of the cluster."""
        return {
            "spark.master": self.cluster.master,
            "spark.submit.deployMode": "client",
            "spark.driver.host": self.cluster.address,
            "spark.driver.memory": "768m",
            "spark.executor.cores": str(slots),
            "spark.submit.pyFiles": self.cluster.code,
            "spark.executor.memory": f"{HEAP_MB}m",
            "spark.dynamicAllocation.enabled": "false",
            "spark.shuffle.service.enabled": "false",
            # The driver waits for executors by itself, and says for which.
            "spark.scheduler.minRegisteredResourcesRatio": "0",
            # A host that is gone or frozen: its tasks go to others after this time.
            "spark.executor.heartbeatInterval": "4s",
            "spark.network.timeout": "30s",
            "spark.network.timeoutInterval": "5s",
            # It is not gone for good: were its connections closed by then, a frozen application
            # master would end the application as soon as it thaws.
            "spark.rpc.io.connectionTimeout": "600s",
            "spark.task.maxFailures": "8",
            "spark.ui.enabled": "true",
            # A free one: other drivers may run on this host.
            "spark.ui.port": "0",
        }

    def listing(self) -> Listing:
        """Of this host's file system, where the operator's side has sent the input, or of HDFS."""
        if not self.spec.input.startswith(ON_HDFS):
            return list_images(self.spec.input)
        if not self.hdfs:
            raise JobError(f"input {self.spec.input}: this cluster has no HDFS")
        return listing_of(self.hdfs, self.spec.input)

    def prepare(self, model: Model, images: Sequence[ImageRef], tell: Tell) -> Sequence[ImageRef]:
        """Pack the model; put files of this host on HDFS, or serve them."""
        self.run.scratch.mkdir(exist_ok=True)
        self.archive = self.run.scratch / model_archive(model.digest)
        with tarfile.open(self.archive, "w") as archive:
            for path in sorted(model.folder.iterdir()):
                archive.add(path, path.name, filter=_anonymous)
        if self.spec.input.startswith(ON_HDFS):
            return images
        paths = sorted({image.path for image in images})
        if not self.hdfs:
            self._server = FileServer(self.cluster.address, paths)
            return images
        tell(f"Putting {len(paths)} files on HDFS")
        there = pack(paths, self._put_input)
        return [
            replace(image, path=there[image.path][0], part=there[image.path][1]) for image in images
        ]

    def _put_input(self, name: str, content: bytes) -> str:
        assert self.hdfs is not None
        path = f"{self.cluster.folder}/input/{name}"
        self.hdfs.write(path, content, overwrite=True)
        return path

    def origin(self) -> Origin:
        """HDFS, or the driver's file server."""
        if self._server:
            return Driver(self._server.url)
        return Hdfs(self.cluster.namenode, self.cluster.user)

    @property
    def _parts(self) -> str:
        return f"{self.cluster.folder}/parts"

    def sink(self, context: SparkContext) -> Sink:
        """A folder of HDFS, or the driver."""
        driver = DriverSink(context.accumulator([], WrittenParts(self.run.parts)))
        if self.hdfs:
            self.hdfs.make_folder(self._parts)
            threading.Thread(target=self._keep_gathering, daemon=True).start()
            return HdfsSink(self.cluster.namenode, self.cluster.user, self._parts, driver)
        return driver

    def parts(
        self,
        context: SparkContext,
        tasks: Sequence[Sequence[ImageRef]],
        places: Sequence[str | None],
    ) -> "RDD[ImageRef]":
        """A host is offered the tasks of its place before others."""
        names = {name.split(".")[0]: name for name in _executor_hosts(context)}
        jvm = context._jvm
        located = jvm.java.util.ArrayList()
        for task, place in zip(tasks, places, strict=True):
            hosts = jvm.java.util.ArrayList()
            if place in names:
                hosts.add(names[place])
            # As Spark's own workers have it: a frame of pickled items.
            packed = bytearray(pickle.dumps(list(task), protocol=5))
            located.add(jvm.scala.Tuple2(packed, jvm.PythonUtils.toSeq(hosts)))
        tag = jvm.scala.reflect.ClassTag.Any()
        made = context._jsc.sc().makeRDD(jvm.PythonUtils.toSeq(located), tag)
        return RDD(made.toJavaRDD(), context, BatchedSerializer(CPickleSerializer()))

    def gather(self) -> None:
        """Copy what is left of the parts from HDFS."""
        if self.hdfs:
            self._copy_parts()
            wait(self._copies.values())
            # Of those that could not be had, another try.
            self._copy_parts()
            wait(self._copies.values())

    def _keep_gathering(self) -> None:
        while not self.ended.wait(GATHER_EVERY_S):
            self._copy_parts()

    def _copy_parts(self) -> None:
        """Begin to copy parts that are new or could not be had; one that hangs holds no other."""
        files = hdfs(self.cluster.namenode, self.cluster.user, patient=False)

        def copy(part: FileStatus) -> None:
            write_atomically(self.run.parts / part.name, files.read(part.path).decode())

        with contextlib.suppress(HdfsError), self._lock:
            for part in files.list(self._parts):
                before = self._copies.get(part.name)
                if part.name.startswith(".") or (before and not _failed(before)):
                    continue
                self._copies[part.name] = self._readers.submit(copy, part)

    def started(self, context: SparkContext, tell: Tell) -> Mapping[str, float]:
        """Wait until every executor is there, the last one is late, or the time is over."""
        began = time.time()
        came: dict[str, float] = {}
        wanted = self.cluster.executors
        while True:
            now = time.time()
            for host in executors(context):
                if host not in came and host not in self.cluster.avoided:
                    came[host] = now
                    tell(f"Executor on {host} after {now - began:.1f} s ({len(came)} of {wanted})")
            if len(came) >= wanted:
                return came
            if came and now - max(came.values()) > self.cluster.late_s:
                break
            if now - began > self.cluster.wait_s:
                break
            time.sleep(POLL_S)
        if not came:
            raise JobError(f"no executor came within {self.cluster.wait_s:g} s")
        missing = sorted({facts.host for facts in self.cluster.hosts} - set(came))
        tell(
            f"Going on with {len(came)} of {wanted} executors: none came on"
            f" {', '.join(missing)} in {time.time() - began:.0f} s; one that comes later joins in"
        )
        return came

    def orca_jars(self) -> Sequence[Path]:
        """BigDL's jars on the driver's own host."""
        return sorted(Path(self.cluster.orca_folder).glob("*.jar"))


def _failed(copy: "Future[None]") -> bool:
    return copy.done() and copy.exception() is not None


def model_archive(digest: str) -> str:
    """The name of the archive of the model with a digest."""
    return f"model-{digest.partition(':')[2][:16]}.tar"


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member


def executors(context: SparkContext) -> list[str]:
    """Names of the hosts that have an executor."""
    return [host.split(".")[0] for host in _executor_hosts(context)]


def _executor_hosts(context: SparkContext) -> list[str]:
    """The same as Spark has them."""
    own = context._jvm.org.apache.spark.SparkEnv.get().blockManager().blockManagerId()
    infos = context._jsc.sc().statusTracker().getExecutorInfos()
    found = [(info.host(), info.port()) for info in infos]
    return [at for at, port in found if (at, port) != (own.host(), own.port())]
