"""Reliability diagram, calibration error and Brier score."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec
from harness.stats.calibration import bin_edges, reliability

FAST = BootstrapSpec(n_boot=200)


def test_by_hand():
    # bin [0.6, 0.7): 0.6 and 0.6, one right; bin [0.9, 1]: 0.9, 0.9, 1.0, all but one right
    found = reliability([0.6, 0.6, 0.9, 0.9, 1.0], [1, 0, 1, 0, 1], spec=FAST)
    low, high = found.bins
    assert (low.n, low.confidence, low.accuracy) == (2, pytest.approx(0.6), 0.5)
    assert (high.n, high.confidence, high.accuracy) == (3, pytest.approx(2.8 / 3), pytest.approx(2 / 3))
    assert found.ece.value == pytest.approx((2 * 0.1 + 0.8) / 5)
    assert (found.max_error, found.max_error_n) == (pytest.approx(0.8 / 3), 3)
    assert found.brier.value == pytest.approx((0.16 + 0.36 + 0.01 + 0.81 + 0.0) / 5)
    assert found.parts.uncertainty == pytest.approx(0.6 * 0.4)
    assert found.parts.reliability == pytest.approx(0.4 * 0.01 + 0.6 * (0.8 / 3) ** 2)
    assert found.parts.resolution == pytest.approx(0.4 * 0.01 + 0.6 * (2 / 3 - 0.6) ** 2)


@pytest.mark.parametrize("scheme", ["equal_width", "equal_mass"])
@pytest.mark.parametrize("soft", [False, True])
def test_the_parts_add_up_to_the_brier_score(scheme, soft):
    rng = np.random.default_rng(3)
    p = rng.uniform(size=300)
    outcome = rng.uniform(size=300) if soft else rng.uniform(size=300) < p**2
    found = reliability(p, outcome, 7, scheme, spec=FAST)
    parts = found.parts
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert total == pytest.approx(found.brier.value, abs=1e-12)
    assert sum(bar.n for bar in found.bins) == found.n == 300
    assert found.ece.value == pytest.approx(sum(bar.n * abs(bar.accuracy - bar.confidence) for bar in found.bins) / 300)


def test_against_scikit_learn():
    rng = np.random.default_rng(4)
    p = rng.uniform(size=500)
    outcome = rng.uniform(size=500) < p
    found = reliability(p, outcome, 10, spec=FAST)
    accuracy, confidence = calibration_curve(outcome, p, n_bins=10)
    assert [bar.accuracy for bar in found.bins] == pytest.approx(list(accuracy), abs=1e-9)
    assert [bar.confidence for bar in found.bins] == pytest.approx(list(confidence), abs=1e-9)
    assert found.brier.value == pytest.approx(brier_score_loss(outcome, p), abs=1e-9)


def test_equal_mass_bins_hold_equally_many_and_never_split_equal_confidences():
    p = np.linspace(0.5, 1.0, 100)
    assert [bar.n for bar in reliability(p, p > 0.7, 4, "equal_mass", spec=FAST).bins] == [24, 25, 25, 26]
    crowded = np.array([0.9] * 90 + [0.5] * 10)
    assert [bar.n for bar in reliability(crowded, crowded > 0.7, 10, "equal_mass", spec=FAST).bins] == [10, 90]
    assert reliability([0.7] * 5, [1, 1, 0, 1, 0], 10, "equal_mass", spec=FAST).ece.value == pytest.approx(0.1)
    assert list(bin_edges(p, 2, "equal_width")) == [0.0, 0.5, 1.0]


def simulate(power, repeats, rng):
    """Cover, reject: how often the interval holds the true error, and how often calibration is rejected at 5 %."""
    big = rng.uniform(0.3, 1.0, 1_000_000)
    which = np.minimum((big * 10).astype(int), 9)

    def truth(p):
        return p**power / (p**power + (1.0 - p) ** power)

    true = np.abs(np.bincount(which, weights=truth(big) - big)).sum() / big.size
    covered = rejected = 0
    for _ in range(repeats):
        p = rng.uniform(0.3, 1.0, 400)
        # two answers in three of a prompt share their luck
        luck = np.where(rng.uniform(size=400) < 2 / 3, np.repeat(rng.uniform(size=100), 4), rng.uniform(size=400))
        found = reliability(p, luck < truth(p), clusters=np.repeat(np.arange(100), 4).tolist(), rng=rng, spec=FAST)
        covered += found.ece.ci_low <= true <= found.ece.ci_high
        rejected += found.p_calibrated <= 0.05
    return covered / repeats, rejected / repeats


def test_coverage_and_level_with_clusters():
    rng = np.random.default_rng(5)
    covered, rejected = simulate(1.0, 200, rng)
    assert covered >= 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5
    assert rejected <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    covered, _ = simulate(0.7, 100, rng)
    assert covered >= 0.95 - 3 * (0.05 * 0.95 / 100) ** 0.5
    covered, rejected = simulate(0.2, 100, rng)
    assert covered >= 0.95 - 3 * (0.05 * 0.95 / 100) ** 0.5
    assert rejected > 0.95


def test_a_calibrated_source_shows_the_error_that_noise_gives():
    rng = np.random.default_rng(6)
    p = rng.uniform(size=200)
    seen = [reliability(p, rng.uniform(size=200) < p, spec=FAST, rng=rng) for _ in range(50)]
    values = [found.ece.value for found in seen]
    by_chance = [found.ece_if_calibrated for found in seen]
    assert np.mean(values) == pytest.approx(np.mean(by_chance), rel=0.1)


def test_one_cluster_has_no_interval_and_json_is_finite():
    found = reliability([0.9, 0.8, 0.4], [1, 1, 0], clusters=["q", "q", "q"])
    assert found.ece.ci_low is None and found.p_calibrated is None and "one cluster" in found.ece.note
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], []), "no confidences"),
        (([0.5], [1, 0]), "1 confidences for 2"),
        (([50.0], [1]), "outside 0 to 1"),
        (([0.5], [2]), "outside 0 to 1"),
        (([float("nan")], [1]), "NaN"),
        (([0.5], [1], 0), "0 bins"),
        (([0.5], [1], 10, "quantile"), "scheme"),
    ],
)
def test_wrong_input(arguments, words):
    with pytest.raises(StatisticsError, match=words):
        reliability(*arguments)
