import numpy as np
import pytest

from job.report.timeline import Grid, TimeAxis

NAN = float("nan")


def test_an_axis_leaves_pauses_out() -> None:
    axis = TimeAxis.spanning(np.array([100.0, 5000.0, 130.0]), np.array([140.0, 5010.0, 150.0]))
    assert axis.segments.tolist() == [[100, 150], [5000, 5010]]
    assert axis.seconds == 60
    at = axis.at(np.array([100.0, 125.0, 150.0, 3000.0, 5000.0, 5010.0, 9999.0]))
    assert at.tolist() == [0, 25, 50, 50, 50, 60, 60]
    assert axis.pauses() == [{"at_s": 50, "seconds": 4850}]


def test_a_long_interval_bridges_a_silence() -> None:
    axis = TimeAxis.spanning(np.array([0.0, 10.0, 900.0]), np.array([1000.0, 11.0, 901.0]))
    assert axis.segments.tolist() == [[0, 1000]]


def test_unknown_and_backward_times_do_no_harm() -> None:
    axis = TimeAxis.spanning(np.array([NAN, 10.0, 20.0]), np.array([5.0, 8.0, NAN]))
    assert axis.segments.tolist() == [[10, 10]]
    assert np.isnan(axis.at(np.array([NAN]))[0])
    assert TimeAxis.spanning(np.array([NAN]), np.array([NAN])).seconds == 0


def test_segments_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="in order"):
        TimeAxis(segments=np.array([[5.0, 6.0], [1.0, 2.0]]))


@pytest.mark.parametrize(
    ("seconds", "edges", "rates"),
    [
        (26.0, [0, 10, 20, 26], [0.2, 0.1, 1 / 6]),
        (20.01, [0, 10, 20.01], [0.2, 2 / 10.01]),
    ],
)
def test_a_rate_goes_by_the_length_of_the_step(
    seconds: float, edges: list[float], rates: list[float]
) -> None:
    grid = Grid(axis=TimeAxis(segments=np.array([[0.0, seconds]])), step=10.0)
    assert grid.edges.tolist() == edges
    places = grid.places(np.array([0.0, 9.9, 10.0, seconds, NAN]))
    assert places.tolist() == [0, 0, 1, len(edges) - 2, -1]
    assert grid.rate(places) == pytest.approx(rates)


def test_means_are_of_what_was_measured() -> None:
    grid = Grid(axis=TimeAxis(segments=np.array([[0.0, 30.0]])), step=10.0)
    means = grid.means(np.array([0, 0, 1, 2, -1]), np.array([1.0, 3.0, NAN, 7.0, 9.0]))
    assert means[[0, 2]].tolist() == [2, 7] and np.isnan(means[1])


@pytest.mark.parametrize("seconds", [0.0, 0.2, 6.1, 97, 40_000, 1e8])
@pytest.mark.parametrize("most", [15, 90])
def test_steps_are_few_and_end_with_the_axis(seconds: float, most: int) -> None:
    edges = Grid.within(TimeAxis(segments=np.array([[0.0, seconds]])), most=most).edges
    assert 2 <= len(edges) <= most + 1
    assert (np.diff(edges) > 0).all() and edges[-1] == (seconds or 0.5)
