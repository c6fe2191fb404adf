"""Has YARN bring to every host what a run needs there, and tries it: a run without images.

An executor on each host, and on each of them one task, which runs job/environment.py in a process
of its own: the Python that is tried does not have to run for that.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext

from job.errors import JobError
from job.model import Model
from job.modes.cluster import executors
from job.modes.yarn import ENVIRONMENT, YarnMode
from job.rundir import RunDirectory
from job.session import spark_context, spark_settings
from job.spec import JobSpec

Step = Callable[[str], None]
# Changes what is known of a host: "executor_s", "check", "trouble".
Say = Callable[[Mapping[str, Mapping[str, Any]]], None]
POLL_S = 0.5
# Every host that the roles were deployed to has it.
PYTHON = "/usr/bin/python3"
# Spark's line on a container that ended, with YARN's word on why.
ENDED = re.compile(
    r"Container (?:from a bad node|marked as failed): (?P<container>container_\w+) on host:"
    r" (?P<host>[\w.-]+)\. Exit status: (?P<code>-?\d+)\.(?P<why>(?:.*\n?){1,40}?)(?=\d{4}-|\Z)"
)
FULL = re.compile(r"No space left on device|DiskErrorException|Disk quota exceeded")


def warm(spec: JobSpec, check: Mapping[str, Any], step: Step, say: Say) -> None:
    """Start an executor on each of the cluster's hosts and have the environment tried there.

    CHECK is what job/environment.py takes. ``say`` is told what is known of each host, as soon as
    it is; what has none of that at the end has no executor.

    Raises:
        JobError: Spark did not start, or was ended before all hosts were tried.
    """
    try:
        _warm(spec, check, step, say)
    except KeyboardInterrupt:
        raise JobError("stopped by you; what hosts have got by now they keep") from None


def _warm(spec: JobSpec, check: Mapping[str, Any], step: Step, say: Say) -> None:
    run = RunDirectory.create(spec.output)
    mode = YarnMode(spec, run)
    log = run.path / "spark.log"
    with mode:
        mode.prepare(Model.load(spec.model), (), step)
        step("Starting Spark, whose application master comes first")
        with spark_context(spark_settings(mode, mode.slots()), mode) as context:
            step("Waiting for an executor on each host")
            came = _came(context, mode.cluster.executors, mode.cluster.wait_s, log, say)
            if came:
                step("Trying the environment on each host")
                _try(context, came, {**check, "folder": ENVIRONMENT}, say)


def _came(
    context: SparkContext, wanted: int, wait_s: float, log: Path, say: Say
) -> Collection[str]:
    """The hosts whose executors are there, once no other is to be expected."""
    began = time.time()
    came: set[str] = set()
    failed: dict[str, str] = {}
    while len(came) + len(failed) < wanted and time.time() < began + wait_s:
        if context._jsc.sc().isStopped():
            break
        for host in set(executors(context)) - came:
            came.add(host)
            failed.pop(host, None)
            say({host: {"executor_s": time.time() - began, "trouble": ""}})
        for host, why in failures(log.read_text(encoding="utf-8", errors="replace")).items():
            if host not in came and failed.get(host) != why:
                failed[host] = why
                say({host: {"trouble": why}})
        time.sleep(POLL_S)
    return came


def failures(log: str) -> dict[str, str]:
    """By host, why its last container ended, from what Spark's driver logs."""
    return {found["host"].split(".")[0]: _why(found["why"]) for found in ENDED.finditer(log)}


def _why(said: str) -> str:
    """YARN's diagnostics down to what a person can do something about."""
    if FULL.search(said):
        return "a disk with YARN's folders is full: make room there"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = (lines or ["YARN does not say why"])[0].removeprefix("Diagnostics: ")
    return first.rstrip(".")[:300]


def _try(context: SparkContext, came: Collection[str], wanted: Mapping[str, Any], say: Say) -> None:
    """Have each executor try its copy; of one that is lost meanwhile, nothing is told."""
    jvm = context._jvm
    command, asked = jvm.java.util.ArrayList(), jvm.java.util.ArrayList()
    for word in (PYTHON, "-m", "job.environment"):
        command.add(word)
    for _ in came:
        asked.add(json.dumps(wanted))
    # As many tasks as executors, each of which has room for one: all start at once, one on each.
    answers = context._jsc.parallelize(asked, len(came)).pipe(command)
    try:
        lines = list(answers.collect())
    except Py4JJavaError as error:
        reason = str(error.java_exception.getMessage()).splitlines()[0]
        raise JobError(f"the environment was not tried on all hosts: {reason}") from error
    for line in lines:
        if (result := json.loads(line).get("result")) is not None:
            say({result["host"]: {"check": result}})
