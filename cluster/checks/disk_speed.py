"""How fast each host's data disk writes and reads."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from cluster.checks.base import Check, Facts, Finding, Verdict, reached, span, warning
from cluster.checks.measuring import each
from cluster.checks.program import call
from cluster.inventory import Host, Inventory
from cluster.ssh import Fleet

NAME = "disk-speed"
FOLDER = "/data"
MEGABYTES = 128
SECONDS = 3.0  # for writing, and again for reading
LIMIT_S = 30.0
# Any hard disk does more; a memory card may not.
LEAST_MB_S = 20.0
OF_PEERS = 0.5


def probe(
    fleet: Fleet, hosts: Sequence[Host], tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Write up to 128 MiB with fdatasync every 4 MiB and read it back past the page cache."""

    def measure(host: Host) -> dict[str, Any]:
        return call(fleet, host, "disk", FOLDER, MEGABYTES, SECONDS, seconds=LIMIT_S)

    return each(fleet, hosts, tell, measure)


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Hold each disk against the others, and against what any disk should do."""
    results = {host: known[NAME] for host, known in reached(facts) if NAME in known}
    measured = {host: result for host, result in results.items() if "error" not in result}
    findings: list[Finding] = []
    summary = []
    for way, key in (("writes", "write_mb_s"), ("reads", "read_mb_s")):
        if not measured:
            break
        middle = median(result[key] for result in measured.values())
        summary.append(f"{way} {span((result[key] for result in measured.values()), 'MiB/s')}")
        for host, result in measured.items():
            if result[key] >= max(LEAST_MB_S, OF_PEERS * middle):
                continue
            findings.append(
                warning(
                    host,
                    f"{result['folder']} {way} {result[key]:.0f} MiB/s, the hosts' median is"
                    f" {middle:.0f}.",
                    "See what else uses the disk (`iostat -x 1`), and its health (`smartctl -a`).",
                )
            )
    findings += [
        warning(host, result["error"], f"See that {FOLDER} has room and can be written to.")
        for host, result in results.items()
        if "error" in result
    ]
    return Verdict(summary=", ".join(summary) or "not measured", findings=tuple(findings))


CHECK = Check(
    name=NAME,
    title="disk speed",
    why="An environment is unpacked to it and images are read from it: a slow disk delays the first"
    " image, and then each one that is not in memory.",
    judge=judge,
    probe=probe,
)
