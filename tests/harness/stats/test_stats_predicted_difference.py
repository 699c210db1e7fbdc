"""A difference from labels and predictions: by hand, its limits, its size on skewed verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.stats.predicted_difference import PairedLabels, predicted_difference


def sample(n=60, m=200, seed=0, noise=0.1, second=None):
    rng = np.random.default_rng(seed)
    first = rng.beta(0.5, 1.5, n + m)
    other = rng.beta(0.5, 1.5, n + m) if second is None else np.full(n + m, second)
    guess = first - other + rng.normal(0.0, noise, n + m)
    return PairedLabels(first[:n], other[:n], guess[:n], guess[n:])


def test_by_hand():
    given = sample()
    found = predicted_difference(given)
    power = found.powered.power
    expected = (given.first - given.second).mean() - power * (given.predicted.mean() - given.unlabelled.mean())
    assert found.estimate.value == pytest.approx(expected)
    assert 0.5 < power < 1.0
    assert found.first - found.second == pytest.approx(expected)
    assert found.estimate.stderr < 0.6 * found.powered.labels_only.stderr


def test_p_values_and_limits_say_the_same():
    found = predicted_difference(sample(), 0.9)
    assert found.p_values(found.estimate.ci_low)[0] == pytest.approx(0.05, abs=1e-6)
    assert found.p_values(found.estimate.ci_high)[1] == pytest.approx(0.05, abs=1e-6)


def test_the_corrected_values_carry_the_estimate_and_its_error():
    found = predicted_difference(sample())
    assert found.corrected.mean() == pytest.approx(found.estimate.value)
    assert found.corrected.std(ddof=1) / np.sqrt(60) == pytest.approx(found.estimate.stderr)


def test_a_number_in_place_of_the_second_run():
    found = predicted_difference(sample(second=0.5))
    assert found.estimate.value == pytest.approx(-0.25, abs=0.1)


def test_predictions_without_use_cost_little():
    rng = np.random.default_rng(1)
    given = sample(seed=2)
    noise = PairedLabels(given.first, given.second, rng.normal(size=60), rng.normal(size=200))
    found = predicted_difference(noise)
    assert found.powered.power < 0.1
    assert found.estimate.stderr < 1.05 * found.powered.labels_only.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (sample(n=29), "29 labelled prompts"),
        (PairedLabels(np.ones(30), np.zeros(30), np.ones(30), np.ones(50)), "every label is the same"),
        (PairedLabels(np.arange(30.0), np.zeros(30), np.arange(30.0), np.array([])), "unlabelled predictions"),
    ],
)
def test_refusals(given, said):
    with pytest.raises(StatisticsError, match=said):
        predicted_difference(given)


def test_size_at_thirty_labels_of_skewed_verdicts():
    rng, hits, trials = np.random.default_rng(3), [0, 0], 1500
    for _ in range(trials):
        x = rng.beta(0.3, 1.7, 180)
        guess = np.clip(x + rng.normal(0.0, 0.15, 180), 0.0, 1.0)
        found = predicted_difference(PairedLabels(x[:30], np.zeros(30), guess[:30], guess[30:]))
        hits = [hit + (p <= 0.05) for hit, p in zip(hits, found.p_values(0.15), strict=True)]
    assert max(hits) / trials < 0.065
