"""What pages and terminals tell of stragglers, from the data alone."""

from typing import Any

import pytest

from job.report.cards import (
    Marked,
    cards,
    log_cards,
    log_what_if,
    remarks,
    stretches,
    what_if,
    when,
)


def finding(host: str, kind: str, **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        **{"host": host, "kind": kind, "straggler": True, "text": f"{kind} is short"},
        **{"action": f"mend {kind}", "factor": 1.9, "low": 1.8, "high": 2.0, "cost_s": 4.0},
        **{"since_s": 41.0, "until_s": None},
    }
    return told | changes


FROZEN = finding(
    "b", "freeze", factor=None, low=None, high=None, cost_s=3.0, since_s=9.0, until_s=12.0
)
FOUND = [
    finding("a", "link"),
    finding("a", "disk"),
    FROZEN,
    finding("a", "skew", straggler=False),
    finding("c", "weak", straggler=False),
    finding("d", "weak", straggler=False),
    finding("d", "misconfigured", straggler=False),
]
REPLAY = {
    **{"actual_s": 100.0, "replayed_s": 98.0, "all_healed_s": 60.0, "ideal_s": 50.0},
    "hosts": [
        {"host": "a", "healed_s": 70.0, "without_s": 120.0, "cost_s": 28.0},
        {"host": "b", "healed_s": 98.0, "without_s": None, "cost_s": 0.0},
    ],
}


def test_a_straggler_has_one_card_with_all_its_causes() -> None:
    first, second = cards({"findings": FOUND})
    assert (first.host, first.labels) == ("a", ("slow link", "slow disk"))
    assert first.told == (("link is short", "mend link"), ("disk is short", "mend disk"))
    assert (first.factor, first.low, first.high, first.cost_s) == (1.9, 1.8, 2.0, 4.0)
    assert first.when == "from 41 s into the run on"
    assert (second.host, second.labels, second.factor) == ("b", ("stood still",), None)
    assert (second.when, second.cost_s) == ("from 9.0 s to 12 s into the run", 3.0)


def test_a_slow_host_that_stood_still_is_told_by_its_pace() -> None:
    freeze = FROZEN | {"host": "a"}
    (card,) = cards({"findings": [freeze, finding("a", "memory")]})
    assert (card.factor, card.when) == (1.9, "from 41 s into the run on")
    assert card.labels == ("stood still", "memory short")


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        (None, None, "all along"),
        (None, 80.0, "until 80 s into the run"),
        (0.0, 80.0, "from 0 s to 80 s into the run"),
        (41.0, None, "from 41 s into the run on"),
    ],
)
def test_when_in_words(since: float | None, until: float | None, words: str) -> None:
    assert when(since, until) == words


def test_a_stretch_without_an_end_is_as_long_as_the_host_worked() -> None:
    found = [finding("a", "link"), finding("c", "disk", since_s=None, until_s=30.0), FROZEN]
    worked = [{"host": name, "begin_s": 5.0, "end_s": 90.0} for name in ("a", "b", "c")]
    data = {"verdict": {"findings": found}, "progress": {"hosts": worked}}
    assert stretches(data) == {
        "a": (Marked(begin=41.0, end=90.0, what="slow"),),
        "b": (Marked(begin=9.0, end=12.0, what="standing still"),),
        "c": (Marked(begin=5.0, end=30.0, what="slow"),),
    }
    worked[0] |= {"begin_s": None, "end_s": None}
    assert stretches(data).keys() == {"b", "c"}, "without an image it has no place"


def test_two_causes_of_one_stretch_are_marked_once() -> None:
    worked = [{"host": "a", "begin_s": 5.0, "end_s": 90.0}]
    found = [finding("a", "link"), finding("a", "disk"), finding("a", "skew", straggler=False)]
    data = {"verdict": {"findings": found}, "progress": {"hosts": worked}}
    assert [mark.begin for mark in stretches(data)["a"]] == [41.0]


def test_what_keeps_nobody_waiting_is_told_by_kind() -> None:
    groups = remarks({"findings": FOUND})
    assert [(group.kind, [host for host, *_ in group.told]) for group in groups] == [
        ("misconfigured", ["d"]),
        ("skew", ["a"]),
        ("weak", ["c", "d"]),
    ]


def test_the_bars_of_what_if() -> None:
    assert what_if(None) is None
    found = what_if(REPLAY)
    assert found is not None
    assert [(bar.label, bar.seconds, bar.saved) for bar in found.bars] == [
        ("as it was", 100.0, ""),
        ("a at its peers' pace", 70.0, "28 s less"),
        ("without a", 120.0, "22 s more"),
        ("b at its peers' pace", 98.0, ""),
        ("no host slow", 60.0, "38 s less"),
        ("ideal", 50.0, "48 s less"),
    ]
    assert max(bar.share for bar in found.bars) == 100
    assert found.bars[0].share == pytest.approx(100 / 1.2)
    assert found.replayed_s == 98.0


def test_of_one_straggler_no_host_slow_is_said_once() -> None:
    found = what_if(REPLAY | {"hosts": REPLAY["hosts"][:1]})
    assert found is not None and "no host slow" not in [bar.label for bar in found.bars]


def log() -> dict[str, Any]:
    cause = {"kind": "gc", "text": "it collects", "action": "more memory"}
    usual = {"straggler": False, "slow": False, "factor": 1.0, "low": 0.9, "high": 1.1}
    slow = {"straggler": True, "slow": True, "factor": 2.0, "low": 1.8, "high": 2.2}
    held = {"straggler": True, "slow": False, "factor": 1.02, "low": 0.9, "high": 1.2}
    replay = {"actual": 20.0, "replayed": 19.0, "healed": {"s": 12.0}, "without": {"s": 25.0}}
    stage = {"stage": 3, "attempt": 1, "name": "map"}
    return {
        "hosts": [
            {"host": "u", **usual, "cause": None, "cost_s": None},
            {"host": "h", **held, "cause": cause | {"kind": "held"}, "cost_s": None},
            {"host": "s", **slow, "cause": cause, "cost_s": 7.0},
        ],
        "stages": [
            {**stage, "stage": 1, "what_if": None},
            {**stage, "stage": 2, "what_if": replay | {"all_healed": 18.0}},
            {**stage, "what_if": replay | {"all_healed": 12.0}},
        ],
    }


def test_the_stragglers_of_an_event_log() -> None:
    slow, held = log_cards(log())
    assert (slow.host, slow.labels, slow.factor, slow.cost_s) == (
        *("s", ("garbage collection",)),
        *(2.0, 7.0),
    )
    assert (held.host, held.labels, held.factor) == ("h", ("held tasks up",), None)


def test_the_stages_of_an_event_log_with_most_to_gain() -> None:
    (first,) = log_what_if(log(), most=1)
    assert first.title == "Stage 3.1: map"
    assert [(bar.label, bar.seconds) for bar in first.bars] == [
        ("as it was", 20.0),
        ("s at its peers' pace", 12.0),
        ("without s", 25.0),
    ]
    assert [each.title for each in log_what_if(log(), most=5)] == [
        "Stage 3.1: map",
        "Stage 2.1: map",
    ]
