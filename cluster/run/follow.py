"""Follows a run's driver from here until it ends, and brings its run directory back."""

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.clients import spark, yarn
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.run.edge import STOP_S, EdgeRun, Status, rewrite
from cluster.run.localisation import localised, localised_names
from cluster.ssh import SshError
from job.driver import Listener, Progress
from job.errors import JobError, UsageError
from job.phases import Phase, phase
from job.rundir import RunDirectory

POLL_S = 1.0
# A connection that is lost for longer is given up; the run is not.
LOST_S = 300.0
AGAIN_S = 5.0
# Until Spark runs, which on YARN waits in its queue and for its application master's files.
START_S = 900.0
# How the driver's step begins meanwhile.
STARTING = "Starting Spark"


class Hosts:
    """Tasks done on each host, as Spark's REST interface tells; nothing while it does not."""

    def __init__(self, run: EdgeRun, inventory: Inventory, mode: str) -> None:
        self._run, self.inventory, self._mode = run, inventory, mode
        self._client: httpx.Client | None = None

    def done(self, said: Mapping[str, Any]) -> Mapping[str, int]:
        """By host; SAID is the driver's status."""
        if "application" not in said:
            return {}
        with contextlib.suppress(ClusterError):
            if self._client is None:
                self._client = self._connect(said)
            return Counter(
                {
                    executor.host: executor.completed_tasks
                    for executor in spark.executors(self._client, said["application"])
                }
            )
        return {}

    def _connect(self, said: Mapping[str, Any]) -> httpx.Client:
        fleet = self._run.fleet
        if self._mode == "yarn":
            # The driver's own pages send everyone but the ResourceManager to the ResourceManager.
            manager = self.inventory.first("yarn_resourcemanager")
            client = fleet.http(manager, yarn.PORT)
            client.base_url = client.base_url.join(f"/proxy/{said['application']}")
            return client
        return self._run.http(httpx.URL(said["url"]).port or 0)


@dataclass
class Follower:
    """Tells a listener how a run goes. ``output`` is where its run directory is brought to."""

    run: EdgeRun
    request: Mapping[str, Any]
    hosts: Hosts
    output: Path
    listener: Listener
    start_s: float = START_S
    _steps: int = 0
    _starting_since: float | None = None
    _gave_up: bool = False
    _interrupted_at: float | None = None

    def follow(self) -> dict[str, Any]:
        """Wait for the end; gives run.json.

        Ctrl-C stops the run on the cluster, and a second one leaves it alone.

        Raises:
            JobError: the run failed; what was done by then is in ``output``.
            ClusterError: the edge host is not reached any more; the run goes on there.
        """
        while True:
            try:
                status = self._status()
                self.tell(status)
                if not status.active:
                    return self.end(status)
                time.sleep(POLL_S)
            except KeyboardInterrupt:
                if self._interrupted_at is not None:
                    raise KeyboardInterrupt(self.goes_on()) from None
                self._interrupted_at = time.monotonic()
                self.listener.step("Stopping the run; what is done is kept")
                self.run.interrupt()

    def _status(self) -> Status:
        began = time.monotonic()
        while True:
            try:
                return self.run.status()
            except SshError as error:
                if time.monotonic() - began > LOST_S:
                    raise ClusterError(f"{error} {self.goes_on()}") from error
                self.listener.step(f"{error} Trying again")
                time.sleep(AGAIN_S)

    def kept(self) -> str:
        """Where the results are that could not be brought here."""
        return (
            f"The results are on {self.run.place} ({self.run.folder}): bring them here with"
            f" `{self.run.again}`."
        )

    def goes_on(self) -> str:
        """What to do where it is not followed any more."""
        return f"The run goes on: `{self.run.again}`."

    def tell(self, status: Status) -> None:
        """Tell what is new; it is asked again and again."""
        steps = status.said.get("steps", [])
        for step in steps[self._steps :]:
            self.listener.step(step["text"])
        self._steps = len(steps)
        starting = bool(steps) and steps[-1]["text"].startswith(STARTING)
        if starting and self._waits_too_long():
            self._gave_up, self._interrupted_at = True, time.monotonic()
            self.listener.step(f"Spark did not start in {self.start_s:.0f} s: stopping the run")
            self.run.interrupt()
        if progress := status.said.get("progress"):
            self.listener.hosts(self.hosts.done(status.said))
            self.listener.progress(Progress(**progress))
        if forming := status.said.get("forming"):
            self.listener.forming(**forming)
        late = self._interrupted_at and time.monotonic() - self._interrupted_at > STOP_S
        if late:
            raise ClusterError(
                f"The driver on {self.run.place} does not stop: see driver.log in"
                f" {self.run.folder} there, and end it with `{self.run.end_it}`."
            )

    def _waits_too_long(self) -> bool:
        """Spark was not started: YARN may have no room even for an application master."""
        now = time.monotonic()
        self._starting_since = self._starting_since or now
        return self._interrupted_at is None and now - self._starting_since > self.start_s

    def why(self, status: Status) -> str:
        """Why a driver that has ended did not finish; empty where it did."""
        if self._gave_up:
            return (
                f"Spark did not start in {self.start_s:.0f} s: `cluster status` shows whether YARN"
                " has room"
            )
        if status.said.get("state") in (None, "running"):
            return (
                f"the driver ended without a word ({status.log or 'its log is empty'}): see"
                f" driver.log in {self.run.folder} on {self.run.place}"
            )
        return str(status.said.get("error", ""))

    def end(self, status: Status) -> dict[str, Any]:
        """What ``follow`` gives, or the error that it raises, once the driver has ended."""
        error = self.why(status)
        if error and status.said.get("usage"):  # found before anything was written
            self.run.remove()
            with contextlib.suppress(OSError):  # where a resumed run has something
                self.output.rmdir()
            raise UsageError(error)
        self.listener.step("Bringing the results back")
        try:
            self.run.fetch(self.output)
        except ClusterError as lost:
            raise ClusterError(f"{lost} {self.kept()}") from lost
        here = self.request["here"]
        if (self.output / "run.json").exists():
            rewrite(
                self.output,
                input=here["input"],
                model=here["model"],
                phases=self._phases(RunDirectory(self.output).read()),
            )
            if status.said.get("state") != "running" and not (error and self.request["publish"]):
                self.run.remove()
        if error and self.request["publish"]:
            error = (
                f"{error}; the run directory is on {self.run.place}, and not on HDFS: bring it"
                f" here with `{self.run.again} --output FOLDER`"
            )
        if error:
            error = error.replace(f"{self.run.folder}/run", str(self.output))
            raise JobError(error)
        return RunDirectory(self.output).read()

    def _phases(self, record: Mapping[str, Any]) -> list[Phase]:
        """The run's, with what its hosts localised, which NodeManagers know."""
        cluster = self.request["cluster"]
        names = localised_names(cluster, record["model"]["digest"])
        managers = self.hosts.inventory.group("yarn_nodemanager") if cluster["archive"] else ()
        found = localised(self.run.fleet, managers, names, record["started_at"])
        phases: list[Phase] = record["phases"]
        return phases + [
            phase(
                "localise",
                each.started_at,
                each.started_at + each.seconds,
                host=each.host,
                note=each.name,
            )
            for each in sorted(found, key=lambda each: each.started_at)
        ]
