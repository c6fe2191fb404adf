"""Event logs as Spark writes them: one application for each codec, in local mode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from job.java import java_home

# No Python worker is started; a file is copied while its application is running, too.
APPLICATIONS = """
import shutil, sys
from pathlib import Path
from pyspark.sql import SparkSession

out = Path(sys.argv[1])
for name in ("plain", "lz4", "zstd", "snappy", "lzf", "rolling"):
    folder = out / name
    folder.mkdir()
    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": folder.as_uri(),
        "spark.eventLog.compress": str(name != "plain").lower(),
        "spark.eventLog.compression.codec": "zstd" if name in ("plain", "rolling") else name,
        "spark.eventLog.rolling.enabled": str(name == "rolling").lower(),
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.adaptive.enabled": "false",
        "spark.driver.host": "localhost",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[2]").appName("sums")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.range(0, 40_000, 1, 8).selectExpr("id % 10 as key", "id").groupBy("key").sum().count()
    shutil.copytree(folder, out / f"{name}-running")
    session.stop()
"""


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders plain, lz4, zstd, snappy, lzf and rolling, and each of them while it grew.

    The application has a stage of 8 tasks, one of 4 that reads their shuffle, and one of 1.
    """
    folder = tmp_path_factory.mktemp("logs")
    environment = os.environ | {"JAVA_HOME": str(java_home()), "SPARK_LOCAL_HOSTNAME": "localhost"}
    subprocess.run(
        [sys.executable, "-c", APPLICATIONS, str(folder)],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder
