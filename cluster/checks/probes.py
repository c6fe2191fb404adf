"""What the probes measured, kept beside the inventory as each host's own yardstick.

A later slowness of a host is told from a weakness by design by what it could do when it was probed.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
FILE = ".probes.json"


def file(inventory: Path) -> Path:
    """Where the results of an inventory's hosts are; Ansible does not read hidden files."""
    return (inventory if inventory.is_dir() else inventory.parent) / FILE


def load(inventory: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """By host, then by the probe's name (cpu-speed, disk-speed, link-speed); empty without a file.

    Each has ``measured_at`` (ISO 8601, UTC); the rest is what docs/doctor.md lists.
    """
    try:
        kept = json.loads(file(inventory).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    hosts: dict[str, dict[str, dict[str, Any]]] = kept["hosts"]
    return hosts


def keep(inventory: Path, probe: str, measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Put new results over those of the same hosts and probe; a failed one leaves the old."""
    hosts, now = load(inventory), datetime.now(UTC).isoformat(timespec="seconds")
    for host, result in measured.items():
        if "error" not in result:
            hosts.setdefault(host, {})[probe] = {"measured_at": now, **result}
    kept = json.dumps({"schema_version": SCHEMA_VERSION, "hosts": hosts}, indent=1)
    new = file(inventory).with_suffix(".new")
    new.write_text(kept + "\n", encoding="utf-8")
    new.replace(file(inventory))
