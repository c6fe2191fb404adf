from cluster.bench.result import Result


def result(**figures: float) -> Result:
    return Result(
        bench="x",
        rows=[],
        figures=figures,
        targets={"fast": (">=", 0.9), "small": ("<=", 1.3)},
    )


def test_a_target_reached_exactly_is_not_missed() -> None:
    assert result(fast=0.9, small=1.3).missed() == []


def test_each_miss_is_named_with_its_figure() -> None:
    assert result(fast=0.8, small=1.4).missed() == [
        "fast is 0.800, to reach >= 0.9",
        "small is 1.400, to reach <= 1.3",
    ]


def test_what_was_not_measured_is_not_missed() -> None:
    assert result(small=1.0).missed() == []
