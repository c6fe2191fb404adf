"""What a check is: a name, why it matters, and a pure judgement of facts that hosts gave."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cluster.inventory import Host, Inventory
from cluster.ssh import Fleet

# Of one host: what remote/facts.py prints, with "clock" and what the probes measured added under
# the names of their checks. A host that could not be asked has "error" alone.
Facts = Mapping[str, Any]


class Severity(StrEnum):
    """A problem makes `doctor` fail, a warning does not."""

    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Fix:
    """What `--fix` may do about a finding, because it can do no harm.

    Either a command that root runs on the finding's host, or one of the roles that every host has,
    which is deployed again on all.
    """

    what: str
    command: str = ""
    role: str = ""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.role):
            raise ValueError("a fix is a command or a role")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong with one host: what, in numbers, and what to do."""

    host: str
    severity: Severity
    what: str
    do: str
    fix: Fix | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found, and one line that says what it saw."""

    summary: str
    findings: tuple[Finding, ...] = ()


Judge = Callable[[Mapping[str, Facts], Inventory], Verdict]
# Measures some hosts, telling what it is at. Gives a result by host; one that failed has "error".
Probe = Callable[[Fleet, Sequence[Host], Callable[[str], None]], dict[str, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that `doctor` looks at. With a ``probe`` it takes seconds on each host."""

    name: str
    title: str
    why: str
    judge: Judge
    probe: Probe | None = None


def problem(host: str, what: str, do: str, fix: Fix | None = None) -> Finding:
    """A finding that must not stay."""
    return Finding(host=host, severity=Severity.PROBLEM, what=what, do=do, fix=fix)


def warning(host: str, what: str, do: str, fix: Fix | None = None) -> Finding:
    """A finding that may be wanted so."""
    return Finding(host=host, severity=Severity.WARNING, what=what, do=do, fix=fix)


def reached(facts: Mapping[str, Facts]) -> Iterator[tuple[str, Facts]]:
    """The hosts that could be asked."""
    return ((host, known) for host, known in facts.items() if "error" not in known)


def deployed(facts: Mapping[str, Facts]) -> bool:
    """Whether some host has a daemon of this toolkit; before that, none is missed anywhere."""
    return any(known["units"] for _, known in reached(facts))


def listed(items: Iterable[str], most: int = 4) -> str:
    """Some items in words, and how many more there are."""
    every = list(items)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def span(values: Iterable[float], unit: str) -> str:
    """The least and the largest of some values."""
    every = sorted(values)
    low, high = (f"{end:,.0f}" if end >= 100 else f"{end:.3g}" for end in (every[0], every[-1]))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"
