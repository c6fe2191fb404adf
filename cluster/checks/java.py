"""The same Java on every host, of the version that everything was tried on."""

from collections.abc import Mapping

from cluster.checks.base import Check, Facts, Verdict, deployed, problem, reached, warning
from cluster.inventory import Inventory

MAJOR = "17"


def judge(facts: Mapping[str, Facts], inventory: Inventory) -> Verdict:
    """The installed Java, and the one that each daemon was started with."""
    findings = []
    versions = {host: known["java"] for host, known in reached(facts)}
    for host, version in versions.items():
        if version is None:
            if deployed(facts):
                findings.append(
                    problem(host, "It has no Java.", f"`cluster deploy --limit {host}`.")
                )
            continue
        if version.split(".")[0] != MAJOR:
            findings.append(
                problem(
                    host,
                    f"/usr/bin/java is version {version}, not {MAJOR}.",
                    f"Run `cluster deploy --limit {host}`, then `update-alternatives --config java`"
                    " there.",
                )
            )
        for unit, state in facts[host]["units"].items():
            if state["java"] not in (None, version):
                findings.append(
                    warning(
                        host,
                        f"{unit} still runs Java {state['java']}; {version} is installed.",
                        f"Restart {unit}.",
                    )
                )
    found = sorted({version for version in versions.values() if version})
    if len(found) > 1:
        newest = max(found, key=_numbers)
        findings += [
            warning(host, f"It has Java {version}, others {newest}.", "Upgrade it to the same.")
            for host, version in versions.items()
            if version not in (None, newest)
        ]
    return Verdict(summary=", ".join(found) or "none installed yet", findings=tuple(findings))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.replace("+", ".").split(".") if part.isdigit()]


CHECK = Check(
    name="java",
    title="Java version",
    why="Driver, executors and daemons talk in serialised Java objects, and only Java 17 is tried"
    " with these versions of Hadoop and Spark.",
    judge=judge,
)
