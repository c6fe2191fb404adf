import numpy as np
import pytest
from numpy.testing import assert_allclose

from job.stragglers.model import Factor, against_others, bootstrap_medians


def test_a_factor_without_its_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="interval"):
        Factor(host="a", factor=1.2, low=1.1)
    with pytest.raises(ValueError, match="interval"):
        Factor(host="a", low=1.1, high=1.3)


@pytest.mark.parametrize(
    ("factor", "low", "slow", "suspect"),
    [
        (2.0, 1.8, True, True),
        (1.5, 0.9, False, True),  # may be chance
        (1.1, 1.09, False, False),  # surely so, and too little to matter
        (0.5, 0.4, False, False),
        (None, None, False, False),
    ],
)
def test_slow_is_a_factor_that_matters_and_is_sure(
    factor: float | None, low: float | None, slow: bool, suspect: bool
) -> None:
    high = None if factor is None else 2 * factor
    host = Factor(host="a", factor=factor, low=low, high=high)
    assert (host.slow, host.suspect) == (slow, suspect)


def test_medians_are_those_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(5)
    sample = np.sort(np.exp(0.3 * random.standard_normal(15)))
    drawn = bootstrap_medians([sample], seed=0)[:, 0]
    plain = np.median(random.choice(sample, size=(20_000, 15)), axis=1)
    # Medians are values of the sample: the same ones as often, or the draws are wrong.
    for value in sample:
        assert np.mean(drawn <= value) == pytest.approx(np.mean(plain <= value), abs=0.04)
    assert set(drawn) <= set(sample)


def test_their_interval_holds_the_true_median_about_19_times_in_20() -> None:
    random = np.random.default_rng(3)
    held = 0
    for seed in range(200):
        sample = np.sort(0.3 * random.standard_normal(41))
        low, high = np.percentile(bootstrap_medians([sample], seed=seed), [2.5, 97.5])
        held += low <= 0 <= high
    assert 0.9 <= held / 200 <= 0.995


def test_the_seed_fixes_the_draws_and_samples_are_drawn_apart() -> None:
    samples = [np.arange(10.0), np.arange(10.0), np.array([7.0])]
    drawn = bootstrap_medians(samples, seed=7)
    assert (drawn == bootstrap_medians(samples, seed=7)).all()
    assert (drawn != bootstrap_medians(samples, seed=8)).any()
    assert (drawn[:, 0] != drawn[:, 1]).any()
    assert (drawn[:, 2] == 7).all()


def test_each_is_compared_with_the_median_of_the_others() -> None:
    values = np.log(np.array([[1.0, 1.2, 1.2, 1.6, 2.5], [2.5, 1.6, 1.2, 1.2, 1.0]]))
    # The median of four is taken between two, in logs.
    others = np.log([np.sqrt(1.2 * 1.6)] * 3 + [1.2, 1.2])
    assert_allclose(against_others(values), values - [others, others[::-1]])
    assert_allclose(against_others(np.array([[3.0, 5.0]])), [[-2.0, 2.0]])


def test_thousands_of_hosts() -> None:
    values = np.random.default_rng(0).standard_normal((3, 5000))
    found = against_others(values)
    for host in (0, 17, 4999):
        others = np.delete(values, host, axis=1)
        assert_allclose(found[:, host], values[:, host] - np.median(others, axis=1))
