"""Asks the hosts for the facts that the checks judge."""

import json
import time
from collections.abc import Sequence
from typing import Any

from cluster.checks import cache, clock, disk_space, memory
from cluster.checks.base import Facts
from cluster.checks.measuring import told
from cluster.checks.program import call
from cluster.daemons import CENTRAL, DAEMONS, daemons_of
from cluster.inventory import Host, Inventory
from cluster.ssh import Fleet

FACTS_S = 45.0
# The quickest round trip bounds the offset best.
CLOCK_ROUNDS = 4
FOLDERS = ("/", "/data")
FOLDER_SETTINGS = (
    "dfs.namenode.name.dir",
    "dfs.datanode.data.dir",
    cache.LOCAL_FOLDERS,
    "yarn.nodemanager.log-dirs",
)
SETTINGS = (
    *FOLDER_SETTINGS,
    cache.TARGET,
    memory.YARN_SETTING,
    disk_space.LIMIT_PERCENT,
    disk_space.LIMIT_FREE_MB,
)
CONFIGURATION = ("/etc/hadoop/conf/hdfs-site.xml", "/etc/hadoop/conf/yarn-site.xml")


def collect(fleet: Fleet, inventory: Inventory, hosts: Sequence[Host]) -> dict[str, Facts]:
    """The facts of each host; {"error": sentence} of one that could not be asked."""
    question = json.dumps(
        {
            "units": [daemon.unit for daemon in DAEMONS],
            "services": clock.SERVICES,
            "configuration": CONFIGURATION,
            "settings": SETTINGS,
            "folders": FOLDERS,
            "folder_settings": FOLDER_SETTINGS,
            "cache_setting": cache.LOCAL_FOLDERS,
            "names": {host.name: host.address for host in inventory.hosts},
            "connect": [
                (host.address, port)
                for host in inventory.hosts
                for daemon in daemons_of(host)
                if daemon.group in CENTRAL
                for port in daemon.ports
            ],
        }
    )

    def ask(host: Host) -> dict[str, Any]:
        offset = measure_clock(fleet, host)
        return {**call(fleet, host, "facts", question, seconds=FACTS_S), "clock": offset}

    return dict(told(fleet.fan_out(hosts, ask)))


def measure_clock(fleet: Fleet, host: Host) -> dict[str, float]:
    """How far a host's clock is ahead of this one's, in seconds, and how well that is known.

    The host read its clock at some moment between question and answer: half the round trip is the
    most that the middle can be wrong by.
    """
    rounds = []
    for _ in range(CLOCK_ROUNDS):
        asked = time.time()
        there = float(fleet.run(host, "date +%s.%N").check().stdout)
        answered = time.time()
        rounds.append(
            {"error_s": (answered - asked) / 2, "offset_s": there - (asked + answered) / 2}
        )
    return min(rounds, key=lambda measured: measured["error_s"])
