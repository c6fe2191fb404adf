"""Runs Ansible playbooks: progress while they run, times and changes when they are done."""

import contextlib
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TextIO

import ansible_runner  # type: ignore[import-untyped]
import yaml

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.places import repository, state
from cluster.signals import handled

# How long Ansible may take to end by itself after Ctrl-C, in seconds.
GRACE_S = 10.0
OUTCOMES = {
    "runner_on_ok": "ok",
    "runner_on_skipped": "skipped",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
}
FAILURES = ("failed", "unreachable")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``ansible-playbook`` is told beside playbook and inventory; each as its option."""

    check: bool = False
    diff: bool = False
    limit: str | None = None
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """As words of a command line."""
        words = [f"--{name}" for name in ("check", "diff") if getattr(self, name)]
        if self.limit is not None:
            words += ["--limit", self.limit]
        for option, tags in (("--tags", self.tags), ("--skip-tags", self.skip_tags)):
            if tags:
                words += [option, ",".join(tags)]
        return words


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a play. ``step`` is its role's name, or its play's where it is in no role."""

    step: str
    name: str

    def __str__(self) -> str:
        return f"{self.step} : {self.name}"


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a task did on one host: ok, changed, skipped, failed or unreachable.

    ``message`` is why it failed, in one line; ``ignored`` says that the play goes on all the same.
    """

    task: Task
    host: str
    outcome: str
    seconds: float
    message: str = ""
    ignored: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a playbook did. Seconds are of wall time: a task's hosts work side by side."""

    seconds: float
    results: tuple[TaskResult, ...]
    task_seconds: Mapping[Task, float]
    failed_hosts: tuple[str, ...]
    log: Path

    @property
    def hosts(self) -> dict[str, dict[str, int]]:
        """How many tasks were ok, changed, skipped, failed, unreachable, by host."""
        counts: dict[str, dict[str, int]] = {}
        for result in self.results:
            of_host = counts.setdefault(
                result.host, dict.fromkeys(("ok", "changed", "skipped", *FAILURES), 0)
            )
            of_host[result.outcome] += 1
        return counts

    @property
    def step_seconds(self) -> dict[str, float]:
        """Seconds by role, or by play for what is in no role; in the order of their beginning."""
        sums: dict[str, float] = defaultdict(float)
        for task, seconds in self.task_seconds.items():
            sums[task.step] += seconds
        return dict(sums)

    @property
    def changed(self) -> tuple[TaskResult, ...]:
        """What was changed, or would be with ``check``."""
        return tuple(result for result in self.results if result.outcome == "changed")

    @property
    def failed(self) -> tuple[TaskResult, ...]:
        """What ended the play on a host, by host."""
        last = {r.host: r for r in self.results if r.outcome in FAILURES and not r.ignored}
        return tuple(last[host] for host in self.failed_hosts if host in last)


class PlaybookError(ClusterError):
    """A playbook failed; ``outcome`` is what it did until then."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


class Listener:
    """Told how a playbook goes; the base says nothing."""

    def task_started(self, task: Task) -> None:
        """A task begins, on all hosts that the play is for."""

    def host_started(self, task: Task, host: str) -> None:
        """A task begins on one host."""

    def result(self, result: TaskResult) -> None:
        """A task is done on one host."""

    def diff(self, text: str) -> None:
        """With ``diff``: what a task changes in a file, as Ansible prints it."""

    def stopping(self) -> None:
        """Ansible was asked to end, and may take some seconds."""


def run_playbook(
    playbook: Path,
    inventory: Inventory,
    options: Options | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Run a playbook with the roles, modules and settings of the repository.

    Its whole output goes to a file, which errors name. Ctrl-C ends Ansible before it is raised.

    Raises:
        PlaybookError: it failed on a host, or Ansible could not run it.
        ClusterError: there is no checkout of the repository.
    """
    root = repository()
    options, listener = options or Options(), listener or Listener()
    log = _log_file(playbook.stem)
    with (
        tempfile.TemporaryDirectory(prefix="cluster-playbook-") as folder,
        log.open("w", encoding="utf-8") as text,
        _Interrupt(listener) as interrupt,
    ):
        words = ["-i", str(inventory.path), *options.arguments(), str(playbook)]
        text.write(f"ansible-playbook {shlex.join(words)}\n")
        names = tuple(host.name for host in inventory.hosts)
        record = _Record(text, names, listener, interrupt)
        done = ansible_runner.run(
            private_data_dir=folder,
            project_dir=str(root),
            playbook=str(playbook.absolute()),
            inventory=str(inventory.path.absolute()),
            cmdline=shlex.join(options.arguments()) or None,
            envvars=_environment(root),
            # How often it looks whether to stop, in seconds.
            settings={"pexpect_timeout": 1},
            quiet=True,
            event_handler=record.take,
            cancel_callback=interrupt.is_overdue,
        )
    if interrupt.asked_at is not None:
        raise KeyboardInterrupt(f"The next deployment goes on from here; the log is {log}.")
    outcome = record.outcome(log)
    if done.rc != 0:
        raise PlaybookError(_sentence(playbook.name, outcome, record.last_error), outcome)
    return outcome


def tags_of(playbook: Path) -> set[str]:
    """The tags in a playbook and in those that it imports; Ansible's own ``always`` is none."""
    found: set[str] = set()

    def look(part: Any) -> None:
        if isinstance(part, list):
            for each in part:
                look(each)
        elif isinstance(part, dict):
            tags = part.get("tags", [])
            found.update([tags] if isinstance(tags, str) else tags)
            if imported := part.get("ansible.builtin.import_playbook"):
                found.update(tags_of(playbook.with_name(imported)))
            for each in part.values():
                look(each)

    look(yaml.safe_load(playbook.read_text(encoding="utf-8")))
    return found - {"always"}


