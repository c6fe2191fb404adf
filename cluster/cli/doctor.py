"""``cluster doctor``: what is wrong with the hosts of an inventory, and what to do."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.checks import CHECKS
from cluster.checks.base import Check, Severity, Verdict
from cluster.checks.examination import Examination, Fixed, examine, fix
from cluster.cli.inventory import pass_inventory
from cluster.cli.output import console, format_option
from cluster.errors import FAILED, ClusterError
from cluster.inventory import Inventory
from cluster.lab.access import require_up
from cluster.ssh import Fleet
from job.errors import UsageError

OK, UNKNOWN = "ok", "unknown"
# From the best to the worst.
COLOURS = {OK: "green", UNKNOWN: "dim", Severity.WARNING: "yellow", Severity.PROBLEM: "red"}


@click.command()
@click.option("--fix", "repair", is_flag=True, help="Do what does no harm, and say what was done.")
@click.option(
    "--check",
    "wanted",
    multiple=True,
    metavar="NAME",
    help="Only this check; may be given more than once.",
)
@click.option("--quick", is_flag=True, help="Leave out what takes seconds on each host.")
@click.option("--list", "only_list", is_flag=True, help="Name the checks, and ask no host.")
@format_option
@pass_inventory
@click.pass_context
def doctor(
    ctx: click.Context,
    path: Path,
    /,
    repair: bool,
    wanted: tuple[str, ...],
    quick: bool,
    only_list: bool,
    format_: str,
) -> None:
    """Look for what is wrong with the hosts: before a deployment and after it.

    Each finding says what is wrong, why it matters and what to do. Ends with 1 if there is a
    problem; warnings do not fail.

    \b
    Examples:
      cluster doctor
      cluster doctor --quick --format json
      cluster doctor --check clock --check names --fix
      cluster -i inventory/lab-hetero doctor --check cpu-speed
    """
    checks = _chosen(wanted, quick)
    if only_list:
        _list(checks, format_)
        return
    inventory = Inventory.load(path)
    require_up(inventory)
    progress = Console(stderr=True, highlight=False)
    with Fleet(inventory) as fleet, progress.status("") as status:

        def tell(text: str) -> None:
            if progress.is_terminal:
                status.update(text)
            else:
                click.echo(text, err=True)

        seen = examine(fleet, inventory, checks, tell)
        fixed: tuple[Fixed, ...] = ()
        if repair:
            fixed, seen = fix(fleet, inventory, checks, seen, tell)
    if format_ == "json":
        click.echo(json.dumps(_document(inventory, checks, seen, fixed)))
    elif seen.silent:
        raise _silent(inventory, seen)
    else:
        _show(checks, seen, fixed, repair)
    if seen.failed:
        ctx.exit(FAILED)


def _chosen(wanted: Sequence[str], quick: bool) -> tuple[Check, ...]:
    known = {check.name for check in CHECKS}
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(
            f"There is no check {unknown[0]}: `cluster doctor --list` names those there are."
        )
    return tuple(
        check
        for check in CHECKS
        if (not wanted or check.name in wanted) and not (quick and check.probe)
    )


def _list(checks: Sequence[Check], format_: str) -> None:
    if format_ == "json":
        keys = [{"name": c.name, "title": c.title, "why": c.why} for c in checks]
        click.echo(json.dumps({"checks": keys}))
        return
    table = Table("check", "looks at", "why")
    for check in checks:
        table.add_row(check.name, check.title, check.why)
    console.print(table)


def _state(verdict: Verdict, seen: Examination) -> str:
    """The worst that was found; nothing found means nothing where no host could be asked."""
    severities = {finding.severity for finding in verdict.findings}
    none = UNKNOWN if seen.silent else OK
    return max(severities, key=list(COLOURS).index, default=none)


def _silent(inventory: Inventory, seen: Examination) -> ClusterError:
    """What to say, instead of tables of nothing, where no host could be asked."""
    errors = [str(known["error"]) for known in seen.facts.values()]
    if not errors:
        return ClusterError(f"The inventory {inventory.path} has no host.")
    if len(errors) == 1:
        return ClusterError(errors[0])
    return ClusterError(
        f"None of the {len(errors)} hosts of {inventory.path} can be asked: {errors[0]}"
    )


def _document(
    inventory: Inventory, checks: Sequence[Check], seen: Examination, fixed: Sequence[Fixed]
) -> dict[str, Any]:
    """What docs/doctor.md describes."""
    return {
        "inventory": str(inventory.path),
        "failed": seen.failed,
        "checks": [
            {
                "name": check.name,
                "title": check.title,
                "why": check.why,
                "state": _state(verdict, seen),
                "summary": verdict.summary,
                "findings": [
                    {
                        "host": finding.host,
                        "severity": finding.severity,
                        "what": finding.what,
                        "do": finding.do,
                        "fix": finding.fix.what if finding.fix else None,
                    }
                    for finding in verdict.findings
                ],
            }
            for check in checks
            for verdict in (seen.verdicts[check.name],)
        ],
        "fixed": [asdict(each) for each in fixed],
        "facts": seen.facts,
    }


def _show(checks: Sequence[Check], seen: Examination, fixed: Sequence[Fixed], repair: bool) -> None:
    table = Table("check", "", "seen")
    for check in checks:
        verdict = seen.verdicts[check.name]
        state = _state(verdict, seen)
        table.add_row(check.title, f"[{COLOURS[state]}]{state}", verdict.summary)
    console.print(table)
    for check in checks:
        if not (findings := seen.verdicts[check.name].findings):
            continue
        console.print(f"\n[bold]{check.title}[/bold] ({check.name})")
        console.print(check.why, style="dim")
        for finding in findings:
            line = Text.assemble(
                "  ",
                (finding.severity, COLOURS[finding.severity]),
                " ",
                (finding.host, "bold"),
                f": {finding.what}",
            )
            console.print(line)
            console.print(f"    {finding.do}", markup=False)
            if finding.fix and not repair:
                console.print(f"    `cluster doctor --fix` does it: {finding.fix.what}.")
    if repair:
        console.print()
        for each in fixed:
            outcome = f"failed: {each.error}" if each.error else "done"
            console.print(f"{each.host or 'All hosts'}: {each.what}: {outcome}", markup=False)
        if not fixed:
            console.print("Nothing was found that can be fixed without a risk.")
