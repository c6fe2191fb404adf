"""What one run was asked to do; kept in run.json, so that a resumed run asks for the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job.errors import UsageError
from job.host import HostFacts

MODES = ("local", "standalone", "yarn")
ENGINES = ("native", "orca")
PRECISIONS = ("f32", "bf16", "auto")


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """The cluster of a run, as the operator's side found it; paths are those of its hosts.

    ``hosts`` are those an executor may run on, ``executors`` how many of them will have one, each
    of ``memory_mb`` MiB, its JVM and its Python together. They are waited for ``wait_s`` seconds,
    and once one is there ``late_s`` for each next. ``code`` is the package ``job`` as one file, for
    executors. ``avoided`` are hosts that must get none, by the names that YARN or Spark gives them.
    ``namenode`` is HDFS's web address (host:port), ``folder`` a place there for the run's own
    files, ``archive``, ``spark_jars`` and ``orca_jars`` lie on HDFS; all five are empty where there
    is none.
    """

    master: str
    hosts: tuple[HostFacts, ...]
    executors: int
    memory_mb: int
    environment: str
    address: str
    user: str
    wait_s: float
    late_s: float = 60.0
    code: str = ""
    reasons: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    queue: str | None = None
    slot_resource: str | None = None
    namenode: str = ""
    folder: str = ""
    archive: str = ""
    spark_jars: str = ""
    orca_jars: tuple[str, ...] = ()
    orca_folder: str = ""
    avoided: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "ClusterSpec":
        """Make it from what ``dataclasses.asdict`` and JSON have made of one."""
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        hosts = tuple(HostFacts(**host) for host in fields["hosts"])
        return cls(**{**fields, **lists, "hosts": hosts})


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A run as the user asked for it; ``None`` leaves the choice to the planner.

    ``model`` is a folder, ``input`` a path or a pattern; both absolute. ``executor_cores`` counts
    Spark's slots of one executor: tasks, each a worker with a model, at the same time.
    ``executors``, ``executor_memory_mb`` (MiB, JVM and Python together), ``queue`` and ``cluster``
    are None in local mode. ``avoid`` are hosts that must not work, ``speeds`` images per second of
    hosts as an earlier run had them, by name.
    """

    mode: str
    engine: str = "native"
    precision: str = "f32"
    model: Path
    input: str
    output: Path
    executors: int | None = None
    executor_cores: int | None = None
    executor_memory_mb: int | None = None
    queue: str | None = None
    avoid: Sequence[str] = ()
    speeds: Mapping[str, float] = field(default_factory=dict)
    partitions: int | None = None
    conf: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    overlays: bool = False
    flush_seconds: float = 2.0
    instrumentation: bool = True
    cluster: ClusterSpec | None = None

    def __post_init__(self) -> None:
        for option, choices in (("mode", MODES), ("engine", ENGINES), ("precision", PRECISIONS)):
            if (value := getattr(self, option)) not in choices:
                raise UsageError(f"--{option} {value}: choose one of {', '.join(choices)}")
        for option in ("executors", "executor_cores", "executor_memory_mb", "partitions", "limit"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise UsageError(f"--{option.replace('_', '-')} {value}: give 1 or more")

    @classmethod
    def of_run(
        cls, record: Mapping[str, Any], output: Path, cluster: ClusterSpec | None = None
    ) -> "JobSpec":
        """What the run of a run.json was asked to do, for the rest of it to be done alike."""
        return cls(
            mode=record["mode"],
            engine=record["engine"],
            # Decided once: the rest must not differ from what is done.
            precision=record["precision"],
            model=Path(record["model"]["folder"]),
            input=record["input"],
            output=output,
            cluster=cluster,
            **record["options"],
        )

    def options(self) -> dict[str, Any]:
        """What run.json keeps as ``options``: all that a resumed run needs again."""
        names = (
            *("executors", "executor_cores", "executor_memory_mb", "queue", "partitions"),
            *("limit", "overlays", "flush_seconds", "instrumentation"),
        )
        copied = {
            "avoid": list(self.avoid),
            "speeds": dict(self.speeds),
            "conf": dict(self.conf),
        }
        return copied | {name: getattr(self, name) for name in names}
