"""Spark inside the driver: everything on this machine."""

from job.host import HostFacts, host_facts
from job.modes.base import Mode


class LocalMode(Mode):
    """One host, whose only executor is the driver's own process."""

    name = "local"
    executor_id = "driver"  # as Spark calls it in local mode

    def hosts(self) -> list[HostFacts]:
        """This machine."""
        return [host_facts()]

    def spark_conf(self, slots: int) -> dict[str, str]:
        """SLOTS tasks at a time, and no port open beyond this machine."""
        return {
            "spark.master": f"local[{slots}]",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
        }
