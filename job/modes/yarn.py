"""Executors in YARN's containers, with what they need localised from HDFS."""

import time
from collections.abc import Sequence

from job.images.source import ImageRef
from job.java import QUICK_START
from job.model import Model
from job.modes.base import Tell
from job.modes.cluster import HEAP_MB, MODEL, ClusterMode

ENVIRONMENT = "environment"
# Spark's application master does nothing but ask for containers.
MASTER_MB, MASTER_OVERHEAD_MB = 256, 256
FOLDER = "/apps/envs"


class YarnMode(ClusterMode):
    """YARN in client mode."""

    name = "yarn"

    def prepare(self, model: Model, images: Sequence[ImageRef], tell: Tell) -> Sequence[ImageRef]:
        """Put the model on HDFS too, once."""
        images = super().prepare(model, images, tell)
        assert self.hdfs is not None, "YARN localises from HDFS"
        self._model = f"{FOLDER}/{self.archive.name}"
        if not self.hdfs.status(self._model):
            part = f"{FOLDER}/.part-{self.archive.name}"
            self.hdfs.write(part, self.archive.read_bytes(), overwrite=True)
            self.hdfs.rename(part, self._model)
        self.hdfs.set_accessed(self._model, time.time())
        return images

    def python(self) -> str:
        """The one of the archive, in the container's folder."""
        return f"./{ENVIRONMENT}/bin/python"

    def spark_conf(self, slots: int) -> dict[str, str]:
        """All that a container needs by reference, so that a host localises it once."""
        cluster = self.cluster
        archives = (f"{cluster.archive}#{ENVIRONMENT}", f"hdfs://{self._model}#{MODEL}")
        overhead = max(cluster.memory_mb - HEAP_MB, HEAP_MB)
        settings = super().spark_conf(slots) | {
            "spark.executor.instances": str(cluster.executors),
            "spark.executor.memoryOverhead": f"{overhead}m",
            "spark.yarn.dist.archives": ",".join(archives),
            "spark.yarn.am.extraJavaOptions": QUICK_START,
            "spark.yarn.am.memory": f"{MASTER_MB}m",
            "spark.yarn.am.memoryOverhead": f"{MASTER_OVERHEAD_MB}m",
            # The host of the application master may be lost, too: YARN starts another.
            "spark.yarn.maxAppAttempts": "2",
            # Spark gives up after two for each executor, which an image that kills can cause alone.
            "spark.executor.maxNumFailures": str(10 * cluster.executors),
            "spark.yarn.tags": ",".join(cluster.tags),
            "spark.yarn.scheduler.heartbeat.interval-ms": "1000",
        }
        # Without, Spark sends its own with each application.
        if cluster.spark_jars:
            kind = "jars" if cluster.spark_jars.startswith("local:") else "archive"
            settings[f"spark.yarn.{kind}"] = cluster.spark_jars
        if cluster.avoided:
            settings["spark.yarn.exclude.nodes"] = ",".join(cluster.avoided)
        if cluster.queue:
            settings["spark.yarn.queue"] = cluster.queue
        if cluster.slot_resource:
            settings[f"spark.yarn.executor.resource.{cluster.slot_resource}.amount"] = "1"
        if self.spec.engine == "orca":
            settings["spark.yarn.dist.jars"] = ",".join(cluster.orca_jars)
        return settings
