from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from job.stragglers.additive import connected, fit
from job.stragglers.work import medians


def crossed(
    hosts: int, stages: int, rows: int, *, seed: int = 0, noise: float = 0.2
) -> dict[str, Any]:
    """Values that are the sum of known effects, a slope in each stage, and noise."""
    random = np.random.default_rng(seed)
    host, stage = random.integers(0, hosts, rows), random.integers(0, stages, rows)
    size = random.normal(0, 1, rows)
    effects, levels = random.normal(0, 0.3, hosts), random.normal(5, 2, stages)
    slopes = random.uniform(0, 1, stages)
    values = effects[host] + levels[stage] + slopes[stage] * size
    values += noise * random.standard_normal(rows)
    return {
        "values": values,
        "host": host,
        "stage": stage,
        "size": size,
        "effects": effects,
        "slopes": slopes,
    }


def test_without_outliers_it_is_least_squares() -> None:
    data = crossed(4, 3, 400, noise=0.2)
    found = fit(data["values"], {"host": data["host"], "stage": data["stage"]}, within="stage")
    design = np.column_stack(
        [np.eye(4)[data["host"]], np.eye(3)[data["stage"]], np.zeros((400, 0))]
    )
    # Huber's weights change a clean sample's estimate by a fraction of a standard error.
    solved = np.linalg.lstsq(design, data["values"], rcond=None)[0][:4]
    effects = found.effects["host"]
    assert_allclose(effects - effects[0], solved - solved[0], atol=0.06)
    covariance = np.linalg.pinv(design.T @ design) * np.var(found.residuals)
    contrast = np.array([1, -1 / 3, -1 / 3, -1 / 3, 0, 0, 0])
    expected = np.sqrt(contrast @ covariance @ contrast)
    assert found.errors["host"][0] == pytest.approx(expected, rel=0.2)


def test_effects_slopes_and_spread_are_found_among_outliers() -> None:
    data = crossed(6, 4, 4000)
    values = data["values"].copy()
    # All on one host: its mean moves by 0.75.
    values[np.flatnonzero(data["host"] == 2)[::4]] += 3
    found = fit(
        values,
        {"host": data["host"], "stage": data["stage"]},
        within="stage",
        covariates=[data["size"]],
    )
    effects = found.effects["host"] - np.median(found.effects["host"])
    expected = data["effects"] - np.median(data["effects"])
    assert_allclose(np.delete(effects, 2), np.delete(expected, 2), atol=0.05)
    assert effects[2] == pytest.approx(expected[2], abs=0.15)
    assert_allclose(found.slopes[0], data["slopes"], atol=0.05)
    assert_allclose(found.scale, 0.2, rtol=0.2)


def test_the_errors_are_those_seen_over_many_samples() -> None:
    found = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        host, stage = random.integers(0, 5, 150), random.integers(0, 3, 150)
        values = 0.3 * random.standard_normal(150) + stage
        one = fit(values, {"host": host, "stage": stage}, within="stage")
        effect = one.effects["host"]
        found.append(((effect[0] - np.mean(effect[1:])), one.errors["host"][0]))
    seen, said = np.std([a for a, _ in found]), np.mean([b for _, b in found])
    assert said == pytest.approx(seen, rel=0.2)
    assert said >= 0.95 * seen


def test_a_group_that_is_noisy_counts_less_than_a_quiet_one() -> None:
    random = np.random.default_rng(1)
    stage, host = np.repeat([0, 1], 400), np.tile([0, 1], 400)
    # The quiet stage says 0.4, the noisy one 2.0.
    values = np.where(stage == 0, 0.1, 1.5) * random.standard_normal(800)
    values += host * np.where(stage == 0, 0.4, 2.0)
    found = fit(values, {"host": host, "stage": stage}, within="stage")
    assert np.diff(found.effects["host"])[0] == pytest.approx(0.4, abs=0.05)
    assert found.scale[1] > 5 * found.scale[0]


