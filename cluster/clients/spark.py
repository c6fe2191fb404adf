"""Spark's own master (/json/) and its History Server (spark.apache.org/docs/3.5.5/monitoring)."""

from dataclasses import dataclass

import httpx

from cluster.clients.rest import Fields, get, get_list

MASTER_PORT = 8080
HISTORY_PORT = 18080


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker as the master sees it. ``state``: ALIVE, DEAD, DECOMMISSIONED, UNKNOWN."""

    host: str
    state: str
    cores: int
    used_cores: int
    memory_mb: int
    used_memory_mb: int


@dataclass(frozen=True, kw_only=True)
class Application:
    """An application of the master; ``state``: WAITING, RUNNING and others."""

    id: str
    name: str
    user: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Master:
    """The master; ``status`` is ALIVE where it leads, STANDBY or RECOVERING where not yet."""

    status: str
    workers: tuple[Worker, ...]
    applications: tuple[Application, ...]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An application that the History Server shows; ``ended`` by the log it has by now."""

    id: str
    name: str
    ended: bool


def master(client: httpx.Client) -> Master:
    """Ask the master; raises NoAnswerError and UnknownAnswerError."""
    said = get(client, "/json/")
    return Master(
        status=said.text("status"),
        workers=tuple(_worker(worker) for worker in said.objects("workers")),
        applications=tuple(
            Application(
                id=app.text("id"),
                name=app.text("name"),
                user=app.text("user"),
                state=app.text("state"),
            )
            for app in said.objects("activeapps")
        ),
    )


def history_version(client: httpx.Client) -> str:
    """Ask the History Server for its version; raises as ``master``."""
    return get(client, "/api/v1/version").text("spark")


def history(client: httpx.Client, *, limit: int) -> tuple[Finished, ...]:
    """The latest applications of the History Server; raises as ``master``."""
    found = get_list(client, "/api/v1/applications", limit=str(limit))
    return tuple(_finished(application) for application in found)


def _worker(worker: Fields) -> Worker:
    return Worker(
        host=worker.text("host"),
        state=worker.text("state"),
        cores=worker.number("cores"),
        used_cores=worker.number("coresused"),
        memory_mb=worker.number("memory"),
        used_memory_mb=worker.number("memoryused"),
    )


def _finished(application: Fields) -> Finished:
    attempts = application.objects("attempts")
    return Finished(
        id=application.text("id"),
        name=application.text("name"),
        ended=bool(attempts) and all(attempt.values.get("completed") for attempt in attempts),
    )
