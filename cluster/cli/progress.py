"""Shows how a run goes: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from job import driver

PLAIN_EVERY_S = 10.0


class ProgressListener(driver.Listener):
    """A context manager; writes to standard error, so that results can be piped."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._plain = not self._console.is_terminal
        self._said_at = 0.0
        self._hosts = ""
        self._slow: set[str] = set()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or self._plain,
        )
        self._task = self._bar.add_task("", total=None, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, text: str) -> None:
        """One thing that begins now."""
        if self._plain and not self._quiet:
            click.echo(text, err=True)
        self._bar.update(self._task, description=text)

    def hosts(self, tasks: Mapping[str, int]) -> None:
        """Tasks by host, kept while nothing is known."""
        if tasks:
            counted = ", ".join(f"{host} {count}" for host, count in sorted(tasks.items()))
            self._hosts = f", tasks: {counted}"

    def forming(self, hosts: Sequence[str], text: str) -> None:
        """Which hosts are slow so far, when others are than before."""
        if set(hosts) == self._slow:
            return
        self._slow = set(hosts)
        said = f"So far {text}" if hosts else "So far no host is slow any more"
        if not self._quiet:
            self._console.print(said, soft_wrap=True)

    def progress(self, progress: driver.Progress) -> None:
        """Images done, images/s, tasks by host, time left."""
        rate = f"{progress.done / progress.seconds:.1f} images/s" if progress.done else ""
        rate += self._hosts
        self._bar.update(
            self._task,
            description="Finding objects" if progress.done else None,
            total=progress.total,
            completed=progress.done,
            rate=rate,
        )
        now = time.monotonic()
        if self._quiet or not self._plain or now - self._said_at < PLAIN_EVERY_S:
            return
        if progress.done:
            self._said_at = now
            left = (progress.total - progress.done) * progress.seconds / progress.done
            click.echo(
                f"{progress.done} of {progress.total} images, {rate}, {left:.0f} s left", err=True
            )
