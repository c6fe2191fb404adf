"""The page of an event log, from the data of eventlog.schema.json alone."""

from collections.abc import Mapping
from typing import Any

from job.report.cards import log_cards, log_hosts, log_what_if
from job.report.templates import ROWS, fill

REPLAYS = 3  # stages with a what-if of their own
_STATUS = {
    "slow": ("bad", "Straggler found"),
    "held": ("bad", "Straggler found"),
    "uncertain": ("warn", "Not certain"),
    "none": ("good", "No straggler"),
    "cannot_tell": ("plain", "Cannot tell"),
}
# What no host has would only take room: heading by name.
_COUNTS = {"failed": "failed", "outrun": "outrun", "executors_lost": "executors lost"}


def render_log(log: Mapping[str, Any]) -> str:
    """The page."""
    stages = sorted(log["stages"], key=lambda stage: -stage["seconds"])
    values = {
        "status": _STATUS[log["verdict"]["kind"]],
        "line": log["verdict"]["text"],
        "cards": log_cards(log),
        "replays": log_what_if(log, most=REPLAYS),
        "hosts_shown": log_hosts(log)[:ROWS],
        "host_counts": {
            name: heading
            for name, heading in _COUNTS.items()
            if any(host[name] for host in log["hosts"])
        },
        "spilled": any(host["spilled_bytes"] for host in log["hosts"]),
        "stages_shown": stages[:ROWS],
        "longest_stage": max((stage["seconds"] or 0 for stage in stages), default=0) or 1,
    }
    return fill("log.html.j2", {**log, **values})
