"""The interval for a bounded mean: by hand, against binomial tables and random draws, and on real skewed verdicts."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from scipy import optimize, stats

from harness.stats.bounded_interval import bounded_mean_limits, confidence_below, widened_by_raw
from harness.stats.mean import cluster_mean
from tests.paths import DATA, needs_data


def mid_p_limits(wins: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Mid-p Clopper-Pearson by root finding on binomial probabilities."""
    tail = (1.0 - level) / 2.0

    def above(p: float) -> float:
        return stats.binom.sf(wins, n, p) + 0.5 * stats.binom.pmf(wins, n, p)

    low = optimize.brentq(lambda p: above(p) - tail, 0.0, 1.0, xtol=1e-12)
    return low, optimize.brentq(lambda p: above(p) - 1.0 + tail, 0.0, 1.0, xtol=1e-12)


def test_by_hand_no_win_among_n():
    # with a won prompt added the mean is E0 / (E1 + ... + E0), above p with chance (1 - p)^n = 0.025
    low, high = bounded_mean_limits(np.zeros(30), np.ones(30), 0.95)
    assert low == 0.0
    assert high == pytest.approx(1.0 - 0.025 ** (1 / 30), abs=1e-9)
    assert bounded_mean_limits(np.ones(30), np.ones(30), 0.95) == pytest.approx((0.025 ** (1 / 30), 1.0), abs=1e-9)


def test_by_hand_one_half_twice():
    # the mean is (1 - s) / 2 + s B with s = E0 / (E1 + E2 + E0), P(s > x) = (1 - x)^2; above 1/2 only with B = 1:
    # (1 + s) / 2 exceeds the limit with chance 0.05, so s = 1 - sqrt(0.05)
    low, high = bounded_mean_limits(np.array([0.5, 0.5]), np.ones(2), 0.95)
    assert high == pytest.approx((2.0 - 0.05**0.5) / 2.0, abs=1e-9)
    assert low == pytest.approx(1.0 - high, abs=1e-9)


@pytest.mark.parametrize(("wins", "n"), [(1, 2), (1, 30), (3, 11), (49, 50), (400, 805), (1, 5000), (4000, 14000)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_binary_scores_give_mid_p_clopper_pearson(wins, n, level):
    scores = np.repeat([1.0, 0.0], [wins, n - wins])
    assert bounded_mean_limits(scores, np.ones(n), level) == pytest.approx(mid_p_limits(wins, n, level), abs=1e-9)


def test_confidence_agrees_with_beta_distributions_everywhere():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(np.exp(rng.uniform(0.0, 8.0))) + 1
        wins = int(rng.integers(1, n)) if n > 1 else 1
        value = float(rng.beta(wins + 1, n - wins + 1))
        scores = np.repeat([1.0, 0.0], [wins, n - wins])
        end_won, end_lost = stats.beta.cdf(value, [wins + 1, wins], [n - wins, n - wins + 1])
        expected = 0.5 * ((end_won if wins < n else 0.0) + end_lost)
        assert confidence_below(scores, np.ones(n), value) == pytest.approx(expected, abs=1e-8), (wins, n, value)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_clusters_with_weights_agree_with_random_draws(n):
    rng = np.random.default_rng(n)
    weights = rng.choice([1.0, 2.0, 4.0, 6.0], n)
    totals = weights * rng.beta(0.1, 0.6, n)
    low, high = bounded_mean_limits(totals, weights, 0.9)
    draws = rng.exponential(size=(200_000, n + 1))
    end = weights.mean() * draws[:, n]
    means = (draws[:, :n] @ totals + end * (rng.random(200_000) < 0.5)) / (draws[:, :n] @ weights + end)
    # five Monte-Carlo errors of 0.05
    assert np.mean(means <= low) == pytest.approx(0.05, abs=0.0025)
    assert np.mean(means > high) == pytest.approx(0.05, abs=0.0025)


def test_turning_the_scale_round_turns_the_limits_round():
    rng = np.random.default_rng(3)
    weights = rng.choice([1.0, 3.0], 25)
    totals = weights * rng.random(25)
    low, high = bounded_mean_limits(totals, weights, 0.95)
    assert bounded_mean_limits(weights - totals, weights, 0.95) == pytest.approx((1.0 - high, 1.0 - low), abs=1e-8)


def test_the_unit_of_weight_does_not_matter():
    totals, weights = np.array([0.2, 1.5, 0.0, 2.0]), np.array([1.0, 3.0, 1.0, 2.0])
    assert bounded_mean_limits(7.0 * totals, 7.0 * weights, 0.95) == pytest.approx(
        bounded_mean_limits(totals, weights, 0.95), abs=1e-8
    )


def test_a_controlled_rate_is_at_least_as_unsure_as_the_raw_one():
    totals, weights = np.repeat([1.0, 0.0], [10, 10]), np.ones(20)
    low, high = bounded_mean_limits(totals, weights, 0.95)
    # at a raw rate of one half and a controlled one of one half the raw limits stand as they are
    assert widened_by_raw(0.5, (0.49, 0.51), totals, weights, 0.95) == pytest.approx((low, high))
    assert widened_by_raw(0.5, (0.01, 0.99), totals, weights, 0.95) == (0.01, 0.99)
    none = np.zeros(20)
    assert widened_by_raw(0.01, (0.001, 0.05), none, weights, 0.95) == pytest.approx((0.0, 1.0 - 0.025 ** (1 / 20)))


@needs_data
@pytest.mark.parametrize("model", ["alpaca-7b", "gpt4_gamed", "vicuna-7b", "FuseChat-Gemma-2-9B-Instruct"])
@pytest.mark.parametrize("n", [30, 100])
def test_coverage_on_published_verdicts(model, n):
    """Real preferences, mostly near 0 with a few near 1: the interval made from the spread covered 64 to 91 % here."""
    with gzip.open(DATA / "alpaca_eval/annotations_slim" / f"{model}.jsonl.gz", "rt") as file:
        verdicts = [json.loads(line)["preference"] for line in file]
    shares = np.clip([v - 1.0 for v in verdicts if v is not None], 0.0, 1.0)
    rng, truth, n_trials = np.random.default_rng(4), float(shares.mean()), 400
    samples = shares[rng.integers(0, shares.size, (n_trials, n))]
    below = np.array([confidence_below(sample, np.ones(n), truth) for sample in samples])
    covered = float(np.mean((below >= 0.025) & (below <= 0.975)))
    assert covered >= 0.95 - 3.0 * (0.95 * 0.05 / n_trials) ** 0.5
    printed = cluster_mean(samples[0], range(n), bounds=(0.0, 1.0))
    assert (printed.ci_low <= truth <= printed.ci_high) == (0.025 <= below[0] <= 0.975)
