"""The cluster bootstrap: by hand, against scipy, and by simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec, cluster_bootstrap, cluster_resamples, expanded_tails


def weighted_mean_of(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_by_hand_two_clusters():
    # draws of two from clusters with means 0 and 1: 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so sd is 1 / sqrt(8)
    values = np.array([0.0, 0.0, 1.0, 1.0])
    spec = BootstrapSpec(n_boot=4000)
    result = cluster_bootstrap(weighted_mean_of(values), [0, 0, 1, 1], np.random.default_rng(0), spec)
    assert result.value == 0.5
    assert set(result.replicates) == {0.0, 0.5, 1.0}
    assert result.stderr == pytest.approx(8**-0.5, abs=0.01)


def test_agrees_with_scipy_where_every_observation_is_a_cluster():
    rng = np.random.default_rng(1)
    values = rng.exponential(size=400)
    spec = BootstrapSpec(n_boot=6000)
    result = cluster_bootstrap(weighted_mean_of(values), range(400), np.random.default_rng(2), spec)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=6000, method="percentile", rng=np.random.default_rng(3))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert result.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.06 * width)
    assert result.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.06 * width)
    assert result.stderr == pytest.approx(theirs.standard_error, rel=0.05)


def test_coverage_with_twenty_clusters():
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(20), 3)
    hits, n_trials = 0, 500
    for _ in range(n_trials):
        values = rng.normal(size=60) + rng.normal(size=20)[clusters]
        spec = BootstrapSpec(n_boot=400)
        result = cluster_bootstrap(weighted_mean_of(values), clusters, rng, spec)
        hits += result.ci_low <= 0.0 <= result.ci_high
    assert hits / n_trials == pytest.approx(0.95, abs=0.03)


def test_expanded_tails_give_the_t_interval_of_a_normal_bootstrap():
    low, high = expanded_tails(0.95, 10)
    assert stats.norm.ppf(high) == pytest.approx(stats.t.ppf(0.975, 9) * math.sqrt(10 / 9))
    assert low == pytest.approx(1.0 - high)


def test_batches_add_up_and_draw_as_many_clusters_as_there_are():
    batches = list(cluster_resamples(5, 3_000_000, np.random.default_rng(0), 7))
    assert len(batches) > 1
    counts = np.concatenate(batches)
    assert counts.shape == (7, 5)
    assert (counts.sum(axis=1) == 5).all()


def test_same_seed_same_result():
    values = np.arange(10.0)
    results = [cluster_bootstrap(weighted_mean_of(values), range(10), np.random.default_rng(9)) for _ in range(2)]
    assert np.array_equal(results[0].replicates, results[1].replicates)


def test_one_cluster_has_no_interval():
    result = cluster_bootstrap(weighted_mean_of(np.array([1.0, 3.0])), ["a", "a"], np.random.default_rng(0))
    assert result.value == 2.0
    assert result.stderr is result.ci_low is None
    assert "one cluster" in result.note


def rare_group_mean(weights):
    with np.errstate(invalid="ignore"):
        return weights[:, 0] / weights[:, 0]


def test_statistic_undefined_on_many_resamples_is_refused():
    with pytest.raises(StatisticsError, match="undefined on"):
        cluster_bootstrap(rare_group_mean, range(30), np.random.default_rng(0))


def test_statistic_undefined_on_the_data_is_refused():
    with pytest.raises(StatisticsError, match="undefined on these data"):
        cluster_bootstrap(lambda w: np.full(len(w), np.nan), range(3), np.random.default_rng(0))


def test_few_undefined_resamples_are_counted_in_the_note():
    def mostly_defined(weights):
        return np.where(weights[:, :4].sum(axis=1) == 0.0, np.nan, weights[:, 0])

    result = cluster_bootstrap(mostly_defined, range(30), np.random.default_rng(0))
    assert "undefined" in result.note
    assert np.isfinite(result.replicates).all()


@pytest.mark.parametrize("options", [{"n_boot": 10}, {"level": 1.0}])
def test_impossible_spec_is_refused(options):
    with pytest.raises(StatisticsError):
        BootstrapSpec(**options)
