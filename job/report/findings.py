"""What was found of hosts, and what a run would have taken otherwise, as report.json has it."""

from typing import Any

import numpy as np

from job.report.rounding import rounded
from job.report.timeline import TimeAxis
from job.stragglers import Cause, HostFactor, Verdict
from job.stragglers.findings import FREEZE, worst_first


def findings(found: Verdict, axis: TimeAxis) -> list[dict[str, Any]]:
    """All findings, those of stragglers first, what cost most before the others.

    The cost is that of the host: it stands with each of its findings that make it a straggler.
    """
    return [
        {
            "host": host.host,
            "kind": cause.kind,
            "straggler": cause.straggler,
            "text": cause.text,
            "action": cause.action,
            **_figures(host, cause, axis),
            "cost_s": rounded(cost)
            if cause.straggler and (cost := _cost(found, host.host)) is not None
            else None,
        }
        for host in worst_first(found.hosts)
        for cause in host.findings
    ]


def _figures(host: HostFactor, cause: Cause, axis: TimeAxis) -> dict[str, float | None]:
    """How slow it was, and when: of one that stood still its pace says nothing."""
    figures: dict[str, float | None] = dict.fromkeys(("factor", "low", "high", "since", "until"))
    if cause.kind == FREEZE and host.stood:
        begins, ends = zip(*host.stood, strict=True)
        figures |= {"since": min(begins), "until": max(ends)}
    elif cause.straggler and cause.kind != FREEZE:
        figures = {name: getattr(host, name) for name in figures}
    moments = {
        f"{name}_s": None if (at := figures[name]) is None else float(axis.at(np.array([at]))[0])
        for name in ("since", "until")
    }
    # The line of the verdict has two decimals: not from a number that is rounded already.
    digits = dict.fromkeys(("factor", "low", "high"), 5)
    return {
        name: None if value is None else rounded(value, digits=digits.get(name, 3))
        for name, value in (figures | moments).items()
    }


def what_if(found: Verdict) -> dict[str, Any] | None:
    """The replays, in s; None where no host was a straggler, or rows tell no times."""
    replay = found.what_if
    if replay is None:
        return None
    return {
        "actual_s": rounded(replay.actual),
        "replayed_s": rounded(replay.replayed),
        "all_healed_s": rounded(replay.all_healed),
        "ideal_s": rounded(replay.ideal),
        "hosts": [
            {
                "host": host,
                "healed_s": rounded(healed),
                "without_s": None
                if (without := replay.without[host]) is None
                else rounded(without),
                "cost_s": rounded(replay.cost_s(host)),
            }
            for host, healed in replay.healed.items()
        ],
    }


def _cost(found: Verdict, host: str) -> float | None:
    replay = found.what_if
    return replay.cost_s(host) if replay and host in replay.healed else None
