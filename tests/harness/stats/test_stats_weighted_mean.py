"""Weighted means: by hand, against linearised ratios of statsmodels, and by simulated coverage on skewed scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.mean import cluster_mean
from harness.stats.weighted_mean import weighted_mean


def test_by_hand():
    # weights 1, 3 and 1: mean (2 + 3 * 4 + 9) / 5 = 4.6; influences w (x - 4.6) / 5: -0.52, -0.36, 0.88
    found = weighted_mean([2.0, 4.0, 9.0], [1.0, 3.0, 1.0], "abc")
    assert found.value == pytest.approx(4.6)
    assert found.stderr == pytest.approx(math.sqrt(1.5 * (0.52**2 + 0.36**2 + 0.88**2)))
    assert (found.n, found.n_clusters) == (3, 3)
    scaled = weighted_mean([2.0, 4.0, 9.0], [1.0, 3.0, 1.0], "abc", bounds=(1.0, 10.0))
    assert (scaled.value, scaled.stderr) == (pytest.approx(4.6), pytest.approx(found.stderr))
    assert 1.0 < scaled.ci_low < 4.6 < scaled.ci_high < 10.0


def test_weights_count_a_score_as_often_as_they_say():
    values, weights = [1.0, 0.0, 1.0, 0.5], [1.0, 2.0, 3.0, 1.0]
    repeated = [v for v, w in zip(values, weights, strict=True) for _ in range(int(w))]
    clusters = [k for k, w in enumerate(weights) for _ in range(int(w))]
    once = weighted_mean(values, weights, range(4), bounds=(0.0, 1.0))
    often = weighted_mean(repeated, [1.0] * 7, clusters, bounds=(0.0, 1.0))
    for field in ("value", "stderr", "ci_low", "ci_high"):
        assert getattr(once, field) == pytest.approx(getattr(often, field))


def test_the_standard_error_is_that_of_weighted_least_squares_with_clusters():
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(40), 3)
    values = rng.gamma(1.0, 2.0, 120) + rng.normal(size=40)[clusters]
    weights = rng.choice([1.0, 2.0, 5.0], 120)
    fit = sm.WLS(values, np.ones(120), weights=weights).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    found = weighted_mean(values, weights, list(clusters))
    assert found.value == pytest.approx(float(fit.params[0]))
    assert found.stderr == pytest.approx(float(fit.bse[0]) * math.sqrt(40 / 39), rel=1e-9)


def test_equal_weights_agree_with_the_plain_mean():
    values = [3.0, 5.0, 4.0, 8.0, 1.0]
    found, plain = weighted_mean(values, [2.0] * 5, range(5)), cluster_mean(values, range(5))
    assert (found.value, found.stderr) == (pytest.approx(plain.value), pytest.approx(plain.stderr))
    found = weighted_mean(values, [2.0] * 5, range(5), bounds=(1.0, 10.0))
    plain = cluster_mean(values, range(5), bounds=(1.0, 10.0))
    for field in ("value", "stderr", "ci_low", "ci_high"):
        assert getattr(found, field) == pytest.approx(getattr(plain, field))


@pytest.mark.parametrize(
    ("values", "weights", "bounds", "words"),
    [
        ([1.0], [1.0], None, "1 prompt"),
        ([1.0, 2.0], [1.0], None, "2 scores and 1 weights"),
        ([1.0, 2.0], [1.0, 0.0], None, "a weight of zero or less"),
        ([1.0, 2.0], [1.0, 1.0], (0.0, 1.0), "outside the scale"),
        ([1.0, math.nan], [1.0, 1.0], None, "finite"),
    ],
)
def test_wrong_input(values, weights, bounds, words):
    with pytest.raises(StatisticsError, match=words):
        weighted_mean(values, weights, range(len(values)), bounds=bounds)


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [None, (1.0, 10.0)])
def test_coverage_on_skewed_ratings(bounds):
    """Ratings with many tens and a tail, weights that go with them: 95 % intervals cover 93 to 97 %."""
    rng = np.random.default_rng(11)
    population = np.minimum(10.0, np.maximum(1.0, np.round(10.5 - rng.gamma(1.2, 1.6, 20_000))))
    weights = np.where(population < 7, rng.choice([1.0, 4.0], 20_000), rng.choice([1.0, 2.0], 20_000))
    truth = float(population @ weights / weights.sum())
    hits, n = 0, 1500
    for _ in range(n):
        drawn = rng.integers(0, 20_000, 80)
        found = weighted_mean(population[drawn], weights[drawn], range(80), bounds=bounds)
        hits += found.ci_low <= truth <= found.ci_high
    assert 0.93 <= hits / n <= 0.97, hits / n
    assert stats.binom.sf(hits - 1, n, 0.95) > 1e-4
