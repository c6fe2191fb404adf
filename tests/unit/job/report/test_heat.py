"""The heat map as it is drawn, and its colours for eyes of all kinds."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from job.report.heat import BOUNDS, LEVELS, heat_maps, level
from job.report.worst import ALL, WORST, losses, split
from tests.unit.job.report.conftest import palettes


def host(name: str, pace: list[float | None], **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "host": name,
        "pace": pace,
        "images": [0 if each is None else 4 for each in pace],
        "busy": [float(each is not None) for each in pace],
        "silent": [],
        "tasks": [],
        **{"begin_s": 0.0, "end_s": 10.0 * len(pace) - 5.0},
        **{"late_s": 0.0, "slow_s": 0.0, "stood_s": 0.0, "idle_s": 0.0},
    }
    return told | changes


def data(
    *hosts: Mapping[str, Any], slow: Mapping[str, tuple[float | None, float | None]] | None = None
) -> dict[str, Any]:
    """report.json, as far as the map needs it; ``slow`` are findings, since and until by host."""
    edges = [10.0 * step for step in range(len(hosts[0]["pace"]))]
    return {
        "progress": {"edges_s": [*edges, edges[-1] + 5.0], "hosts": list(hosts)},
        "verdict": {
            "findings": [
                {
                    "host": name,
                    "kind": "link",
                    "straggler": True,
                    "since_s": since,
                    "until_s": until,
                }
                for name, (since, until) in (slow or {}).items()
            ]
        },
    }


def test_the_scale_is_centred_on_one() -> None:
    assert np.array(BOUNDS) * BOUNDS[::-1] == pytest.approx(1)
    assert len(LEVELS) == len(BOUNDS) + 1 and sorted(BOUNDS) == list(BOUNDS)
    assert [level(each) for each in (0.1, 0.4, 0.9, 1, 1.1, 1.15, 1.9, 2.5, 80)] == [
        *("fast4", "fast3", "usual", "usual", "usual", "slow1", "slow2", "slow3", "slow4"),
    ]


def test_neighbours_of_one_colour_are_one_box() -> None:
    (drawn,) = heat_maps(data(host("a", [1.0, 1.1, None, 1.9, 1.8, 1.0])))
    assert dict(drawn.cells) == {
        "usual": "M0,0.08H2v0.84H0zM5,0.08H5.5v0.84H5z",
        "slow2": "M3,0.08H5v0.84H3z",
    }
    assert drawn.width == 5.5, "the last step is half of one"


def test_each_cell_says_its_numbers() -> None:
    slow = host("a", [1.0, 1.87, None, 1.0], silent=[[20.0, 30.0]])
    areas = heat_maps(data(slow))[0].areas
    assert [area.title for area in areas[1:]] == [
        "a, 10 s to 20 s: 1.87x, 4 images finished",
        "a, 30 s to 35 s: 1.00x, 4 images finished",
        "a, 20 s to 30 s: had a task and finished nothing for 10 s",
    ]
    assert [(area.x, area.y, area.width) for area in areas[1:]] == [
        (1, 0, 1),
        (3, 0, 0.5),
        (2, 0, 1),
    ]


def test_a_silence_is_a_line_over_its_time() -> None:
    hosts = host("a", [1.0, 1.0, 1.0]), host("b", [1.0, None, 1.0], silent=[[8.0, 19.0]])
    assert heat_maps(data(*hosts))[0].silent == "M0.80,1.5H1.90"


def test_a_slow_stretch_has_a_frame() -> None:
    hosts = [host(name, [1.0, 1.9, 1.9]) for name in "abc"]
    (drawn,) = heat_maps(
        data(*hosts, slow={"b": (12.0, None), "c": (None, 20.0), "gone": (1.0, 2.0)})
    )
    assert drawn.found == "M1.20,1.08H2.50v0.84H1.20zM0.00,2.08H2.00v0.84H0.00z"
    (plain,) = heat_maps(data(*hosts))
    assert plain.found == ""


def test_the_host_that_lost_most_comes_first_and_the_unknown_last() -> None:
    hosts = [
        host("idle", [None], slow_s=None, late_s=None, stood_s=None),
        host("usual", [1.0]),
        host("late", [1.0], late_s=20.0),
        host("slow", [1.9], slow_s=40.0),
        host("frozen", [1.0], stood_s=22.0, slow_s=-1.0),
    ]
    (drawn,) = heat_maps(data(*hosts))
    assert drawn.names == ("slow", "frozen", "late", "usual", "idle")
    assert [losses(hosts[at]) for at in range(5)] == [
        *("no image", "as fast as the others", "began 20 s late", "40 s longer for its images"),
        "stood 22 s",
    ]


@pytest.mark.parametrize(("count", "maps"), [(ALL, [ALL]), (ALL + 1, [WORST, ALL + 1 - WORST])])
def test_of_many_hosts_the_worst_have_names(count: int, maps: list[int]) -> None:
    hosts = [host(f"node{at}", [1.0 + at / 10] * 6, slow_s=float(at)) for at in range(count)]
    drawn = heat_maps(data(*hosts))
    assert [len(each.names) for each in drawn] == maps
    assert drawn[0].names[0] == f"node{count - 1}" and drawn[0].pixels is None
    for rest in drawn[1:]:
        assert rest.names[-1] == "node0" and rest.pixels == 2 * len(rest.names)
        assert len(rest.areas) == len(rest.names), "a thin row says all it has in one"
    assert [len(part) for part in split(data(*hosts))] == [maps[0], count - maps[0]]


def test_scatter_on_every_host_stays_small() -> None:
    paces = np.exp(np.random.default_rng(3).normal(0, 1, (500, 72)))
    hosts = [host(f"node{at:03}", list(row)) for at, row in enumerate(paces)]
    drawn = heat_maps(data(*hosts))
    assert sum(len(path) for each in drawn for _, path in each.cells) < 700_000
    assert sum(len(each.areas) for each in drawn) < 3000


def test_nothing_timed_is_no_map() -> None:
    assert heat_maps(data(host("a", [None, None]))) == ()


# What eyes without one of the three cones see of linear RGB (Machado, Oliveira, Fernandes 2009).
SIGHT = {
    "all": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear(theme: str) -> dict[str, Any]:
    """The colours of report.css by name, as linear RGB."""
    return {
        name: np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        for name, colour in palettes()[theme].items()
        for rgb in (colour / 255,)
    }


def luminance(rgb: Any) -> float:
    return float(rgb @ [0.2126, 0.7152, 0.0722])


def contrast(one: Any, other: Any) -> float:
    """As WCAG has it, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: Any) -> Any:
    """CIE L*a*b* of linear RGB; a distance of 2 can be seen side by side, 10 at a glance."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(np.maximum(to_xyz @ rgb / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_eye_can_tell_the_levels_apart(theme: str, sight: str) -> None:
    colours = linear(theme)
    seen = {name: lab(np.clip(SIGHT[sight] @ colours[name], 0, 1)) for name in (*LEVELS, "card")}
    for one, other in pairwise(LEVELS):
        assert np.linalg.norm(seen[one] - seen[other]) > 9, f"{one} beside {other}"
    for number in range(1, 5):
        apart = np.linalg.norm(seen[f"slow{number}"] - seen[f"fast{number}"])
        assert apart > 15, f"slow and fast {number}"
    assert np.linalg.norm(seen["usual"] - seen["card"]) > 5, "no task"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_further_from_usual_the_stronger(theme: str) -> None:
    colours = linear(theme)
    for side in ("slow", "fast"):
        against = [contrast(colours[f"{side}{n}"], colours["card"]) for n in range(1, 5)]
        assert against == sorted(against)
        assert against[-1] > 4.5 and against[0] > contrast(colours["usual"], colours["card"])
