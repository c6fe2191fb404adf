"""Which hosts have a row of their own, in which order, and what they lost in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from job.stragglers.wording import duration

ALL = 40  # hosts with a row each; of more, the worst have one
WORST = 30
LOSSES = ("late_s", "slow_s", "stood_s", "idle_s")
_WORDS = {"late_s": "began {} late", "slow_s": "{} longer for its images", "stood_s": "stood {}"}

Host = Mapping[str, Any]


def split(data: Mapping[str, Any]) -> tuple[Sequence[Host], Sequence[Host]]:
    """The hosts of ``progress`` that have a row and the rest, each by the time they lost."""
    hosts = sorted(data["progress"]["hosts"], key=lambda host: -_lost(host))
    shown = len(hosts) if len(hosts) <= ALL else WORST
    return hosts[:shown], hosts[shown:]


def _lost(host: Host) -> float:
    """Seconds; a host without an image comes last, for nothing is known of it."""
    if host["slow_s"] is None:
        return float("-inf")
    return float(host["late_s"] + host["slow_s"] + host["stood_s"])


def losses(host: Host) -> str:
    """What a host lost beside its peers, in words."""
    if host["slow_s"] is None:
        return "no image"
    told = [
        words.format(duration(host[name])) for name, words in _WORDS.items() if host[name] > 0.1
    ]
    return ", ".join(told) if told else "as fast as the others"


def silence(host: str, begin: float, end: float) -> str:
    """A stretch, in seconds on the axis, in which a host had a task and finished nothing."""
    when = f"{duration(begin)} to {duration(end)}"
    return f"{host}, {when}: had a task and finished nothing for {duration(end - begin)}"
