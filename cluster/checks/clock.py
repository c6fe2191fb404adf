"""The clocks of the hosts agree."""

from collections.abc import Mapping
from statistics import median

from cluster.checks.base import Check, Facts, Fix, Verdict, problem, reached, warning
from cluster.inventory import Inventory

WARN_S = 0.2  # a good part of an image's time, and of the second between two samples of a host
FAIL_S = 60.0
SERVICES = ("systemd-timesyncd", "chrony", "chronyd", "ntpsec", "ntp")


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """Compare each host's clock with the middle of all, as far as the round trip lets it be"
    " known."""
    clocks = {host: known["clock"] for host, known in reached(facts)}
    middle = median(clock["offset_s"] for clock in clocks.values()) if clocks else 0.0
    findings = []
    for host, clock in clocks.items():
        off = clock["offset_s"] - middle
        certain = max(0.0, abs(off) - clock["error_s"])
        services = {name: facts[host]["services"].get(name) for name in SERVICES}
        running = [name for name, state in services.items() if state == "active"]
        start = next((name for name, state in services.items() if state is not None), None)
        fix = None
        if start and not running and not facts[host]["container"]:
            fix = Fix(what=f"start {start}", command=f"systemctl enable --now {start}")
        if certain > WARN_S:
            judged = problem if certain > FAIL_S else warning
            way = "ahead of" if off > 0 else "behind"
            findings.append(
                judged(
                    host,
                    f"Its clock is {abs(off):.2f} s {way} the middle of all hosts'"
                    f" (known to {clock['error_s'] * 1000:.0f} ms).",
                    f"Let a time service set it: `systemctl enable --now {start or SERVICES[0]}`.",
                    fix,
                )
            )
        elif not running and not facts[host]["container"]:
            findings.append(
                warning(
                    host,
                    "No time service runs: its clock will drift away.",
                    f"Start one: `systemctl enable --now {start or SERVICES[0]}`.",
                    fix,
                )
            )
    if not clocks:
        return Verdict(summary="no host could be asked")
    widest = max(clock["offset_s"] for clock in clocks.values()) - min(
        clock["offset_s"] for clock in clocks.values()
    )
    known_to = max(clock["error_s"] for clock in clocks.values())
    return Verdict(
        summary=f"within {widest * 1000:.0f} ms of one another, known to {known_to * 1000:.0f} ms",
        findings=tuple(findings),
    )


CHECK = Check(
    name="clock",
    title="clock offset",
    why="Rows and samples of all hosts are laid on one time line; and YARN refuses to start a"
    " container whose token, by the node's clock, is older than ten minutes.",
    judge=judge,
)
