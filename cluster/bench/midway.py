"""A fault that comes while a run goes on."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Self

from cluster.lab.faults.kinds import Truth
from job.driver import Listener, Progress


class Midway(Listener):
    """Makes a fault once so many images are done; a context manager, which takes it away.

    ``truth`` is what is true of it, None before it came.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Truth]], *, at: int) -> None:
        self.truth: Truth | None = None
        self._make, self._at = make, at
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def progress(self, progress: Progress) -> None:
        """Make it, once."""
        if progress.done >= self._at and self.truth is None:
            self.truth = self._stack.enter_context(self._make())
