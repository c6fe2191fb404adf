import pytest

from cluster.bench.stragglers.faults import Fault


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "gremlin"}, "no fault gremlin"),
        ({"kind": "link", "factor": 0.5}, "slows nothing"),
        ({"kind": "link", "since": 5, "until": 5}, "ends after"),
        ({"kind": "freeze"}, "a freeze ends"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Fault(**fields)  # type: ignore[arg-type]


def test_cold_and_skew_are_there_at_the_start() -> None:
    assert Fault(kind="cold", since=0).at_start and Fault(kind="link").at_start
    assert not Fault(kind="link", since=3).at_start
