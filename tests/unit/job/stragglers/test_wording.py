import pytest

from job.stragglers import STAGES
from job.stragglers.wording import STAGE_NAMES, count, duration, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2, "2.0"),
        (3.84, "3.8"),
        (0.0412, "0.041"),
        (12.6, "13"),
        (1239.6, "1,240"),
        (-0.5, "-0.50"),
        # Rounding carries into the next place.
        (9.97, "10"),
        (0.0997, "0.10"),
    ],
)
def test_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (6.1, "6.1 s"),
        (97.2, "97 s"),
        (119.4, "119 s"),
        (120, "2 min 0 s"),
        (725, "12 min 5 s"),
        (7199, "119 min 59 s"),
        (12_000, "3 h 20 min"),
        (7200, "2 h 0 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts() -> None:
    assert [count(n, "image") for n in (0, 1, 2, 12_000)] == [
        "0 images",
        "1 image",
        "2 images",
        "12,000 images",
    ]


def test_every_stage_has_a_name() -> None:
    assert set(STAGE_NAMES) == {*STAGES, "wait"}
