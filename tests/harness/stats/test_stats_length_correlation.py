"""Correlation of score and length: by hand, against scipy, and the interval's coverage."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.length_correlation import correlation_bands, correlations_within_prompts, pearson


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


def test_prompts_of_two_answers_by_hand():
    # prompt a: rewards 1 2 3 with lengths 10 20 30 (r = 1); b: 0 1 with 9 3 (r = -1); c has one length only
    rewards, lengths = [1, 2, 3, 0, 1, 5, 6], [10, 20, 30, 9, 3, 7, 7]
    prompts = ["a", "a", "a", "b", "b", "c", "c"]
    found = correlations_within_prompts(rewards, lengths, prompts, fewest=2)
    assert (found.prompts, found.n_left_out) == (("a", "b"), 1)
    assert (found.correlations.tolist(), found.mean_scores.tolist()) == (pytest.approx([1.0, -1.0]), [2.0, 0.5])
    mean = found.mean
    assert (mean.value, mean.n_clusters) == (pytest.approx(0.0), 2)
    bands = correlation_bands(rewards, lengths, prompts, n_bands=3)
    assert [(b.low, b.high, b.n_prompts) for b in bands] == [(0.5, 0.5, 1), (2.0, 2.0, 1), (5.5, 5.5, 1)]
    assert [b.pearson for b in bands] == [pytest.approx(-1.0), pytest.approx(1.0), None]


def drawn(rng, n_prompts, n, slope):
    prompts = np.repeat(np.arange(n_prompts), n)
    lengths = rng.normal(size=prompts.size)
    rewards = slope * lengths + rng.normal(size=prompts.size) + rng.normal(0, 3, n_prompts)[prompts]
    return rewards, lengths, prompts.tolist()


def test_each_prompts_correlation_is_pearsons():
    rewards, lengths, prompts = drawn(np.random.default_rng(1), 25, 6, 0.5)
    keys = np.array(prompts)
    expected = [stats.pearsonr(rewards[keys == p], lengths[keys == p]).statistic for p in range(25)]
    found = correlations_within_prompts(rewards, lengths, prompts, fewest=2)
    assert found.correlations.tolist() == pytest.approx(expected)
    assert found.mean.value == pytest.approx(np.mean(expected))


def test_differences_between_prompts_do_not_count():
    # longer prompts' answers have higher rewards throughout, but within a prompt length and reward are unrelated
    rng = np.random.default_rng(2)
    base = np.repeat(np.arange(400.0), 8)
    rewards, lengths = base + rng.normal(size=base.size), base + rng.normal(size=base.size)
    assert np.corrcoef(rewards, lengths)[0, 1] > 0.99
    found = correlations_within_prompts(rewards, lengths, base.tolist()).mean
    assert abs(found.value) < 4 * found.stderr


def test_the_interval_covers_the_mean_correlation():
    rng = np.random.default_rng(3)
    truth = np.mean([correlations_within_prompts(*drawn(rng, 2000, 8, 0.4)).mean.value for _ in range(3)])
    covered = 0
    for _ in range(200):
        found = correlations_within_prompts(*drawn(rng, 40, 8, 0.4)).mean
        covered += found.ci_low <= truth <= found.ci_high
    assert covered / 200 > 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5


def test_bands_hold_every_prompt_once_and_rise():
    rewards, lengths, prompts = drawn(np.random.default_rng(4), 53, 4, 0.0)
    bands = correlation_bands(rewards, lengths, prompts, n_bands=8)
    assert sum(b.n_prompts for b in bands) == 53
    assert max(b.n_prompts for b in bands) - min(b.n_prompts for b in bands) <= 1
    assert all(a.low <= a.high <= b.low for a, b in pairwise(bands))
    assert len(correlation_bands([1, 2], [3, 4], ["a", "b"])) == 2


@pytest.mark.parametrize(
    ("rewards", "lengths", "prompts"),
    [([1, 2], [1], ["a", "a"]), ([], [], []), ([1, float("nan")], [1, 2], ["a", "a"]), ([1, 2], [1, 2], ["a"])],
)
def test_wrong_input_within_prompts(rewards, lengths, prompts):
    with pytest.raises(StatisticsError):
        correlation_bands(rewards, lengths, prompts)


def test_no_prompt_with_a_spread_is_a_reason():
    with pytest.raises(StatisticsError, match="2 answers or more that differ"):
        correlations_within_prompts([1, 2, 3], [5, 5, 9], ["a", "a", "b"], fewest=2)
