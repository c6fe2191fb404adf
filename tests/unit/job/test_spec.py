from pathlib import Path
from typing import Any

import pytest

from job.errors import UsageError
from job.spec import JobSpec


def spec(**changes: Any) -> JobSpec:
    return JobSpec(
        **{"mode": "local", "model": Path("m"), "input": "in", "output": Path("out"), **changes}
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mode", "cloud"),
        ("engine", "tensorflow"),
        ("precision", "int4"),
        ("executor_cores", 0),
        ("partitions", -1),
        ("limit", 0),
    ],
)
def test_a_wrong_option_is_named(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} {value}"):
        spec(**{option: value})


def test_options_make_the_same_spec_again() -> None:
    asked = spec(
        executors=3,
        executor_memory_mb=2048,
        queue="q",
        avoid=["node2"],
        speeds={"node1": 2.5},
        executor_cores=2,
        conf={"spark.x": "1"},
        limit=3,
        overlays=True,
    )
    assert spec(**asked.options()) == asked
