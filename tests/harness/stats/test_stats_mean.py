"""Clustered means: by hand, against statsmodels, and by simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.errors import StatisticsError
from harness.stats.mean import cluster_mean, cluster_variance


def test_by_hand_two_turns_are_one_cluster():
    # questions (8, 6), (9, 9), (4, 6): mean 7; residual sums 0, 4, -4; V = 3/2 * (16 + 16) / 36
    result = cluster_mean([8, 6, 9, 9, 4, 6], ["a", "a", "b", "b", "c", "c"])
    assert result.value == 7.0
    assert result.stderr == pytest.approx(math.sqrt(1.5 * 32 / 36))
    assert result.ci_high == pytest.approx(7.0 + stats.t.ppf(0.975, 2) * math.sqrt(1.5 * 32 / 36))
    assert (result.n, result.n_clusters) == (6, 3)


def test_independent_scores_give_the_textbook_t_interval():
    values = np.array([3.0, 5.0, 4.0, 8.0, 1.0])
    result = cluster_mean(values, range(5), level=0.9)
    low, high = stats.t.interval(0.9, 4, loc=values.mean(), scale=stats.sem(values))
    assert (result.ci_low, result.ci_high) == (pytest.approx(low), pytest.approx(high))


def test_equal_clusters_agree_with_statsmodels():
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(30), 4)
    values = rng.normal(size=120) + rng.normal(size=30)[clusters]
    fit = sm.OLS(values, np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    # statsmodels scales by G/(G-1) (n-1)/(n-k), which for an intercept and equal clusters is CR2's factor
    assert cluster_variance(values, clusters).stderr == pytest.approx(float(fit.bse[0]), rel=1e-10)
    assert cluster_variance(values, clusters).df == pytest.approx(29.0)


def test_unequal_clusters_agree_with_cr2_in_matrices():
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(6), [1, 2, 3, 5, 8, 1])
    values = rng.normal(size=clusters.size)
    n = clusters.size
    ones = np.ones((n, 1))
    hat = ones @ ones.T / n
    residual = values - values.mean()
    weights = np.zeros((6, n))
    for g in range(6):
        mine = clusters == g
        block = np.eye(int(mine.sum())) - hat[np.ix_(mine, mine)]
        eigenvalues, vectors = np.linalg.eigh(block)
        adjust = vectors @ np.diag(eigenvalues**-0.5) @ vectors.T
        weights[g, mine] = np.ones(int(mine.sum())) @ adjust / n
    variance = float(((weights @ residual) ** 2).sum())
    spread = weights @ (np.eye(n) - hat) @ weights.T
    found = cluster_variance(values, clusters)
    assert found.stderr == pytest.approx(variance**0.5, rel=1e-10)
    assert found.df == pytest.approx(np.trace(spread) ** 2 / np.trace(spread @ spread), rel=1e-10)


@pytest.mark.parametrize(("wins", "n"), [(0, 7), (3, 11), (50, 50)])
def test_independent_binary_scores_lie_inside_statsmodels_clopper_pearson(wins, n):
    result = cluster_mean([1.0] * wins + [0.0] * (n - wins), range(n), bounds=(0.0, 1.0))
    low, high = proportion_confint(wins, n, method="beta")
    assert low <= result.ci_low <= wins / n <= result.ci_high <= high
    assert result.ci_high - result.ci_low > 0.8 * (high - low)


def coverage(draw, truth, bounds, n_trials=400):
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(n_trials):
        result = cluster_mean(*draw(rng), bounds=bounds)
        hits += result.ci_low <= truth <= result.ci_high
    return hits / n_trials


def tolerance(n_trials=400):
    return 3.0 * math.sqrt(0.95 * 0.05 / n_trials)


def test_coverage_of_clustered_ratings_near_the_top_of_the_scale():
    shares = np.array([0.01, 0.01, 0.02, 0.02, 0.03, 0.02, 0.05, 0.2, 0.25, 0.39])
    truth = float(shares @ np.arange(1, 11))

    def draw(rng):
        first = rng.choice(np.arange(1, 11), 80, p=shares)
        second = np.where(rng.random(80) < 0.5, first, rng.choice(np.arange(1, 11), 80, p=shares))
        return np.concatenate([first, second]), np.tile(np.arange(80), 2)

    assert coverage(draw, truth, (1.0, 10.0)) == pytest.approx(0.95, abs=tolerance())


def test_coverage_of_clustered_binary_scores():
    # two scores a prompt, equal in 60 % of prompts
    def draw(rng):
        first = rng.random(60) < 0.9
        second = np.where(rng.random(60) < 0.6, first, rng.random(60) < 0.9)
        return np.concatenate([first, second]).astype(float), np.tile(np.arange(60), 2)

    assert coverage(draw, 0.9, (0.0, 1.0)) == pytest.approx(0.95, abs=tolerance() + 0.01)


def test_ignoring_clusters_would_not_cover():
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(400):
        scores = np.repeat(rng.normal(size=40), 2)
        result = cluster_mean(scores, range(80))
        hits += result.ci_low <= 0.0 <= result.ci_high
    assert hits / 400 < 0.9


def test_one_cluster_has_no_interval_and_says_why():
    result = cluster_mean([1.0, 2.0], ["a", "a"], bounds=(0.0, 10.0))
    assert result.value == 1.5
    assert result.stderr is result.ci_low is result.ci_high is None
    assert "one cluster" in result.note


def test_no_spread_inside_the_scale_still_leaves_doubt():
    result = cluster_mean([0.1] * 7, range(7), bounds=(0.0, 1.0))
    assert 0.0 < result.ci_low < 0.1 < result.ci_high < 0.5
    assert result.stderr == 0.0
    unbounded = cluster_mean([0.1] * 7, range(7))
    assert unbounded.ci_low == unbounded.ci_high == pytest.approx(0.1)
    assert "same" in unbounded.note


def test_all_clustered_scores_at_the_end_still_leave_doubt():
    result = cluster_mean([10.0] * 8, [0, 0, 1, 1, 2, 2, 3, 3], bounds=(1.0, 10.0))
    assert result.ci_high == 10.0
    assert 1.0 < result.ci_low < 8.0


@pytest.mark.parametrize(
    ("values", "clusters", "options"),
    [
        ([], [], {}),
        ([1.0, math.nan], [1, 2], {}),
        ([1.0, math.inf], [1, 2], {}),
        (["high", 2.0], [1, 2], {}),
        ([[1.0], [2.0]], [1, 2], {}),
        ([1.0, 2.0], [1], {}),
        ([1.0, 2.0], [1, None], {}),
        ([1.0, 2.0], [1.0, math.nan], {}),
        ([1.0, -1.0], [1, 2], {"bounds": (1.0, 10.0)}),
        ([1.0, 2.0], [1, 2], {"bounds": (10.0, 1.0)}),
        ([1.0, 2.0], [1, 2], {"level": 95}),
    ],
)
def test_wrong_input_is_refused(values, clusters, options):
    with pytest.raises(StatisticsError):
        cluster_mean(values, clusters, **options)


def test_a_mean_without_bounds_that_rests_on_a_few_prompts_says_so():
    lengths = np.full(100, 20.0)
    lengths[:2] = 900.0
    assert "few prompts" in cluster_mean(lengths, range(100)).note
    assert cluster_mean(np.linspace(10.0, 90.0, 100), range(100)).note == ""
    # on fewer than 50 prompts the sample's skewness tells nothing of the interval
    assert cluster_mean(lengths[:30], range(30)).note == ""
