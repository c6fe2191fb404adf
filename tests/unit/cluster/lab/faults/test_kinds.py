from typing import Any

import pytest

from cluster.lab.faults.kinds import KINDS, Order, Truth
from job.errors import UsageError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "cpu"}, ["cpu", "cpu-quota"]),
        ({"kind": "cpu-quota", "factor": 1.0}, ["--factor is 1", "above 1"]),
        ({"kind": "cpu-quota", "factor": float("nan")}, ["--factor is nan"]),
        ({"kind": "cpu-quota", "factor": 101}, ["--factor", "100"]),
        ({"kind": "freeze", "factor": 2}, ["freeze", "no factor"]),
        ({"kind": "freeze", "seconds": 0}, ["--for is 0"]),
        ({"kind": "freeze", "seconds": 3601}, ["--for is 3601", "3600"]),
        ({"kind": "freeze", "options": {"mbit": 1}}, ["freeze", "--mbit"]),
        ({"kind": "link", "options": {"loss": 101}}, ["--loss is 101", "100"]),
        ({"kind": "link", "options": {"mbit": -1}}, ["--mbit is -1"]),
        ({"kind": "link", "factor": 2, "options": {"mbit": 1}}, ["--factor or --mbit"]),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        Order(host="node2", **given)
    assert all(word in str(caught.value) for word in words)


def test_a_factor_is_the_kinds_own_unless_an_option_says_what_to_do() -> None:
    assert Order(kind="link", host="node2").factor == KINDS["link"].factor
    assert Order(kind="link", host="node2", options={"loss": 1}).factor is None
    assert Order(kind="link", host="node2", factor=2, options={"loss": 1}).factor == 2
    assert Order(kind="freeze", host="node2").factor is None


def test_a_line_of_ground_truth_is_read_as_it_was_written() -> None:
    truth = Truth(
        kind="link", host="node2", factor=None, details={"mbit": 10.0}, began=1.5, ended=3.0
    )
    row = truth.row()
    assert row == {
        "kind": "link",
        "host": "node2",
        "factor": None,
        "mbit": 10.0,
        "from": 1.5,
        "to": 3.0,
    }
    assert Truth.parse(row) == truth
