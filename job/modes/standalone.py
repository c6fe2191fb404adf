"""Executors of Spark's own master and workers, whose hosts have the environment unpacked."""

import threading
from collections.abc import Mapping

from pyspark import SparkContext

from job.modes.base import Tell
from job.modes.cluster import MODEL, POLL_S, ClusterMode


class StandaloneMode(ClusterMode):
    """Spark standalone, in client mode."""

    name = "standalone"

    def python(self) -> str:
        """The one that was pushed to every host."""
        return f"{self.cluster.environment}/bin/python"

    def spark_conf(self, slots: int) -> dict[str, str]:
        """As many cores in all as make one executor for each worker."""
        cluster = self.cluster
        settings = super().spark_conf(slots) | {
            # The master gives an application's executors to as many workers as it can, those to be
            # avoided among them.
            "spark.cores.max": str((cluster.executors + len(cluster.avoided)) * slots),
            "spark.archives": f"{self.archive}#{MODEL}",
        }
        if self.spec.engine == "orca":
            settings["spark.executor.extraClassPath"] = f"{cluster.orca_folder}/*"
        return settings

    def started(self, context: SparkContext, tell: Tell) -> Mapping[str, float]:
        """Give executors on hosts to be avoided nothing to do; the others are waited for."""
        if self.cluster.avoided:
            threading.Thread(target=self._keep_avoiding, args=(context,), daemon=True).start()
        return super().started(context, tell)

    def _keep_avoiding(self, context: SparkContext) -> None:
        """Have the scheduler take such executors for ones about to leave, also late ones.

        They are not told, and stay: in the place of one that is ended the master would start that
        for another, lost one.
        """
        jvm, spark = context._jvm, context._jsc.sc()
        info = jvm.org.apache.spark.scheduler.ExecutorDecommissionInfo
        backend, listed = spark.schedulerBackend(), spark.statusStore().executorList
        while not self.ended.wait(POLL_S):
            found = listed(True)
            for executor in (found.apply(number) for number in range(found.size())):
                if executor.hostPort().partition(":")[0] in self.cluster.avoided:
                    leaving = context._gateway.new_array(jvm.scala.Tuple2, 1)
                    leaving[0] = jvm.scala.Tuple2(
                        executor.id(), info("avoided", jvm.scala.Option.empty())
                    )
                    # Of the executors, not of the target; by the executors, who are not told then.
                    backend.decommissionExecutors(leaving, False, True)
