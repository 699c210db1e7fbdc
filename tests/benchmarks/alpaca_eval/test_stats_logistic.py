"""The batched L1-penalised logistic solver: by hand, by its optimality conditions, and against scikit-learn."""

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from benchmarks.alpaca_eval.lc_published import fit_as_published
from benchmarks.alpaca_eval.logistic import Rows, l1_logistic_path, logistic
from harness.errors import StatisticsError
from tests.support.l1_objective import l1_objective


def random_problem(seed, n=120, hard=False):
    rng = np.random.default_rng(seed)
    features = np.stack([np.tanh(rng.normal(size=n)), rng.normal(size=n), np.ones(n)])
    label = logistic(rng.normal(size=n) * 3)
    if hard:
        label = (label > 0.5).astype(float)
    return features, label, rng.uniform(0.1, 2.0, n)


def scikit_learn(features, label, weight, C, tol):
    """Twice the rows, labelled 1 and 0, weighted by the label's probability."""
    X = np.concatenate([features.T, features.T])
    y = np.repeat([1, 0], features.shape[1])
    weights = np.concatenate([label * weight, (1 - label) * weight])
    model = LogisticRegression(
        l1_ratio=1.0, solver="liblinear", random_state=123, fit_intercept=False, C=C, tol=tol, max_iter=10_000
    )
    return model.fit(X, y, sample_weight=weights).coef_[0]


def test_intercept_by_hand():
    # Eight rows with mean label 3/4: the slope 8 C (s - 3/4) + 1 vanishes at s = 3/4 - 1/8 = 5/8, b = log(5/3).
    rows = Rows(np.ones((1, 8)), np.repeat([1.0, 0.5], 4), np.ones(8))
    found = l1_logistic_path([rows], [1.0], np.zeros((1, 1)))
    assert found[0, 0, 0] == pytest.approx(np.log(5 / 3), abs=1e-10)


def test_penalty_that_outweighs_the_gradient_gives_exact_zero():
    # The gradient at zero is 8 (1/2 - 3/4) = -2, so C = 1/2 just holds the coefficient at zero.
    rows = Rows(np.ones((1, 8)), np.repeat([1.0, 0.5], 4), np.ones(8))
    found = l1_logistic_path([rows], [0.51, 0.5, 0.1], np.zeros((1, 1)))[0, :, 0]
    assert found[0] > 0
    assert found[1] == found[2] == 0.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hard", [False, True])
def test_agrees_with_scikit_learn_at_a_tight_tolerance(seed, hard):
    features, label, weight = random_problem(seed, hard=hard)
    grid = np.logspace(2, -3, 6)
    found = l1_logistic_path([Rows(features, label, weight)], grid, np.zeros((1, 3)))[0]
    for C, coefficients in zip(grid, found, strict=True):
        np.testing.assert_allclose(coefficients, scikit_learn(features, label, weight, C, 1e-12), atol=2e-7)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), log_C=st.floats(-4, 4), start=st.floats(-20, 20))
def test_optimality_conditions_hold_from_any_start(seed, log_C, start):
    features, label, weight = random_problem(seed, n=40, hard=seed % 2 == 0)
    C = 10.0**log_C
    found = l1_logistic_path([Rows(features, label, weight)], [C], np.full((1, 3), start))[0, 0]
    slope = C * features @ (weight * (logistic(found @ features) - label))
    slack = 1e-6 * (1 + C * weight.sum())
    for coefficient, downhill in zip(found, slope, strict=True):
        if coefficient == 0:
            assert abs(downhill) <= 1 + slack
        else:
            assert downhill == pytest.approx(-np.sign(coefficient), abs=slack)


def test_a_batch_is_its_problems_one_by_one():
    shared_features, shared_label, shared_weight = random_problem(0)
    parts = [random_problem(seed) for seed in range(1, 6)]
    shared = Rows(shared_features, shared_label, shared_weight)
    own = Rows(*(np.stack(column) for column in zip(*parts, strict=True)))
    grid = np.array([10.0, 1.0, 0.05])
    together = l1_logistic_path([shared, own], grid, np.zeros((5, 3)))
    for number, (features, label, weight) in enumerate(parts):
        alone = l1_logistic_path([shared, Rows(features, label, weight)], grid, np.zeros((1, 3)))
        np.testing.assert_allclose(together[number], alone[0], atol=1e-9)


def test_each_problem_may_have_its_own_penalty():
    features, label, weight = random_problem(3)
    rows = [Rows(features, label, weight)]
    together = l1_logistic_path(rows, np.array([[1.0], [0.1]]), np.zeros((2, 3)))[:, 0]
    for row, C in zip(together, (1.0, 0.1), strict=True):
        np.testing.assert_allclose(row, l1_logistic_path(rows, [C], np.zeros((1, 3)))[0, 0], atol=1e-9)


def test_rows_kept_by_a_mask_equal_rows_of_weight_zero():
    parts = [random_problem(seed) for seed in range(3)]
    own = Rows(*(np.stack(column) for column in zip(*parts, strict=True)))
    keep = np.random.default_rng(0).random(own.weight.shape) < 0.6
    narrowed = own.where(keep)
    assert narrowed.label.shape[1] < own.label.shape[1]
    masked = Rows(own.features, own.label, own.weight * keep)
    solutions = [l1_logistic_path([rows], [1.0], np.zeros((3, 3))) for rows in (narrowed, masked)]
    np.testing.assert_allclose(solutions[0], solutions[1], atol=1e-9)


def test_a_constant_zero_feature_gets_no_coefficient():
    features, label, weight = random_problem(1)
    features[1] = 0.0
    assert l1_logistic_path([Rows(features, label, weight)], [1e4], np.zeros((1, 3)))[0, 0, 1] == 0.0


def test_separable_data_stay_finite_under_the_penalty():
    features = np.ones((1, 50))
    found = l1_logistic_path([Rows(features, np.ones(50), np.ones(50))], [1e4], np.zeros((1, 1)))[0, 0, 0]
    # 50 C (1 - s) = 1.
    assert found == pytest.approx(np.log(50e4 - 1), rel=1e-9)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(StatisticsError, match="label has shape"):
        Rows(np.ones((2, 5)), np.ones(4), np.ones(5))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hard", [False, True])
def test_the_published_fit_stops_where_scikit_learn_stops(seed, hard):
    features, label, weight = random_problem(seed, n=300, hard=hard)
    for C in np.logspace(-4, 4, 10):
        found, chosen = fit_as_published(features, label, weight, 5, np.array([C]))
        assert chosen == C
        np.testing.assert_array_equal(found, scikit_learn(features, label, weight, C, 1e-4))


def test_the_published_fit_leaves_scikit_learns_settings_alone():
    before = sklearn.get_config()
    fit_as_published(*random_problem(0), 5, np.array([0.1, 1.0]))
    assert sklearn.get_config() == before


@pytest.mark.parametrize("seed", range(4))
def test_the_minimum_is_below_the_stopping_point(seed):
    features, label, weight = random_problem(seed, n=300)
    rows = [Rows(features, label, weight)]
    for C in (0.05, 1.0, 100.0):
        stopped = scikit_learn(features, label, weight, C, 1e-4)
        minimum = l1_logistic_path(rows, [C], np.zeros((1, 3)))[:, 0]
        low, high = (l1_objective(rows, b, C)[0] for b in (minimum, stopped[None]))
        assert low <= high + 1e-12 * abs(high)


def test_logistic_does_not_overflow():
    with np.errstate(over="raise"):
        np.testing.assert_array_equal(logistic([-1e6, 0.0, 1e6]) > 0.4, [False, True, True])
