"""Spark inside the driver: everything on this machine."""

import sys
from collections.abc import Sequence
from pathlib import Path

from job.engines import orca
from job.host import HostFacts, host_facts
from job.modes.base import Mode


class LocalMode(Mode):
    """One host, whose only executor is the driver's own process."""

    name = "local"

    def hosts(self) -> Sequence[HostFacts]:
        """This machine."""
        return [host_facts()]

    def slots(self) -> int:
        """One worker of ours keeps every thread busy; Orca, which waits for one image at a time,
        needs one for each CPU."""
        return 1 if self.spec.engine == "native" else max(1, int(host_facts().cpus_quota))

    def python(self) -> str:
        """The driver's own."""
        return sys.executable

    def orca_jars(self) -> Sequence[Path]:
        """Those of the package; the driver is the executor, so that no other needs them."""
        return orca.jars()

    def spark_conf(self, slots: int) -> dict[str, str]:
        """SLOTS tasks at a time, tried up to 4 times; no port open beyond this machine."""
        return {
            "spark.master": f"local[{slots},4]",
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": str(self.run.scratch),
        }
