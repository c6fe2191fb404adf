"""What can be ordered: the kinds of faults, their options, and what is true of one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from job.errors import UsageError

DEFAULT_S, MAX_S = 60.0, 3600.0
MAX_FACTOR = 100.0


@dataclass(frozen=True, kw_only=True)
class Option:
    """A number that a kind takes beside or in the place of the factor; above 0, up to ``most``."""

    what: str
    most: float
    replaces_factor: bool = False


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault. ``factor`` is the default; None where a factor has no meaning."""

    what: str
    example: str
    factor: float | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    # Those that are over as soon as they are made.
    at_once: bool = False


KINDS = {
    "cpu-quota": Kind(
        example="cluster lab fault cpu-quota node2 --factor 3 --for 120",
        what="Divide the CPU time that the host may use by the factor.",
        factor=3,
    ),
    "cpu-neighbour": Kind(
        example="cluster lab fault cpu-neighbour node2 --factor 2",
        what="Have others compute on the host's cores, which leaves it its CPUs by the factor.",
        factor=3,
    ),
    "link": Kind(
        example="cluster lab fault link node3 --mbit 10 --loss 1",
        what="Divide the speed of the host's link by the factor (where the inventory gives none, "
        "1000 Mbit/s), lose packets, or delay them; each in both directions.",
        factor=20,
        options={
            "mbit": Option(what="Speed in Mbit/s.", most=1e5, replaces_factor=True),
            "loss": Option(what="Packets lost, in percent.", most=100),
            "delay": Option(what="Delay of each packet, in ms.", most=10_000),
        },
    ),
    "memory": Kind(
        example="cluster lab fault memory node2 --factor 2 --for 300",
        what="Leave the host the memory that it works with divided by the factor; the rest of its "
        "memory is swap, on disk.",
        factor=2,
        options={"mb": Option(what="Memory left, in MiB.", most=1e7, replaces_factor=True)},
    ),
    "disk": Kind(
        example="cluster lab fault disk node2 --mbs 2",
        what="Divide the speed of the host's /data (200 MB/s) by the factor, reading and writing; "
        "what was cached of it is forgotten first.",
        factor=20,
        options={"mbs": Option(what="Speed in MB/s (10^6 bytes).", most=1e5, replaces_factor=True)},
    ),
    "freeze": Kind(
        example="cluster lab fault freeze node2 --for 30 --background",
        what="Have all of the host's processes stand still.",
    ),
    "cold": Kind(
        example="cluster lab fault cold node2",
        what="Empty the host's caches, once: its files in the page cache, and what YARN has "
        "localised. Not during a run.",
        at_once=True,
    ),
    "clock": Kind(
        example="cluster lab fault clock node2 --ahead 30",
        what="Set the host's clock ahead; of virtual machines only, for the others share one.",
        options={"ahead": Option(what="How far, in s (120 by default).", most=1e6)},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """A fault to make: which, where, and for how long at most. It checks itself.

    Raises:
        UsageError: there is no such kind or option, or a number is out of bounds.
    """

    kind: str
    host: str
    factor: float | None = None
    seconds: float = DEFAULT_S
    options: Mapping[str, float] = field(default_factory=dict)
    # It goes on without who ordered it.
    background: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"There is no fault {self.kind}: there are {', '.join(KINDS)}.")
        known = KINDS[self.kind]
        if not 0 < self.seconds <= MAX_S:
            raise UsageError(
                f"--for is {self.seconds:g}, and must be above 0 and {MAX_S:g} at most."
            )
        for name, value in self.options.items():
            if name not in known.options:
                raise UsageError(f"The fault {self.kind} has no option --{name}.")
            most = known.options[name].most
            if not 0 < value <= most:
                raise UsageError(
                    f"--{name} is {value:g}, and must be above 0 and {most:g} at most."
                )
        if self.factor is None:
            # An option that says what to do leaves nothing to a default.
            object.__setattr__(self, "factor", None if self.options else known.factor)
            return
        if known.factor is None:
            raise UsageError(f"The fault {self.kind} has no factor.")
        check_factor(self.factor)
        if replacing := next((n for n in self.options if known.options[n].replaces_factor), None):
            raise UsageError(f"Give --factor or --{replacing}: each says how slow.")


def check_factor(factor: float) -> None:
    """Refuse a factor that slows nothing, or too much.

    Raises:
        UsageError: it is not above 1, or above ``MAX_FACTOR``.
    """
    if not 1 < factor <= MAX_FACTOR:
        raise UsageError(f"--factor is {factor:g}, and must be above 1 and {MAX_FACTOR:g} at most.")


@dataclass(kw_only=True)
class Truth:
    """What is true of a fault: began and ended in s since the epoch, None while it lasts.

    ``details`` is what was set to have it, such as the ``mbit`` of a link.
    """

    kind: str
    host: str | None
    factor: float | None
    details: dict[str, Any]
    began: float
    ended: float | None = None

    def row(self) -> dict[str, Any]:
        """The line of ground truth; ``parse`` reads it."""
        row = asdict(self)
        details = row.pop("details")
        span = {"from": row.pop("began"), "to": row.pop("ended")}
        return {**row, **details, **span}

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Truth":
        """Of what ``row`` gave."""
        names = {"kind", "host", "factor", "from", "to"}
        return cls(
            kind=row["kind"],
            host=row["host"],
            factor=row["factor"],
            details={name: value for name, value in row.items() if name not in names},
            began=row["from"],
            ended=row["to"],
        )
