"""The rules of other systems, each from the same tables to the hosts that it would blame.

They judge tasks, or totals; a host is blamed where one of its tasks is. None knows what a host is
declared to have. Ours are tasks of very different sizes, which none of the rules was made for, so
that they see the time per image of those with at least half as many images as the largest: with
parts of equal size, as their users have, these are the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.bench.stragglers.judging import HostJudgement, Judge, Judgement
from cluster.bench.stragglers.simulator import Run
from job.stragglers.work import Floats, ended_at, image_rows, numbers

# spark.speculation.quantile and .multiplier, as of Spark 3.
QUANTILE, MULTIPLIER = 0.75, 1.5
# Sparklens prints the ratio and draws no line; a task of twice the median is what a reader sees.
SPARKLENS_RATIO = 2.0
DATAFLINT_S, DATAFLINT_RATIO = 5.0, 10.0
# ExecutorsHeuristic, LOW: max_to_median_severity_thresholds is 1.33, 1.78, 3.16, 10.
ELEPHANT_RATIO = 1.33
# mapreduce.job.speculative.slownodethreshold, in standard deviations.
LATE_DEVIATIONS = 1.0


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """Tasks of one stage: ``host`` of each, and [tasks] ``began``, ``ended`` (s), ``images``."""

    host: tuple[str, ...]
    began: Floats
    ended: Floats
    images: Floats

    @classmethod
    def of(cls, timings: pa.Table) -> "Tasks":
        """All tasks of the rows, each from its first image's start to its last one's end."""
        rows = image_rows(timings)
        starts = numbers(rows, "started_at")
        ends = ended_at(rows)
        names = ["host", "task_id"]
        columns = pa.table([rows["host"], rows["task_id"], starts, ends], [*names, "start", "end"])
        tasks = columns.group_by(names).aggregate(
            [("start", "min"), ("end", "max"), ("end", "count")]
        )
        return cls(
            host=tuple(tasks["host"].to_pylist()),
            began=numbers(tasks, "start_min"),
            ended=numbers(tasks, "end_max"),
            images=numbers(tasks, "end_count"),
        )

    @property
    def seconds(self) -> Floats:
        """How long each took."""
        return self.ended - self.began

    def of_like_size(self) -> "Tasks":
        """Those with at least half as many images as the largest."""
        large = self.images * 2 >= self.images.max(initial=0)
        return Tasks(
            host=tuple(np.array(self.host, dtype=object)[large]),
            began=self.began[large],
            ended=self.ended[large],
            images=self.images[large],
        )

    def hosts(self, chosen: Any) -> set[str]:
        """The hosts of the tasks where CHOSEN [tasks] is true."""
        return {host for host, flagged in zip(self.host, chosen, strict=True) if flagged}


def spark(timings: pa.Table) -> set[str]:
    """Spark's speculation (TaskSetManager.checkSpeculatableTasks) with its defaults of Spark 3.

    Once 75 % of the tasks have ended, one that runs is copied elsewhere when it has taken 1.5 times
    as long as the median of those; Flink's slow-task detector is the same rule. The host that a
    task was copied from is blamed.
    """
    tasks = Tasks.of(timings).of_like_size()
    if not tasks.host:
        return set()
    took = tasks.seconds / tasks.images
    order = np.argsort(tasks.ended)
    ended = order[: max(1, int(QUANTILE * len(order)))]
    running = tasks.ended > tasks.ended[ended].max()
    return tasks.hosts(running & (took > MULTIPLIER * np.median(took[ended])))


def sparklens(timings: pa.Table) -> set[str]:
    """Sparklens' skew of a stage, the longest task over the median one.

    Every host with a task above ``SPARKLENS_RATIO`` times the median is blamed.
    """
    tasks = Tasks.of(timings).of_like_size()
    if not tasks.host:
        return set()
    took = tasks.seconds / tasks.images
    return tasks.hosts(took > SPARKLENS_RATIO * np.median(took))


def dataflint(timings: pa.Table) -> set[str]:
    """DataFlint's alert of partition skew: a task above 5 s and 10 times the median.

    The hosts of such tasks are blamed.
    """
    tasks = Tasks.of(timings).of_like_size()
    if not tasks.host:
        return set()
    took = tasks.seconds / tasks.images
    return tasks.hosts((tasks.seconds > DATAFLINT_S) & (took > DATAFLINT_RATIO * np.median(took)))


def elephant(timings: pa.Table) -> set[str]:
    """Dr. Elephant's ExecutorsHeuristic on task time: an executor's total against the median one.

    Blamed is every executor's host above the lowest severity's ratio, not only the largest. The
    rule's least total of 5 minutes is left out, which these runs would never reach; so are its
    other quantities (bytes, memory), that blame the host that did most.
    """
    tasks = Tasks.of(timings)
    totals: dict[str, float] = {}
    for host, seconds in zip(tasks.host, tasks.seconds.tolist(), strict=True):
        totals[host] = totals.get(host, 0.0) + seconds
    if not totals:
        return set()
    median = np.median(list(totals.values()))
    return {host for host, total in totals.items() if total > ELEPHANT_RATIO * median}


def late(timings: pa.Table) -> set[str]:
    """LATE's slow nodes (Zaharia 2008), as Hadoop 0.21 has them (JobInProgress.isSlowTracker).

    A host is slow whose tasks' mean time is more than a standard deviation of all tasks' times
    above the mean of them all.
    """
    tasks = Tasks.of(timings).of_like_size()
    if not tasks.host:
        return set()
    took = tasks.seconds / tasks.images
    own: dict[str, list[float]] = {}
    for host, seconds in zip(tasks.host, took.tolist(), strict=True):
        own.setdefault(host, []).append(seconds)
    bound = took.mean() + LATE_DEVIATIONS * took.std()
    return {host for host, seconds in own.items() if np.mean(seconds) > bound}


Rule = Callable[[pa.Table], set[str]]


def _judge(rule: Rule) -> Judge:
    def judge(run: Run) -> Judgement:
        return {host: HostJudgement(slow=True) for host in rule(run.timings)}

    return judge


RIVALS: Mapping[str, Judge] = {
    "Spark speculation": _judge(spark),
    "Sparklens": _judge(sparklens),
    "DataFlint": _judge(dataflint),
    "Dr. Elephant": _judge(elephant),
    "LATE": _judge(late),
}
