"""`cluster bench deploy` with the smallest lab; its figures are those of three nodes."""

import json
import subprocess
from pathlib import Path

import yaml

from cluster.bench.deploy import TOTAL, inventory_of
from cluster.inventory import Inventory
from cluster.lab import nspawn
from tests.scenarios.conftest import can_run
from tests.scenarios.labs import COMMAND


def test_a_lab_comes_up_is_deployed_twice_and_is_gone(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory_of(1)), encoding="utf-8")
    can_run(Inventory.load(tmp_path))
    before = nspawn.labs()
    command = [COMMAND, "bench", "deploy", "--nodes", "1", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert nspawn.labs() == before
    told = json.loads(done.stdout)
    assert told["targets"]
    assert told["figures"] == {}
    steps = {row["step"]: row for row in told["rows"]}
    assert {"lab up", "base", "hdfs_namenode", "yarn_nodemanager"} < steps.keys()
    parts = [row["first_s"] for step, row in steps.items() if step != TOTAL]
    assert sum(filter(None, parts)) < steps[TOTAL]["first_s"]
    assert steps[TOTAL]["second_s"] < steps[TOTAL]["first_s"]
