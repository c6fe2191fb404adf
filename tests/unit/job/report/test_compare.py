import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job.errors import UsageError
from job.report import compare

MakeRun = Callable[..., Path]
TWO = ["node1", "node2"]


def test_a_host_that_has_become_slow_is_named(make_run: MakeRun) -> None:
    before = make_run(TWO, images=200, name="before")
    after = make_run(TWO, images=200, name="after", slow={"node2": 2.0}, engine="orca")
    told: dict[str, Any] = json.loads(json.dumps(compare(before, after), allow_nan=False))
    assert told["text"].startswith("node2 takes ")
    assert "200 images in " in told["text"]
    changed = {host["host"]: host["changed"] for host in told["hosts"]}
    assert changed == {"node1": False, "node2": True}
    assert [Path(run["run"]).name for run in told["runs"]] == ["before", "after"]
    assert {"name": "engine", "values": ["native", "orca"]} in told["configuration"]
    assert len(told["stages"]) == 8
    assert compare(before, before)["text"].startswith(
        "The hosts are as fast as before; 200 images in "
    )
    assert compare(before, before)["configuration"] == []


def test_other_images_and_another_model_are_told(make_run: MakeRun) -> None:
    before = make_run(TWO, name="before")
    model = json.loads((before / "run.json").read_text())["model"] | {
        "digest": "sha256:" + "1" * 64
    }
    notes = compare(before, make_run(TWO, name="after", input="elsewhere", model=model))["notes"]
    assert len(notes) == 2
    assert "inputs" in notes[0] and "models differ" in notes[1]


def test_runs_without_a_host_in_common_are_not_called_alike(make_run: MakeRun) -> None:
    told = compare(make_run(["a"], name="before"), make_run(["b"], name="after"))
    assert told["text"].startswith("No host can be compared")


def test_a_folder_without_a_run_is_one_sentence(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run\.json"):
        compare(make_run(TWO), tmp_path)
