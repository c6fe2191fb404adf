"""The daemons may open as many files as they need."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, problem, reached, warning
from cluster.inventory import Inventory

# A DataNode serves 4096 transfers at once, each with a block, its checksums and two sockets.
WANTED = 16384
LEAST = 4096


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """The limit of each running daemon, as the kernel has it."""
    findings, limits = [], []
    for host, known in reached(facts):
        for unit, state in known["units"].items():
            limit = state["open_files"]
            if limit is None:
                continue
            limits.append(limit)
            if limit < WANTED:
                findings.append(
                    (problem if limit < LEAST else warning)(
                        host,
                        f"{unit} may open {limit} files, fewer than {WANTED}.",
                        "Raise LimitNOFILE of its unit and restart it; a container has no more"
                        " than its host.",
                    )
                )
    return Verdict(
        summary=f"at least {min(limits)} for each of {len(limits)} daemons"
        if limits
        else "no daemon runs yet",
        findings=tuple(findings),
    )


CHECK = Check(
    name="open-files",
    title="open-file limit",
    why="Each block being read or written is an open file and a socket; at the limit a DataNode"
    " drops its connections and jobs fail far from the cause.",
    judge=judge,
)
