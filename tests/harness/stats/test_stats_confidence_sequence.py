"""Confidence sequences: by hand, against the formulas written out as loops, and their error looked at every time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from harness.errors import StatisticsError
from harness.stats.confidence_sequence import (
    Scale,
    betting_limits,
    betting_log_capital,
    e_to_p,
)

UNIT = Scale(0.0, 1.0)
SIGNED = Scale(-1.0, 1.0)
HALF = np.array([0.5])
BETS = np.geomspace(0.01, 0.95, 16)


def test_one_bet_by_hand():
    # threshold 1/2, bet 1/2: a 1 turns 1 into 1 + (1/2)(1/2)/(1/2) = 3/2, a 0 into 1/2, a 1/2 changes nothing
    capital = np.exp(betting_log_capital([1.0, 0.5, 0.0, 1.0], 0.5, UNIT, HALF))
    assert capital == pytest.approx([1.5, 1.5, 0.75, 1.125])


def test_differences_are_moved_to_the_unit_scale():
    # d in [-1, 1] against 0 is (d + 1)/2 against 1/2: factor 1 + d/2
    capital = np.exp(betting_log_capital([1.0, 0.0, -1.0, 0.2], 0.0, SIGNED, HALF))
    assert capital == pytest.approx([1.5, 1.5, 0.75, 0.825])


def limits_of_each_time(x, alpha, bets):
    limits = np.array([betting_limits(x[: t + 1], alpha, UNIT, bets) for t in range(len(x))])
    return np.maximum.accumulate(limits[:, 0]), np.minimum.accumulate(limits[:, 1])


def test_all_ones_by_hand_give_the_limit():
    # one bet c = 1/2 against m: n ones make (1/2 + 1/(2m))^n = 1/alpha, so m = 1 / (2 alpha^(-1/n) - 1)
    n, alpha = 10, 0.05
    low, high = limits_of_each_time(np.ones(n), alpha, HALF)
    expected = [max(0.0, 1.0 / (2.0 * alpha ** (-1.0 / t) - 1.0)) for t in range(1, n + 1)]
    assert low == pytest.approx(expected, abs=1e-9)
    assert high == pytest.approx(np.ones(n))


def slow_capital(x, m):
    bets = [0.01 * 95.0 ** (j / 15) for j in range(16)]
    total = 0.0
    for bet in bets:
        capital = bet / sum(bets)
        for value in x:
            capital *= 1.0 + bet / m * (value - m)
        total += capital
    return total


def test_the_grid_against_a_loop_and_a_root_finder():
    rng = np.random.default_rng(3)
    x = rng.beta(4.0, 1.5, 60)
    fast = np.exp(betting_log_capital(x, 0.4, UNIT))
    assert fast == pytest.approx([slow_capital(x[: t + 1], 0.4) for t in range(60)], rel=1e-9)
    lows, highs = limits_of_each_time(x, 0.05, BETS)
    best_low, best_high = 0.0, 1.0
    for t in range(60):
        seen = x[: t + 1]
        low = optimize.brentq(lambda m, s=seen: slow_capital(s, m) - 20.0, 1e-3, 1.0)
        high = 1.0 - optimize.brentq(lambda m, s=seen: slow_capital(1.0 - s, m) - 20.0, 1e-3, 1.0)
        best_low, best_high = max(best_low, low), min(best_high, high)
        assert lows[t] == pytest.approx(best_low, abs=1e-7)
        assert highs[t] == pytest.approx(best_high, abs=1e-7)


def test_limits_at_the_last_time_alone():
    x = np.random.default_rng(1).beta(2.0, 3.0, 100)
    low, high = betting_limits(x, 0.05, UNIT)
    # the limit is where the capital is 1 / alpha
    assert betting_log_capital(x, low, UNIT)[-1] == pytest.approx(math.log(20), abs=1e-6)
    assert betting_log_capital(1 - x, 1 - high, UNIT)[-1] == pytest.approx(math.log(20), abs=1e-6)


def test_the_order_does_not_matter_at_the_end():
    x = np.random.default_rng(2).random(50)
    assert betting_log_capital(x, 0.4, UNIT)[-1] == pytest.approx(betting_log_capital(x[::-1], 0.4, UNIT)[-1])


@pytest.mark.parametrize("law", ["binary", "skewed", "uniform"])
def test_the_error_holds_though_every_time_is_looked_at(law):
    rng = np.random.default_rng(6)
    n_trials, n, alpha = 2000, 200, 0.05
    if law == "binary":
        x, mean = (rng.random((n_trials, n)) < 0.1).astype(float), 0.1
    elif law == "skewed":
        x, mean = rng.beta(0.2, 1.8, (n_trials, n)), 0.1
    else:
        x, mean = rng.random((n_trials, n)), 0.5
    allowed = alpha + 3 * math.sqrt(alpha * (1 - alpha) / n_trials)
    above = (betting_log_capital(x, mean, UNIT).max(axis=1) >= -math.log(alpha)).mean()
    below = (betting_log_capital(1 - x, 1 - mean, UNIT).max(axis=1) >= -math.log(alpha)).mean()
    assert above <= allowed
    assert below <= allowed
    assert above + below > 0.01  # and it does look


def test_e_to_p():
    assert e_to_p(math.log(20)) == pytest.approx(0.05)
    assert e_to_p(-3.0) == 1.0


def test_a_threshold_at_the_end_of_the_scale_wins_nothing():
    assert betting_log_capital([1.0, 1.0], 1.0, UNIT).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "threshold", "scale", "said"),
    [
        ([], 0.5, UNIT, "no values"),
        ([0.1, float("nan")], 0.5, UNIT, "NaN"),
        ([0.1, 1.2], 0.5, UNIT, "values from"),
        ([0.1], 0.0, UNIT, "not above"),
        ([0.1], 0.5, Scale(1.0, 0.0), "the scale is"),
    ],
)
def test_refusals(values, threshold, scale, said):
    with pytest.raises(StatisticsError, match=said):
        betting_log_capital(values, threshold, scale)


def test_an_impossible_alpha():
    with pytest.raises(StatisticsError, match="alpha"):
        betting_limits([0.5], 0.7, UNIT)
