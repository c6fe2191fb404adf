import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.console import Console

from cluster.bench import startup
from cluster.bench.stragglers import measure
from cluster.cli.tables import table

WIDTH = 80
FIGURES = ("host_precision_alike", "slowdown_error_median", "false_alarms_per_100")
KINDS = ("cold", "cpu-neighbour", "memory")


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    printed = io.StringIO()
    Console(file=printed, width=WIDTH).print(table(rows))
    return printed.getvalue().splitlines()


def of_stragglers() -> list[dict[str, Any]]:
    figure = {"value": 0.9876, "low": 0.9712, "high": 0.9991, "of": 20117}
    return [
        *(
            {"judge": judge, "data": measure.SIMULATED, "figure": name, **figure}
            for judge in measure.JUDGES
            for name in FIGURES
        ),
        *(
            {"kind": kind, "data": measure.SIMULATED, "hosts": 1234, "named": 0.5}
            | dict.fromkeys(measure.JUDGES, 1.0)
            for kind in KINDS
        ),
    ]


def of_startup() -> list[dict[str, Any]]:
    common = {"lab": startup.HETERO, "way": startup.RESTARTED, "host": "medium1"}
    return [common | dict.fromkeys(startup.START_COLUMNS, 123.4)]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (measure.tables(of_stragglers()), (*FIGURES, *KINDS, *measure.JUDGES)),
        (startup.tables(of_startup()), ("ours, warm,", "NodeManagers restarted", "123.4")),
    ],
)
def test_the_widest_tables_are_whole_at_80_columns(
    tables: Sequence[Sequence[Mapping[str, Any]]], words: Sequence[str]
) -> None:
    printed = [line for rows in tables for line in lines(rows)]
    assert max(map(len, printed)) <= WIDTH
    for word in words:
        assert any(word in line for line in printed), word
    assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(printed)


def test_a_value_stands_below_its_name_in_whichever_row_it_is() -> None:
    head, _, first, second = lines(
        [{"way": "alone", "rate": 4.25}, {"way": "all", "ratio": 1.5, "seconds": math.inf}]
    )
    assert head.split() == ["way", "rate", "ratio", "seconds"]
    assert first.split() == ["alone", "4.250", "-", "-"]
    assert second.split() == ["all", "-", "1.500", "inf"]


def test_a_heading_is_no_wider_than_it_has_to_be() -> None:
    printed = lines([{"first_image_s": 12.5, "images": 5}])
    assert [line.split() for line in printed[:3]] == [["first"], ["image"], ["s", "images"]]
    assert printed[-1].split() == ["12.50", "5"]
