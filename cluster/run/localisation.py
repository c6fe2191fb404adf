"""When files came to a host's cache, from the log of its NodeManager.

YARN brings a file to a host once (docs/environment.md); what was there already leaves no line here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cluster.inventory import Host
from cluster.ssh import Fleet
from job.modes.cluster import model_archive

# A step of LocalizedResource, which the role hadoop has the NodeManager log. The size is unknown
# (-1) until all is there, and then that of what was unpacked.
STEP = re.compile(
    r"(?P<at>\d+\.\d+) .* localizer\.LocalizedResource: Resource"
    r" [^\s(]*/(?P<name>[^/\s(]+)(\(->\S+\))? size : (?P<bytes>-?\d+)"
    r" transitioned from (?P<before>\w+) to (?P<after>\w+)"
)
JOURNAL = (
    "journalctl --unit=yarn-nodemanager --output=short-unix --no-pager"
    " --grep='LocalizedResource: Resource .* transitioned'"
)
# What journalctl says, and then exits with 1, where no line matches.
NO_LINES = "-- No entries --"


@dataclass(frozen=True, kw_only=True)
class Localised:
    """A file came to a host; ``started_at`` by its clock, ``bytes`` as unpacked."""

    host: str
    name: str
    started_at: float
    seconds: float
    bytes: int


def localised_names(cluster: Mapping[str, Any], model_digest: str) -> list[str]:
    """What each host of a job.spec.ClusterSpec needs of HDFS for the model with a digest."""
    files = [cluster["archive"], cluster["spark_jars"], *cluster["orca_jars"]]
    return [*(PurePosixPath(file).name for file in files), model_archive(model_digest)]


def localised(
    fleet: Fleet, hosts: Iterable[Host], names: Sequence[str], since: float
) -> tuple[Localised, ...]:
    """The files called so, without folders, that came to NodeManagers' hosts since then.

    A host that cannot be asked tells of none: it may be the one that was lost.
    """

    def of_host(host: Host) -> tuple[Localised, ...]:
        answer = fleet.run(host, f"{JOURNAL} --since=@{int(since)}", sudo=True)
        journal = "" if NO_LINES in answer.stdout else answer.check().stdout
        return localised_in(journal, host=host.name, names=names, since=since)

    found = fleet.fan_out(hosts, of_host).values()
    return tuple(each for of_one in found if isinstance(of_one, tuple) for each in of_one)


def localised_in(
    journal: str, *, host: str, names: Sequence[str], since: float
) -> tuple[Localised, ...]:
    """The same from lines of one host's journal.

    What was on its way before is counted from ``since``, of what came several times the last.
    """
    began: dict[str, float] = {}
    found: dict[str, Localised] = {}
    for step in STEP.finditer(journal):
        name, at = step["name"], float(step["at"])
        if name not in names:
            continue
        if step["after"] == "DOWNLOADING":
            began[name] = at
        elif step["after"] == "LOCALIZED" and at >= since:
            start = max(began.get(name, since), since)
            found[name] = Localised(
                host=host, name=name, started_at=start, seconds=at - start, bytes=int(step["bytes"])
            )
    return tuple(found.values())
