"""Recalibration: by hand, against scikit-learn, and that it helps on prompts it never saw."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from harness.errors import StatisticsError
from harness.stats.recalibration import cross_fitted, fit_isotonic, fit_temperature, folded


def test_temperature_by_hand():
    # hard verdicts, 3 of 4 right: the calibrated confidence must be 0.75
    slope = fit_temperature([1.0, 1.0, 0.0, 0.0], [1, 0, 0, 0])
    assert special.expit(slope * special.logit(0.999)) == pytest.approx(0.75)
    assert fit_temperature([0.9, 0.9], [0, 0]) == 0.0
    assert fit_temperature([0.6, 0.4], [1, 0]) == 100.0


def test_temperature_is_logistic_regression_without_intercept():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 400)
    y = rng.uniform(size=400) < special.expit(0.4 * special.logit(p))
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10_000)
    model.fit(special.logit(p)[:, None], y)
    assert fit_temperature(p, y) == pytest.approx(model.coef_[0, 0], abs=1e-6)


def test_isotonic_by_hand_and_with_scikit_learn():
    # confidences 0.6 0.7 0.8 0.9 with right 1 0 1 1: the first two pool to one half
    fit = fit_isotonic([0.6, 0.3, 0.8, 0.9], [1, 1, 1, 1])
    assert fit(np.array([0.6, 0.7, 0.3, 0.8, 0.5])) == pytest.approx([0.5, 0.5, 0.5, 1.0, 0.5])
    rng = np.random.default_rng(1)
    p, y = np.round(rng.uniform(size=300), 2), rng.uniform(size=300)
    confidence, correct = folded(p, y)
    reference = IsotonicRegression(out_of_bounds="clip").fit(confidence, correct)
    new = rng.uniform(0.501, 1.0, 100)
    assert fit_isotonic(p, y)(new) == pytest.approx(reference.predict(new), abs=1e-9)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_the_name_of_the_answers_does_not_matter(method):
    rng = np.random.default_rng(2)
    p, y = rng.uniform(size=200), (rng.uniform(size=200) < 0.6).astype(float)
    prompts = np.repeat(np.arange(50), 4).tolist()
    one = cross_fitted(p, y, prompts, method, np.random.default_rng(3))
    other = cross_fitted(1 - p, 1 - y, prompts, method, np.random.default_rng(3))
    assert one == pytest.approx(1 - other, abs=1e-9)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_helps_out_of_fold_and_never_sees_its_prompt(method):
    rng = np.random.default_rng(4)
    p = rng.uniform(size=2000)
    y = (rng.uniform(size=2000) < special.expit(0.3 * special.logit(p))).astype(float)
    prompts = np.repeat(np.arange(400), 5).tolist()
    mapped = cross_fitted(p, y, prompts, method, rng)
    assert np.mean((mapped - y) ** 2) < np.mean((p - y) ** 2) - 0.02
    # outcomes that are noise and the same within a prompt: a fit that saw its prompt would look better than 0.25
    luck = np.repeat((rng.uniform(size=400) < 0.5).astype(float), 5)
    blind = cross_fitted(np.repeat(rng.uniform(size=400), 5), luck, prompts, method, rng)
    assert np.mean((blind - luck) ** 2) > 0.249
    assert np.isfinite(mapped).all() and 0 <= mapped.min() <= mapped.max() <= 1


def test_folded():
    confidence, correct = folded(np.array([0.9, 0.2, 0.5]), np.array([1.0, 1.0, 1.0]))
    assert confidence == pytest.approx([0.9, 0.8, 0.5])
    assert list(correct) == [1.0, 0.0, 0.5]


def test_wrong_input():
    with pytest.raises(StatisticsError, match="1 prompt"):
        cross_fitted([0.5, 0.6], [1, 0], ["q", "q"], "isotonic", np.random.default_rng(0))
    with pytest.raises(StatisticsError, match="outside 0 to 1"):
        fit_temperature([1.5], [1])
    with pytest.raises(StatisticsError, match="2 confidences for 1"):
        fit_isotonic([0.5, 0.6], [1])
    assert math.isfinite(fit_temperature([0.5, 0.5], [1, 0]))
