"""From nothing to a ready cluster, and a deployment that has nothing to change, in seconds.

Labs of nspawn machines with the shape of inventory/lab-yarn. The image and the archives are there
before the clock starts.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.bench.labs import command, prepare, remove
from cluster.bench.result import Result
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.lab import requirements
from cluster.lab.machines import machines_of
from cluster.places import repository

SHAPE = Path("inventory", "lab-yarn", "hosts.yml")
# The figures are those of this number of nodes.
NODES = 3
TARGETS = {"up_to_ready_s": ("<=", 180.0), "second_deploy_s": ("<=", 40.0)}
ON_EVERY_NODE = ("hdfs_datanode", "yarn_nodemanager")
TOTAL = "total"


def measure(*, nodes: Sequence[int], tell: Callable[[str], None]) -> Result:
    """``nodes``: how many machines each lab has.

    Raises:
        ClusterError: labs cannot run here, or a command failed; the sentence is its own.
    """
    prepare(tell)
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    for count in nodes:
        tell(f"A lab of {count}")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            measured = _measure(count, Path(folder) / f"lab-{count}")
        rows += measured
        if count == NODES:
            figures["up_to_ready_s"] = measured[-1]["first_s"]
            figures["second_deploy_s"] = measured[-1]["second_s"]
    return Result(bench="deploy", rows=rows, figures=figures, targets=TARGETS)


def inventory_of(count: int) -> dict[str, Any]:
    """lab-yarn with ``count`` machines: fewer of its own, or more like its last."""
    text = (repository() / SHAPE).read_text(encoding="utf-8")
    shape: dict[str, Any] = yaml.safe_load(text)["all"]
    given = list(shape["hosts"].items())
    network = given[0][1]["ansible_host"].rpartition(".")[0]
    hosts = {
        f"node{number + 1}": {
            **given[min(number, len(given) - 1)][1],
            "ansible_host": f"{network}.{11 + number}",
        }
        for number in range(count)
    }
    for group in ON_EVERY_NODE:
        shape["children"][group]["hosts"] = dict.fromkeys(hosts)
    return {"all": {**shape, "hosts": hosts}}


def write_inventory(folder: Path, count: int, **variables: float) -> None:
    """Make the inventory FOLDER of ``count`` machines, all with these variables."""
    content = inventory_of(count)
    content["all"]["vars"] |= variables
    folder.mkdir()
    (folder / "hosts.yml").write_text(yaml.safe_dump(content), encoding="utf-8")


def _measure(count: int, folder: Path) -> list[dict[str, Any]]:
    write_inventory(folder, count)
    requirements.check(machines_of(Inventory.load(folder)))
    try:
        begun = time.monotonic()
        command(folder, "lab", "up")
        up_s = time.monotonic() - begun
        first = json.loads(command(folder, "deploy", "--format", "json"))
        ready_s = time.monotonic() - begun
        begun = time.monotonic()
        second = json.loads(command(folder, "deploy", "--format", "json"))
        second_s = time.monotonic() - begun
        if second["changed"]:
            raise ClusterError(f"The second deployment changed {second['changed']}.")
    finally:
        remove(folder)
    roles = [{each["role"]: each["seconds"] for each in told["roles"]} for told in (first, second)]
    steps = {role: (roles[0].get(role), roles[1].get(role)) for role in roles[0] | roles[1]}
    rows = {"lab up": (up_s, None), **steps, TOTAL: (ready_s, second_s)}
    return [
        {"nodes": count, "step": step, "first_s": one, "second_s": two}
        for step, (one, two) in rows.items()
    ]
