"""What an analysis says of a run, in the form that it is scored in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.bench.stragglers.simulator import Run


@dataclass(frozen=True, kw_only=True)
class HostJudgement:
    """What is said of one host.

    ``slow``: it takes longer than it should. ``factor``: how many times as long for an image, with
    its 95 % interval; ``cause`` one of ``faults.KINDS``, with or without being slow; ``since``
    when, in s since the epoch. None where nothing is said.
    """

    slow: bool = False
    factor: float | None = None
    low: float | None = None
    high: float | None = None
    cause: str | None = None
    since: float | None = None


Judgement = Mapping[str, HostJudgement]
"""By host; nothing is the matter with a host that is not in it."""

Judge = Callable[[Run], Judgement]
"""An analysis: it sees the run, and not the truth."""
