"""Correlation of score and length: by hand, against scipy, and the interval's coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.length_correlation import correlations_within_prompts, pearson


def test_by_hand():
    """x = 1, 2, 3 and y = 1, 3, 2: covariance 0.5, both variances 1, so r = 0.5."""
    found = pearson([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert found.value == pytest.approx(0.5)
    assert found.ci_low is None


def test_against_scipy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    y = 0.4 * x + rng.normal(size=60)
    found, reference = pearson(x, y, 0.9), stats.pearsonr(x, y)
    interval = reference.confidence_interval(0.9)
    assert found.value == pytest.approx(reference.statistic, abs=1e-12)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_the_interval_covers_at_its_level():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(1000):
        x = rng.normal(size=30)
        found = pearson(x, 0.5 * x + np.sqrt(0.75) * rng.normal(size=30), 0.9)
        hits += found.ci_low <= 0.5 <= found.ci_high
    assert 0.87 < hits / 1000 < 0.93


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([1.0, 2.0], [1.0, 2.0], "at least three"),
        ([1.0] * 3, [1.0, 2, 3], "vary"),
        ([1.0, 2, 3], [1.0], "as many"),
    ],
)
def test_wrong_input(x, y, words):
    with pytest.raises(StatisticsError, match=words):
        pearson(x, y)


def test_within_prompts_is_pearson_of_each_prompt():
    rng = np.random.default_rng(3)
    prompts = np.repeat(np.arange(40), rng.integers(3, 9, 40))
    scores, lengths = rng.normal(size=prompts.size), rng.integers(10, 900, prompts.size).astype(float)
    found = correlations_within_prompts(scores, lengths, prompts.tolist())
    for prompt, r, mean in zip(found.prompts, found.correlations, found.mean_scores, strict=True):
        own = prompts == prompt
        assert r == pytest.approx(stats.pearsonr(scores[own], lengths[own]).statistic, abs=1e-12)
        assert mean == pytest.approx(scores[own].mean(), abs=1e-12)
    assert found.mean.value == pytest.approx(found.correlations.mean(), abs=1e-12)
    assert found.n_left_out == 0


def test_prompts_without_spread_are_counted():
    scores = [1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 1.0, 2.0, 1.0, 2.0, 3.0]
    lengths = [10.0, 20.0, 30.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 7.0, 7.0]
    found = correlations_within_prompts(scores, lengths, [*"aaa", *"bbb", *"cc", *"ddd"])
    assert found.prompts == ("a",)
    assert found.correlations.tolist() == pytest.approx([1.0])
    assert found.n_left_out == 3


def test_nothing_that_varies():
    with pytest.raises(StatisticsError, match="differ in score and in length"):
        correlations_within_prompts([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], ["a"] * 3)
