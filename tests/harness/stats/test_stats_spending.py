"""Alpha spending: by hand, and simulated error of whole loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.stats.alpha_spending import AlphaSpending


@pytest.mark.parametrize(
    ("scheme", "passed", "level"),
    [
        ("even", [], 0.01),
        ("even", [True, True], 0.01),
        ("fallback", [], 0.01),
        ("fallback", [True], 0.02),
        ("fallback", [True, True], 0.03),
        ("fallback", [True, False], 0.01),
        ("fallback", [False, True], 0.02),
        ("fixed_sequence", [], 0.05),
        ("fixed_sequence", [True, True], 0.05),
        ("fixed_sequence", [True, False], 0.0),
        ("endless", [], 0.05 * 6 / math.pi**2),
        ("endless", [False] * 9, 0.05 * 6 / (10 * math.pi) ** 2),
    ],
)
def test_levels_by_hand(scheme, passed, level):
    assert AlphaSpending(0.05, 5, scheme).level(passed) == pytest.approx(level)


def test_endless_spends_alpha_in_all():
    spending = AlphaSpending(0.05, 1, "endless")
    assert sum(spending.level([False] * t) for t in range(20_000)) == pytest.approx(0.05, rel=1e-4)


def test_refusals():
    with pytest.raises(StatisticsError, match="planned"):
        AlphaSpending(0.05, 2).level([True, True])
    for bad in ((0.0, 5, "even"), (0.05, 0, "even"), (0.05, 5, "other")):
        with pytest.raises(StatisticsError):
            AlphaSpending(*bad)


@pytest.mark.parametrize("scheme", ["fixed_sequence", "even", "fallback"])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("better", [0, 2])
def test_a_loop_passes_a_wrong_checkpoint_with_probability_alpha_at_most(scheme, correlation, better):
    rng = np.random.default_rng(8)
    n_trials, wrong = 8000, 0
    shared = rng.standard_normal((n_trials, 1))
    z = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * rng.standard_normal((n_trials, 5))
    from scipy.stats import norm

    p = norm.sf(z)
    p[:, :better] = 0.0  # the first checkpoints are truly better
    spending = AlphaSpending(0.05, 5, scheme)
    for row in p:
        passed: list[bool] = []
        for value in row:
            passed.append(bool(value <= spending.level(passed)))
        wrong += any(passed[better:])
    assert wrong / n_trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_trials)
