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
class Executor:
    """An executor that lives, and the tasks it has ended."""

    id: str
    host: str
    completed_tasks: int
    failed_tasks: int


@dataclass(frozen=True, kw_only=True)
class Master:
    """The master; ``status`` is ALIVE where it leads, STANDBY or RECOVERING where not yet."""

    status: str
    workers: tuple[Worker, ...]
    applications: tuple[Application, ...]


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


def executors(client: httpx.Client, application: str) -> tuple[Executor, ...]:
    """The executors of an application that runs, asked of its driver; raises as ``master``."""
    found = get_list(client, f"/api/v1/applications/{application}/executors")
    return tuple(
        Executor(
            id=executor.text("id"),
            host=executor.text("hostPort").partition(":")[0].partition(".")[0],
            completed_tasks=executor.number("completedTasks"),
            failed_tasks=executor.number("failedTasks"),
        )
        for executor in found
        if executor.text("id") != "driver"
    )


def history_version(client: httpx.Client) -> str:
    """Ask the History Server for its version; raises as ``master``."""
    return get(client, "/api/v1/version").text("spark")


def _worker(worker: Fields) -> Worker:
    return Worker(
        host=worker.text("host"),
        state=worker.text("state"),
        cores=worker.number("cores"),
        used_cores=worker.number("coresused"),
        memory_mb=worker.number("memory"),
        used_memory_mb=worker.number("memoryused"),
    )
