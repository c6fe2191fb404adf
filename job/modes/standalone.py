"""Executors of Spark's own master and workers, whose hosts have the environment unpacked."""

from job.modes.cluster import MODEL, ClusterMode


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
            "spark.cores.max": str(cluster.executors * slots),
            # The master gives an application's executors to as many workers as it can.
            "spark.archives": f"{self.archive}#{MODEL}",
        }
        if self.spec.engine == "orca":
            settings["spark.executor.extraClassPath"] = f"{cluster.orca_folder}/*"
        return settings
