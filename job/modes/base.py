"""What a mode decides: where Spark's executors run, and how images and results travel."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from pyspark import RDD, SparkContext

from job.host import HostFacts
from job.images.source import ImageRef, Listing, list_images
from job.model import Model
from job.origins import Origin, ThisMachine
from job.parts import FolderSink, Sink
from job.rundir import RunDirectory
from job.spec import JobSpec

Tell = Callable[[str], None]


class Mode(ABC):
    """One way to run the job; subclasses override only what differs.

    A context manager: what a run has made outside its run directory is gone at the end.
    """

    name: str
    remote = False  # whether executors are other processes than the driver, on other hosts

    def __init__(self, spec: JobSpec, run: RunDirectory) -> None:
        self.spec, self.run = spec, run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027  (local mode has nothing to end)
        """End what ``prepare`` and ``sink`` have begun."""

    @abstractmethod
    def hosts(self) -> Sequence[HostFacts]:
        """The hosts that are to work."""

    @abstractmethod
    def slots(self) -> int:
        """Slots of an executor where the user names none."""

    @abstractmethod
    def spark_conf(self, slots: int) -> dict[str, str]:
        """Spark's settings in this mode, with SLOTS tasks at a time on an executor."""

    @abstractmethod
    def python(self) -> str:
        """The interpreter of the executors, as they call it."""

    def reasons(self) -> tuple[str, ...]:
        """Why the executors are as many and as large as they are."""
        return ()

    def listing(self) -> Listing:
        """The images of the input."""
        return list_images(self.spec.input)

    def prepare(self, model: Model, images: Sequence[ImageRef], tell: Tell) -> Sequence[ImageRef]:
        """Put model and images where executors can read them; the references there."""
        return images

    def origin(self) -> Origin:
        """Where executors read images."""
        return ThisMachine()

    def sink(self, context: SparkContext) -> Sink:
        """Where executors hand their parts to."""
        return FolderSink(self.run.parts)

    def parts(
        self,
        context: SparkContext,
        tasks: Sequence[Sequence[ImageRef]],
        places: Sequence[str | None],
    ) -> "RDD[ImageRef]":
        """The images of TASKS, a partition for each, which is best on its place, a host."""
        return context.parallelize(tasks, len(tasks)).flatMap(lambda task: task)

    def gather(self) -> None:  # noqa: B027  (parts may be there at once)
        """Bring all parts that executors have handed over into the run directory."""

    def started(self, context: SparkContext, tell: Tell) -> Mapping[str, float]:
        """Wait for the executors, for a bounded time; when each came, by its host."""
        return {}

    @abstractmethod
    def orca_jars(self) -> Sequence[Path]:
        """BigDL's jars, as files of the driver's host."""

    def worker_mb(self, slots: int) -> int | None:
        """Memory of one of an executor's SLOTS Python workers, MiB; None where none is set."""
        return None

    def model_folder(self) -> Path:
        """The model's folder, as executors see it."""
        return self.spec.model