def _log_file(name: str) -> Path:
    """A new one in the user's folder for such files (XDG Base Directory Specification)."""
    folder = state() / "playbooks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"


def _environment(root: Path) -> dict[str, str]:
    """What ansible-playbook gets beside this process's environment."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        # ansible-runner turns the check off where this does not say otherwise.
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_FORCE_COLOR": "False",
    }


class _Interrupt:
    """While it is entered, Ctrl-C and SIGTERM go to Ansible, which then ends and tidies up.

    Signals come to the main thread only: elsewhere it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.asked_at: float | None = None
        self.ansible: int | None = None
        self._handled = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handled.enter_context(handled(self._ask, *self.SIGNALS))
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.close()

    def _ask(self, *_: object) -> None:
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self._listener.stopping()
        if self.ansible is not None:
            os.kill(self.ansible, signal.SIGINT)

    def is_overdue(self) -> bool:
        """Ansible was asked and has not ended: the caller kills it then."""
        waited = 0 if self.asked_at is None else time.monotonic() - self.asked_at
        return waited > (GRACE_S if self.ansible else 0)


class _Record:
    """Takes Ansible's events, as ansible-runner gives them, and keeps what was done."""

    def __init__(
        self, log: TextIO, hosts: tuple[str, ...], listener: Listener, interrupt: _Interrupt
    ) -> None:
        self._log = log
        self._hosts = hosts
        self._listener = listener
        self._interrupt = interrupt
        self._begun = time.monotonic()
        self._play = ""
        self._task: Task | None = None
        self._task_begun = self._begun
        self._task_seconds: dict[Task, float] = defaultdict(float)
        self._results: list[TaskResult] = []
        self._failed_hosts: tuple[str, ...] = ()
        self.last_error = ""

    def take(self, event: Mapping[str, Any]) -> bool:
        """Returns False: ansible-runner need not keep it."""
        kind, data = event["event"], event.get("event_data", {})
        self._interrupt.ansible = event.get("pid", self._interrupt.ansible)
        if text := event.get("stdout", "").replace("\r\n", "\n"):
            self._log.write(text + "\n")
            self._log.flush()
            errors = [line for line in text.splitlines() if line.startswith("[ERROR]: ")]
            self.last_error = errors[0].removeprefix("[ERROR]: ") if errors else self.last_error
        if kind == "playbook_on_play_start":
            self._play = data["name"]
        elif kind == "playbook_on_task_start":
            self._next_task(self._named(data))
            self._listener.task_started(self._named(data))
        elif kind == "playbook_on_stats":
            self._next_task(None)
            failed = dict.fromkeys((*data["failures"], *data["dark"]))
            # What failed on this machine comes first: it holds for all hosts.
            self._failed_hosts = (
                *(name for name in failed if name not in self._hosts),
                *(name for name in self._hosts if name in failed),
            )
        elif kind == "runner_on_start":
            self._listener.host_started(self._named(data), data["host"])
        elif kind == "runner_on_file_diff":
            self._listener.diff(text)
        elif kind in OUTCOMES:
            self._result(OUTCOMES[kind], data)
        return False

    def outcome(self, log: Path) -> Outcome:
        """What was done by now."""
        self._next_task(None)
        return Outcome(
            seconds=time.monotonic() - self._begun,
            results=tuple(self._results),
            task_seconds=dict(self._task_seconds),
            failed_hosts=self._failed_hosts,
            log=log,
        )

    def _named(self, data: Mapping[str, Any]) -> Task:
        return Task(step=data.get("role") or self._play, name=data["task"])

    def _next_task(self, task: Task | None) -> None:
        now = time.monotonic()
        if self._task is not None:
            self._task_seconds[self._task] += now - self._task_begun
        self._task, self._task_begun = task, now

    def _result(self, outcome: str, data: Mapping[str, Any]) -> None:
        answer = data.get("res") or {}
        result = TaskResult(
            task=self._named(data),
            host=data["host"],
            outcome="changed" if outcome == "ok" and answer.get("changed") else outcome,
            seconds=float(data.get("duration") or 0),
            message=_message(answer) if outcome in FAILURES else "",
            ignored=bool(data.get("ignore_errors")),
        )
        self._results.append(result)
        self._listener.result(result)


def _message(answer: Mapping[str, Any]) -> str:
    """Why a task failed: the first line of its message, and the last of its standard error."""
    for item in answer.get("results", ()):
        # Of a loop: what the items have in common is only that one failed.
        if item.get("failed"):
            return _message(item)
    said = str(answer.get("msg") or answer.get("censored") or "it gives no reason").strip()
    errors = str(answer.get("stderr") or answer.get("module_stderr") or "").strip()
    first = said.splitlines()[0] if said else ""
    last = errors.splitlines()[-1] if errors else ""
    return f"{first} ({last})" if last and last not in first else first


def _sentence(playbook: str, outcome: Outcome, said: str) -> str:
    log = f"the whole output is in {outcome.log}"
    if not outcome.failed:
        return f"Ansible could not run {playbook}: {said or 'it gives no reason'}; {log}."
    first, *others = outcome.failed
    also = f"; {', '.join(r.host for r in others)} failed too" if others else ""
    why = first.message.rstrip(".")
    if first.outcome == "unreachable":
        return f"{first.host} cannot be reached ({first.task}): {why}{also}; {log}."
    return f"{first.host} failed in {first.task}: {why}{also}; {log}."
