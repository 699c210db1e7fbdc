"""Reward and length within prompts: by hand, against numpy and scipy, its interval's coverage, its bands."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.reward_length import prompt_correlations, reward_length_bands, reward_length_pearson


def test_by_hand():
    # prompt a: rewards 1 2 3 with lengths 10 20 30 (r = 1); b: 0 1 with 9 3 (r = -1); c has one length only
    rewards, lengths = [1, 2, 3, 0, 1, 5, 6], [10, 20, 30, 9, 3, 7, 7]
    prompts = ["a", "a", "a", "b", "b", "c", "c"]
    found = prompt_correlations(rewards, lengths, prompts)
    assert found == {"a": (2.0, pytest.approx(1.0)), "b": (0.5, pytest.approx(-1.0)), "c": (5.5, None)}
    mean = reward_length_pearson(rewards, lengths, prompts)
    assert (mean.value, mean.n_clusters) == (pytest.approx(0.0), 2)
    bands = reward_length_bands(rewards, lengths, prompts, n_bands=3)
    assert [(b.low, b.high, b.n_prompts) for b in bands] == [(0.5, 0.5, 1), (2.0, 2.0, 1), (5.5, 5.5, 1)]
    assert [b.pearson for b in bands] == [pytest.approx(-1.0), pytest.approx(1.0), None]


def drawn(rng, n_prompts, n, slope):
    prompts = np.repeat(np.arange(n_prompts), n)
    lengths = rng.normal(size=prompts.size)
    rewards = slope * lengths + rng.normal(size=prompts.size) + rng.normal(0, 3, n_prompts)[prompts]
    return rewards, lengths, prompts.tolist()


def test_is_pearson_of_each_prompt():
    rewards, lengths, prompts = drawn(np.random.default_rng(1), 25, 6, 0.5)
    keys = np.array(prompts)
    expected = [stats.pearsonr(rewards[keys == p], lengths[keys == p]).statistic for p in range(25)]
    found = prompt_correlations(rewards, lengths, prompts)
    assert [r for _, r in found.values()] == pytest.approx(expected)
    assert reward_length_pearson(rewards, lengths, prompts).value == pytest.approx(np.mean(expected))


def test_differences_between_prompts_do_not_count():
    # longer prompts' answers have higher rewards throughout, but within a prompt length and reward are unrelated
    rng = np.random.default_rng(2)
    base = np.repeat(np.arange(400.0), 8)
    rewards, lengths = base + rng.normal(size=base.size), base + rng.normal(size=base.size)
    assert np.corrcoef(rewards, lengths)[0, 1] > 0.99
    found = reward_length_pearson(rewards, lengths, base.tolist())
    assert abs(found.value) < 4 * found.stderr


def test_the_interval_covers_the_mean_correlation():
    rng = np.random.default_rng(3)
    truth = np.mean([reward_length_pearson(*drawn(rng, 2000, 8, 0.4)).value for _ in range(3)])
    covered = 0
    for _ in range(200):
        found = reward_length_pearson(*drawn(rng, 40, 8, 0.4))
        covered += found.ci_low <= truth <= found.ci_high
    assert covered / 200 > 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5


def test_bands_hold_every_prompt_once_and_rise():
    rewards, lengths, prompts = drawn(np.random.default_rng(4), 53, 4, 0.0)
    bands = reward_length_bands(rewards, lengths, prompts, n_bands=8)
    assert sum(b.n_prompts for b in bands) == 53
    assert max(b.n_prompts for b in bands) - min(b.n_prompts for b in bands) <= 1
    assert all(a.low <= a.high <= b.low for a, b in pairwise(bands))
    assert len(reward_length_bands([1, 2], [3, 4], ["a", "b"])) == 2


@pytest.mark.parametrize(
    ("rewards", "lengths", "prompts"),
    [([1, 2], [1], ["a", "a"]), ([], [], []), ([1, float("nan")], [1, 2], ["a", "a"]), ([1, 2], [1, 2], ["a"])],
)
def test_wrong_input(rewards, lengths, prompts):
    with pytest.raises(StatisticsError):
        prompt_correlations(rewards, lengths, prompts)


def test_no_prompt_with_a_spread_is_a_reason():
    with pytest.raises(StatisticsError, match="differ in both"):
        reward_length_pearson([1, 2, 3], [5, 5, 9], ["a", "a", "b"])
