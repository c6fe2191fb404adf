"""Hadoop's jars by Maven coordinates, each held against a lock."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import click

from cluster.artifacts import archive
from cluster.errors import ClusterError

REGENERATE = "python -m cluster.artifacts lock"
TIMEOUT_S = 1800


def fetch(pom: Path, *, version: str, folder: Path) -> dict[str, str]:
    """Have Maven copy what POM names into FOLDER; gives each jar's SHA-256 by its path there.

    Raises:
        ClusterError: Maven is missing or fails.
    """
    program = shutil.which("mvn")
    if program is None:
        raise ClusterError(
            "Hadoop's jars come by Maven, and there is no mvn on the PATH: install it (Debian: "
            "`apt-get install maven`), or set hadoop_way to archive, the official release."
        )
    click.echo("Getting Hadoop's jars by Maven; the first time takes a minute", err=True)
    command = [program, "--batch-mode", "--no-transfer-progress", "--quiet", f"--file={pom}"]
    # In FOLDER, so that nothing is left beside the pom.
    command += [f"-Dhadoop.version={version}", f"-Doutput={folder}", "package"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"Maven took more than {TIMEOUT_S} s: is there a network?") from None
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        said = (errors or done.stdout.splitlines() or done.stderr.splitlines() or ["nothing"])[0]
        raise ClusterError(f"Maven cannot get the jars of {pom}: {said.removeprefix('[ERROR] ')}")
    return {
        str(jar.relative_to(folder)): archive.digest_of(jar)
        for jar in sorted(folder.rglob("*.jar"))
    }


def locked_text(jars: dict[str, str]) -> str:
    """The lock of these jars: a line each, as ``sha256sum --check`` reads it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(jars.items()))


def verify(jars: dict[str, str], lock: Path) -> None:
    """Hold what came against the lock.

    Raises:
        ClusterError: a jar is another one, is missing, or is not in the lock.
    """
    lines = lock.read_text(encoding="utf-8").splitlines()
    wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in sorted(wanted.keys() | jars.keys()):
        if name not in jars:
            problem = f"{name} did not come"
        elif name not in wanted:
            problem = f"{name} came, and the lock does not name it"
        elif jars[name] != wanted[name]:
            problem = f"the SHA-256 of {name} is {jars[name]}, and {wanted[name]} is wanted"
        else:
            continue
        raise ClusterError(
            f"Maven gave other jars than {lock} says: {problem}. Where the coordinates were "
            f"changed on purpose, write the lock anew: `{REGENERATE}`."
        )


def unpack_webapps(folder: Path) -> None:
    """Take HDFS's pages out of the jar that brings them, which hosts do not need."""
    for jar in (folder / "webapps").glob("*.jar"):
        with zipfile.ZipFile(jar) as pages:
            pages.extractall(folder, (n for n in pages.namelist() if n.startswith("webapps/")))
        jar.unlink()
