"""What a mode decides: where Spark's executors run, and how the driver reaches them."""

from abc import ABC, abstractmethod

from job.host import HostFacts


class Mode(ABC):
    """One way to run the job; subclasses override only what differs."""

    name: str
    executor_id: str

    @abstractmethod
    def hosts(self) -> list[HostFacts]:
        """The hosts that will work, as far as they are known before Spark starts."""

    @abstractmethod
    def spark_conf(self, slots: int) -> dict[str, str]:
        """Spark's settings in this mode, with SLOTS tasks at a time on an executor."""
