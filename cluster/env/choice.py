"""Which archive a cluster's hosts have soonest: a plain tar, or a tar.gz and of which level."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cluster.checks import link_speed, measuring
from cluster.checks.program import call
from cluster.errors import ClusterError
from cluster.inventory import Host
from cluster.ssh import Fleet

# What an environment packs to, of its size (docs/environment.md).
RATIOS = {("tar", 0): 1.0, ("tar.gz", 1): 0.37, ("tar.gz", 6): 0.33}
USUAL = ("tar.gz", 1)
# Less than this is not worth the disk, or the time to pack at a higher level.
WORTH_S = 2.0
LINK_S, GUNZIP_S, LIMIT_S = 0.6, 0.6, 30.0
MOST_MEASURED = 8


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Mbit/s that a host gets from the edge host (None for that itself), MB/s that it gunzips."""

    link_mbit: float | None
    gunzip_mb: float

    def seconds(self, unpacked: int, format_: str, level: int) -> float:
        """Until an archive is there, and unpacked as far as that depends on the format."""
        size = unpacked * RATIOS[format_, level] / 1e6
        fetched = size * 8 / self.link_mbit if self.link_mbit else 0.0
        return fetched + (unpacked / 1e6 / self.gunzip_mb if format_ == "tar.gz" else 0.0)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A format and level, and why."""

    format: str
    level: int
    reason: str


def choose(speeds: Mapping[str, Speed], unpacked: int) -> Choice:
    """The archive that the slowest host has soonest; UNPACKED in bytes."""

    def slowest(kind: tuple[str, int]) -> tuple[float, str]:
        return max((speed.seconds(unpacked, *kind), name) for name, speed in speeds.items())

    if not speeds:
        return Choice(format=USUAL[0], level=USUAL[1], reason="the usual one: nothing measured")
    usual, host = slowest(USUAL)
    best = min(RATIOS, key=slowest)
    if usual - slowest(best)[0] < WORTH_S:
        best = USUAL
    others = ", ".join(
        f"{_called(*kind)} {slowest(kind)[0]:.1f} s" for kind in RATIOS if kind != best
    )
    speed = speeds[host]
    link = f"{speed.link_mbit:.0f} Mbit/s and " if speed.link_mbit else ""
    return Choice(
        format=best[0],
        level=best[1],
        reason=f"{host} is the slowest with {link}{speed.gunzip_mb:.0f} MB/s of gunzip:"
        f" {_called(*best)} takes it some {slowest(best)[0]:.1f} s, {others}",
    )


def measure(
    fleet: Fleet, edge: Host, hosts: Sequence[Host], tell: Callable[[str], None]
) -> dict[str, Speed]:
    """The speeds of hosts; of a larger cluster, those of one host for each set of groups.

    A host that cannot be measured is left out: the choice does without it.
    """
    if len(hosts) > MOST_MEASURED:
        hosts = list({host.groups: host for host in hosts}.values())[:MOST_MEASURED]
    gunzip = measuring.each(
        fleet, hosts, tell, lambda host: call(fleet, host, "gunzip", GUNZIP_S, seconds=LIMIT_S)
    )
    speeds = {}
    for host in hosts:
        try:
            link = None if host == edge else link_speed.measure(fleet, edge, host, LINK_S)["there"]
        except ClusterError:
            continue
        if "error" not in gunzip[host.name]:
            speeds[host.name] = Speed(link_mbit=link, gunzip_mb=gunzip[host.name]["mb_per_s"])
    return speeds


def _called(format_: str, level: int) -> str:
    return format_ if format_ == "tar" else f"{format_} at level {level}"
