"""What one more vote is worth: by hand, by exact enumeration, and the strength recovered from simulated votes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.label_value import prior_strength, vote_value


def test_by_hand():
    # Beta(1, 1): variance 1/12; after one vote Beta(2, 1): 1/18; drop 1/36
    assert vote_value(0.5, [], 2.0) == pytest.approx(1 / 36)
    assert vote_value(1.0, [], 2.0) == 0.0
    assert vote_value(0.5, [], 2.0) > vote_value(0.8, [], 2.0) > vote_value(0.8, [1.0, 1.0], 2.0)


@pytest.mark.parametrize(("q", "votes", "s"), [(0.3, [], 1.5), (0.8, [1, 0, 1], 4.0), (0.6, [0.5], 10.0)])
def test_is_the_expected_drop_of_scipys_beta_variance(q, votes, s):
    a, b = s * q + sum(votes), s * (1 - q) + len(votes) - sum(votes)
    up, down = stats.beta(a + 1, b).var(), stats.beta(a, b + 1).var()
    p = a / (a + b)
    assert vote_value(q, votes, s) == pytest.approx(stats.beta(a, b).var() - p * up - (1 - p) * down, abs=1e-12)


@pytest.mark.parametrize("strength", [1.0, 5.0])
def test_strength_is_recovered(strength):
    rng = np.random.default_rng(0)
    q = rng.uniform(0.1, 0.9, 4000)
    preference = rng.beta(strength * q, strength * (1 - q))
    votes = [list((rng.uniform(size=rng.integers(0, 5)) < p).astype(float)) for p in preference]
    assert prior_strength(q, votes) == pytest.approx(strength, rel=0.15)


def test_limits_and_wrong_input():
    assert prior_strength([0.5] * 5, [[1, 0]] * 5) == 2.0
    assert prior_strength([0.5] * 20, [[1, 0]] * 20) == 100.0
    assert prior_strength([0.5] * 20, [[1, 1]] * 20) == 0.5
    with pytest.raises(StatisticsError):
        prior_strength([0.5], [])
    with pytest.raises(StatisticsError):
        vote_value(1.2, [], 2.0)
