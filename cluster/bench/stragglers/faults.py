"""What a simulated cluster can suffer from, and what is true of it then."""

from dataclasses import dataclass

KINDS = ("cpu-quota", "cpu-neighbour", "link", "memory", "disk", "freeze", "cold", "skew")
AT_START = ("cold", "skew")
"""Those that are there at the start only, and slow no host down."""

CLEAN = "clean"
"""What is the matter with a host that nothing is the matter with."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that makes host number ``host`` slow, or seem so.

    ``factor`` is how many times longer the host is to take for an image; of ``cold``, for its
    start; of ``skew``, for each of the costly images, whichever host gets them (``host`` is
    not used then). A ``freeze`` has none: the host stands still. ``since`` and ``until`` are
    seconds after the first task's start, to the whole second. ``cold`` and ``skew`` are from the
    start.

    Raises:
        ValueError: an unknown kind, a factor below 1, or an end before the beginning.
    """

    kind: str
    host: int = 0
    factor: float = 1.0
    since: int = 0
    until: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind}: there are {', '.join(KINDS)}")
        if self.factor < 1:
            raise ValueError(f"a factor of {self.factor} slows nothing")
        if self.until is not None and self.until <= self.since:
            raise ValueError("a fault ends after it begins")
        if self.kind == "freeze" and self.until is None:
            raise ValueError("a freeze ends, or its host never gives its images back")

    @property
    def at_start(self) -> bool:
        """There before the first image, as far as an analysis can tell."""
        return self.since == 0 or self.kind in AT_START


@dataclass(frozen=True, kw_only=True)
class HostTruth:
    """What is true of one host that has faults, or that got the costly images.

    ``factor`` is its time per image while its faults lasted over what the same images would have
    taken it without them; 1 where it had no image meanwhile. ``since`` is in s since the epoch,
    None for what was there from the start.
    """

    kinds: tuple[str, ...]
    factor: float
    since: float | None = None
