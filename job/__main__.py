"""The driver on the edge host, of a run or a warm-up: ``python -m job FOLDER``.

FOLDER holds request.json, which the operator's side has written: a run, unless its "task" is warm.
What goes on is told in status.json beside it, for whoever follows; run/ is the run directory.
SIGINT ends the run and keeps what is done.
"""

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job import driver, report, warm
from job.errors import JobError, UsageError
from job.origins import hdfs
from job.parts import write_atomically
from job.spec import ClusterSpec, JobSpec
from job.webhdfs import WebHdfs

RUN = "run"


@dataclass
class Teller(driver.Listener):
    """Keeps status.json."""

    path: Path
    said: dict[str, Any] = field(default_factory=lambda: {"state": "running", "steps": []})

    def step(self, text: str) -> None:
        """One more of the steps, with its time."""
        self.said["steps"].append({"at": time.time(), "text": text})
        self.write()

    def spark(self, application: str, url: str | None) -> None:
        """Where Spark's REST interface is."""
        self.say(application=application, url=url)

    def progress(self, progress: driver.Progress) -> None:
        """Images so far; the file is written where they are others than before."""
        done = {"done": progress.done, "total": progress.total, "seconds": progress.seconds}
        if done["done"] != self.said.get("progress", {}).get("done"):
            self.say(progress=done)

    def forming(self, hosts: Sequence[str], text: str) -> None:
        """Which hosts are slow so far."""
        self.say(forming={"hosts": list(hosts), "text": text})

    def hosts_say(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """Change what is known of some hosts."""
        known = self.said.get("hosts", {})
        self.say(hosts=known | {host: known.get(host, {}) | dict(hosts[host]) for host in hosts})

    def say(self, **fields: Any) -> None:
        """Change fields of the status."""
        self.said |= fields
        self.write()

    def write(self) -> None:
        """Put it in place whole."""
        write_atomically(self.path, json.dumps(self.said))


def main(folder: Path) -> int:
    """Do what the request in FOLDER asks for; 0 where a run was finished or is incomplete."""
    teller = Teller(folder / "status.json")
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    # systemd and SSH leave it ignored for a process in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if request.get("task") == "warm":
            warm.warm(_spec(request), request["check"], teller.step, teller.hosts_say)
        else:
            _run(folder, request, teller)
    except JobError as error:
        teller.say(state="failed", error=str(error), usage=isinstance(error, UsageError))
        return 1
    except BaseException as error:
        teller.say(state="failed", error=f"{type(error).__name__}: {error}", usage=False)
        raise
    teller.say(state="finished")
    return 0


def _spec(request: Mapping[str, Any]) -> JobSpec:
    spec, cluster = request["spec"], ClusterSpec.from_dict(request["cluster"])
    paths = {name: Path(spec[name]) for name in ("model", "output")}
    return JobSpec(**{**spec, **paths}, cluster=cluster)


def _run(folder: Path, request: Mapping[str, Any], teller: Teller) -> None:
    cluster = ClusterSpec.from_dict(request["cluster"])
    if request["resume"]:
        driver.resume(folder / RUN, teller, cluster=cluster)
    else:
        driver.run(_spec(request), teller)
    teller.step("Writing the report")
    report.write(folder / RUN)
    if request["publish"]:
        teller.step(f"Putting the run directory on HDFS, as {request['publish']}")
        _publish(folder / RUN, hdfs(cluster.namenode, cluster.user), request["publish"])


def _publish(run: Path, files: WebHdfs, path: str) -> None:
    """Put a run directory on HDFS, visible under its name when it is whole."""
    above, _, name = path.rpartition("/")
    part = f"{above}/.{name}.part"
    files.delete(part, recursive=True)
    for file in sorted(run.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            files.write(f"{part}/{file.relative_to(run)}", file.read_bytes())
    files.rename(part, path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
