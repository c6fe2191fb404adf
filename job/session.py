"""Starts Spark for a run, and ends it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway

from job.errors import JobError
from job.java import QUICK_START, java_home
from job.modes.base import Mode

# Orca's code and Spark's serialisers reach into these packages, which Java 17 closes.
_ADD_OPENS = " ".join(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.nio", "sun.nio.ch")
)
_JVM = f"{_ADD_OPENS} {QUICK_START}"
_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties").as_uri()
JVM_EXIT_S = 20


def spark_settings(mode: Mode, slots: int) -> dict[str, str]:
    """Spark's configuration of a run; the user's own ``--conf`` has the last word."""
    spec, run = mode.spec, mode.run
    settings = {
        "spark.app.name": f"cluster run {run.path.name}",
        "spark.ui.showConsoleProgress": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": run.events.as_uri(),
        # Fixed, so that the tensors of one image go back to the system before the next comes; and
        # one arena, for a lane's thread keeps little of its own. Together some 40 MB a worker.
        "spark.executorEnv.MALLOC_TRIM_THRESHOLD_": "131072",
        "spark.executorEnv.MALLOC_ARENA_MAX": "1",
        # Tasks are placed by who is free; none waits for a nearer place.
        "spark.locality.wait": "0",
        "spark.driver.extraJavaOptions": f"{_JVM} -Dlog4j2.configurationFile={_LOG_SETTINGS}",
        "spark.executor.extraJavaOptions": _JVM,
        **mode.spark_conf(slots),
    }
    if spec.engine == "orca":
        settings["spark.driver.extraClassPath"] = os.pathsep.join(map(str, mode.orca_jars()))
        # Without this BigDL sends Spark's log to a file in the working folder.
        settings["spark.driver.extraJavaOptions"] += " -Dbigdl.utils.LoggerFilter.disable=true"
    return {**settings, **spec.conf}


@contextlib.contextmanager
def spark_context(settings: dict[str, str], mode: Mode) -> Iterator[SparkContext]:
    """A SparkContext; what Spark and its workers print goes to RUN/spark.log, appended.

    Ends the JVM, and with it the Python workers, on the way out. Should this process be killed,
    the JVM ends by itself: its standard input breaks.
    """
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ["PYSPARK_PYTHON"] = mode.python()
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    log = mode.run.path / "spark.log"
    # Whoever is interrupted before the JVM has answered cannot end it, and it stays.
    held: list[int] = []
    on_interrupt = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        with log.open("ab") as output:
            gateway = launch_gateway(conf, {"stdout": output, "stderr": subprocess.STDOUT})
    except Exception as error:
        signal.signal(signal.SIGINT, on_interrupt)
        raise JobError(f"Spark did not start: see {log}") from error
    try:
        signal.signal(signal.SIGINT, on_interrupt)
        if held:
            signal.raise_signal(signal.SIGINT)
        try:
            context = SparkContext(gateway=gateway, conf=conf)
        except Exception as error:
            reason = str(getattr(error, "java_exception", error)).splitlines()[0]
            raise JobError(f"Spark did not start: {reason}; see {log}") from error
        try:
            yield context
        finally:
            # PySpark's handler would speak to a JVM that is going or gone.
            signal.signal(signal.SIGINT, on_interrupt)
            context.stop()
    finally:
        gateway.shutdown()
        SparkContext._gateway = SparkContext._jvm = None
        process: subprocess.Popen[bytes] = gateway.proc
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(JVM_EXIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
