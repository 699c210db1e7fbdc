"""Degrees of freedom under heavy tails: by hand, against a simulated variance, and the error of the t test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.variance_df import variance_df


def test_by_hand():
    # one 1 among nineteen 0: mean 1/20, second moment q = (1/20)(19/20), kurtosis (1 - 3q) / q
    q = 19 / 400
    kurtosis = (1 - 3 * q) / q
    assert variance_df([1.0] + [0.0] * 19) == pytest.approx(2 / ((kurtosis - 3) / 20 + 2 / 19))
    assert variance_df([1.0] + [0.0] * 19) < 3


def test_light_tails_and_no_spread_keep_all():
    assert variance_df([0.0, 1.0] * 10) == 19.0
    assert variance_df([2.0] * 5) == 4.0


def test_against_the_simulated_variance_of_the_variance():
    rng = np.random.default_rng(0)
    n = 200
    samples = rng.laplace(size=(40_000, n))  # kurtosis 6
    variances = samples.var(axis=1, ddof=1)
    simulated = 2 * variances.mean() ** 2 / variances.var()
    large = rng.laplace(size=2_000_000)
    kurtosis = stats.kurtosis(large, fisher=False)
    assert 2 / ((kurtosis - 3) / n + 2 / (n - 1)) == pytest.approx(simulated, rel=0.05)
    assert np.median([variance_df(row) for row in samples[:500]]) == pytest.approx(simulated, rel=0.25)


def test_the_one_sided_error_on_sparse_left_skewed_data():
    # nine in ten differences are small; rare large losses: Student's t passes too often, this one does not
    rng = np.random.default_rng(1)
    n, n_trials, alpha = 100, 6000, 0.05
    d = np.where(rng.random((n_trials, n)) < 0.03, -1.0, 0.0) + np.where(rng.random((n_trials, n)) < 0.01, 1.0, 0.0)
    d += 0.05 * rng.standard_normal((n_trials, n))
    t = (d.mean(axis=1) + 0.02) / (d.std(axis=1, ddof=1) / math.sqrt(n))
    adjusted = stats.t.sf(t, [variance_df(row) for row in d]) <= alpha
    student = stats.t.sf(t, n - 1) <= alpha
    assert adjusted.mean() < student.mean()
    assert adjusted.mean() <= 0.09  # the estimated kurtosis does not cure everything at a hundred prompts


def test_refusals():
    for bad in ([1.0], [], [1.0, math.nan]):
        with pytest.raises(StatisticsError):
            variance_df(bad)