def test_weights_are_how_often_a_row_counts() -> None:
    data = crossed(3, 2, 200)
    factors = {"host": data["host"], "stage": data["stage"]}
    weights = np.where(data["host"] == 1, 3.0, 1.0)
    often = np.repeat(np.arange(200), weights.astype(int))
    once = fit(data["values"], factors, within="stage", weights=weights)
    repeated = fit(
        data["values"][often],
        {name: codes[often] for name, codes in factors.items()},
        within="stage",
    )
    for found in (once, repeated):
        found.effects["host"][:] -= found.effects["host"][0]
    assert_allclose(once.effects["host"], repeated.effects["host"], atol=0.03)


def test_what_few_rows_say_of_a_slope_is_drawn_towards_zero() -> None:
    # One task 20 times as long with 1.2 times the bytes: no elasticity of 16.
    values, size = np.zeros(8), np.zeros(8)
    values[0], size[0] = np.log(20), np.log(1.2)
    values += 0.3 * np.random.default_rng(0).standard_normal(8)
    rows = np.zeros(8, dtype=np.int64)
    found = fit(values, {"host": np.arange(8) % 2, "stage": rows}, within="stage",
                covariates=[size])  # fmt: skip
    assert abs(found.slopes[0, 0]) < 1


def test_a_covariate_that_says_the_same_again_changes_nothing() -> None:
    data = crossed(3, 2, 300)
    factors = {"host": data["host"], "stage": data["stage"]}
    one = fit(data["values"], factors, within="stage", covariates=[data["size"]])
    two = fit(
        data["values"], factors, within="stage", covariates=[data["size"], 2 * data["size"] + 1]
    )
    assert_allclose(two.slopes[1], 0)
    assert_allclose(two.slopes[0], one.slopes[0], atol=1e-3)


def test_a_level_that_had_the_large_tasks_is_less_sure() -> None:
    random = np.random.default_rng(2)
    host, stage = np.repeat([0, 1], 60), np.zeros(120, dtype=np.int64)
    apart = host + 0.1 * random.standard_normal(120)
    mixed = random.permutation(apart)
    values = 0.2 * random.standard_normal(120)
    factors = {"host": host, "stage": stage}
    sure = fit(values, factors, within="stage", covariates=[mixed]).errors["host"]
    unsure = fit(values, factors, within="stage", covariates=[apart]).errors["host"]
    assert (unsure > 2 * sure).all()


def test_rows_of_a_host_that_agree_in_each_stage_are_no_many_witnesses() -> None:
    random = np.random.default_rng(3)
    host, stage = random.integers(0, 6, 3000), random.integers(0, 10, 3000)
    noise = 0.1 * random.standard_normal(3000)
    luck = 0.2 * random.standard_normal((6, 10))
    factors = {"host": host, "stage": stage}
    plain = fit(noise, factors, within="stage").errors["host"]
    alike = fit(noise + luck[host, stage], factors, within="stage").errors["host"]
    # Ten independent values of 0.2 for each host.
    assert alike.mean() == pytest.approx(0.2 / np.sqrt(10), rel=0.4)
    assert plain.mean() < 0.01


def test_a_level_alone_in_its_groups_has_no_error_to_speak_of() -> None:
    host = np.array([0] * 10 + [1] * 10 + [2] * 10)
    stage = np.array([0] * 20 + [1] * 10)
    found = fit(np.random.default_rng(0).standard_normal(30), {"host": host, "stage": stage},
                within="stage")  # fmt: skip
    assert np.isfinite(found.errors["host"][:2]).all()
    assert np.isinf(found.errors["host"][2])


