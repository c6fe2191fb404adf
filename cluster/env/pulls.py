"""Spark's own workers fetch archives from the edge host: they cross the operator's link once."""

import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

from cluster.env.hosts import Tell, operate
from cluster.errors import ClusterError
from cluster.inventory import Host
from cluster.ssh import Fleet


class Pulls:
    """Workers fetch what they lack of ITEMS from the edge host, all at once, once it serves.

    LACKING are the names of items by host.
    """

    def __init__(
        self,
        fleet: Fleet,
        edge: Host,
        workers: Sequence[Host],
        lacking: Mapping[str, Collection[str]],
        items: Sequence[dict[str, Any]],
        tell: Tell,
    ) -> None:
        self.token = secrets.token_hex(16)
        self._fleet, self._edge, self._workers = fleet, edge, workers
        self._lacking, self._items, self._tell = lacking, items, tell
        self._done = threading.Event()
        self._outcomes: dict[str, float | ClusterError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def start(self, said: dict[str, Any]) -> None:
        """Have the workers fetch from the port that the edge host has told."""
        threading.Thread(target=self._all, args=(said["serving"],), daemon=True).start()

    def until_done(self) -> Iterator[bytes]:
        """Nothing, for as long as the edge host has to serve."""
        if self._workers:
            self._done.wait()
        yield b""

    def seconds(self) -> dict[str, float]:
        """How long each worker took; raises where one failed."""
        failed = [each for each in self._outcomes.values() if isinstance(each, ClusterError)]
        if failed:
            sentences = " ".join(map(str, failed))
            raise ClusterError(f"{sentences} The other hosts have it: push again for the rest.")
        return {
            name: took
            for name, took in self._outcomes.items()
            if not isinstance(took, ClusterError)
        }

    def _all(self, port: int) -> None:
        try:
            self._outcomes = self._fleet.fan_out(self._workers, lambda host: self._pull(host, port))
        finally:
            self._done.set()

    def _pull(self, host: Host, port: int) -> float:
        started = time.monotonic()
        wanted = {
            "address": self._edge.address,
            "port": port,
            "token": self.token,
            "unpack": [item for item in self._items if item["file"] in self._lacking[host.name]],
        }
        operate(self._fleet, host, "pull", wanted, tell=self._tell)
        return time.monotonic() - started