def test_three_factors() -> None:
    random = np.random.default_rng(4)
    image, host, phase = (random.integers(0, n, 6000) for n in (200, 4, 3))
    cost, slow = random.normal(0, 1, 200), np.array([0, 0, 0.5, 0])
    values = cost[image] + slow[host] + phase + 0.1 * random.standard_normal(6000)
    found = fit(values, {"image": image, "host": host, "phase": phase}, within="phase")
    effects = found.effects["host"] - np.median(found.effects["host"])
    assert effects[2] == pytest.approx(0.5, abs=0.02)
    assert found.errors["host"][2] == pytest.approx(0.1 / np.sqrt(1500 * 0.75), rel=0.4)
    # An image that one host alone had tells nothing of it.
    alone = fit(
        values[:200], {"image": np.arange(200), "host": host[:200], "phase": phase[:200]},
        within="phase",
    )  # fmt: skip
    assert np.isinf(alone.errors["host"]).all()


def test_no_rows() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    found = fit(np.zeros(0), {"host": nothing, "stage": nothing}, within="stage")
    assert len(found.effects["host"]) == len(found.residuals) == 0


def test_within_names_a_factor() -> None:
    with pytest.raises(ValueError, match="within='stage' names none of host"):
        fit(np.zeros(1), {"host": np.zeros(1, dtype=np.int64)}, within="stage")


def test_medians_of_groups() -> None:
    values, groups = np.array([5.0, 1, 3, 2, 10, 4]), np.array([0, 0, 0, 2, 2, 2])
    assert_allclose(medians(values, groups, 4), [3, np.nan, 4, np.nan])
    assert_allclose(medians(values[:2], groups[:2], 1), [3])


def test_parts_that_share_nothing() -> None:
    # 0 and 3 meet 1 through stages; 2 and 4 share one; 5 is alone.
    one = np.array([0, 1, 1, 3, 2, 4, 5])
    other = np.array([0, 0, 1, 1, 2, 2, 3])
    assert connected(one, other).tolist() == [0, 0, 2, 0, 2, 5]


def test_luck_that_few_groups_cannot_show_is_allowed_for() -> None:
    random = np.random.default_rng(5)
    host, stage = random.integers(0, 2, 4000), random.integers(0, 4, 4000)
    values, factors = 0.05 * random.standard_normal(4000), {"host": host, "stage": stage}
    without = fit(values, factors, within="stage").errors["host"][0]
    found = fit(values, factors, within="stage", luck=0.1).errors["host"][0]
    # Two hosts, each with four independent values of 0.1.
    assert found == pytest.approx(0.1 * np.sqrt(2 / 4), rel=0.05)
    assert without < 0.01


def test_an_erratic_level_is_less_sure_than_its_group_is_wide() -> None:
    random = np.random.default_rng(6)
    host, stage = np.tile(np.arange(4), 100), np.zeros(400, dtype=np.int64)
    values = np.where(host == 2, 1.0, 0.1) * random.standard_normal(400)
    errors = fit(values, {"host": host, "stage": stage}, within="stage").errors["host"]
    # Huber's estimate of a host's level; its peers add little.
    assert errors[2] > 2.5 * np.delete(errors, 2).max()


def test_few_rows_that_agree_by_chance_are_no_surer_than_their_group_is_wide() -> None:
    random = np.random.default_rng(7)
    host = np.concatenate([np.repeat(np.arange(4), 100), [4] * 6])
    values = np.concatenate([0.3 * random.standard_normal(400), np.zeros(6)])
    stage = np.zeros(406, dtype=np.int64)
    errors = fit(values, {"host": host, "stage": stage}, within="stage").errors["host"]
    assert errors[4] == pytest.approx(0.3 / np.sqrt(6), rel=0.25)


def test_the_spread_allows_for_the_effects_that_were_fitted() -> None:
    random = np.random.default_rng(8)
    host, stage = np.repeat(np.arange(300), 3), np.zeros(900, dtype=np.int64)
    found = fit(0.3 * random.standard_normal(900), {"host": host, "stage": stage}, within="stage")
    # Three rows about their own mean: by the residuals alone it would be 0.24.
    assert found.scale[0] == pytest.approx(0.3, rel=0.12)
