"""Make a confidence honest: temperature scaling and isotonic regression, fitted on other prompts than they are used on.

A judge's verdict is the probability p that the first of two answers is better, the truth the share of people who say
so. Nothing may depend on which answer is called first, so both fits are symmetric under p -> 1 - p.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
from scipy import optimize, special

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array

Recalibration = Literal["temperature", "isotonic"]
Mapping = Callable[[Floats], Floats]

CERTAIN = 1e-3
"""Probabilities are kept this far from 0 and 1 before their logit is taken: a hard verdict has none."""
_STEEPEST = 100.0


def folded(p: Floats, outcome: Floats) -> tuple[Floats, Floats]:
    """Confidence in the answer the judge prefers, and the share of people who prefer it too.

    Parameters
    ----------
    p, outcome : ndarray, shape (n,)
        Probability that the first answer is better, and share of people who say so.

    Returns
    -------
    confidence, correct : ndarray, shape (n,)
        A tie of the judge is a confidence of 0.5, and half right whatever people say.
    """
    correct = np.where(p > 0.5, outcome, np.where(p < 0.5, 1.0 - outcome, 0.5))
    return np.maximum(p, 1.0 - p), correct


def fit_temperature(p: Sequence[float] | Floats, outcome: Sequence[float] | Floats) -> float:
    """Fit the one number that makes log-odds honest.

    The calibrated probability is sigmoid(slope * logit p); the slope, one over the temperature, maximises the
    likelihood of the outcomes.

    Parameters
    ----------
    p, outcome : sequence of float, length n
        Probabilities that the first is better and what people said (0, 1 or a share).

    Returns
    -------
    float
        The slope, from 0 (the verdicts are worth nothing) to 100; 1 leaves them as they are.

    Raises
    ------
    StatisticsError
        Nothing given, NaN, or lengths that differ.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, ICML 70:1321-1330, section 4.2.
    """
    sure, y = _pairs(p, outcome)
    x = _logits(sure)

    def slope_of_likelihood(slope: float) -> float:
        return float(x @ (y - special.expit(slope * x)))

    if slope_of_likelihood(0.0) <= 0.0:
        return 0.0
    if slope_of_likelihood(_STEEPEST) >= 0.0:
        return _STEEPEST
    return float(optimize.brentq(slope_of_likelihood, 0.0, _STEEPEST, xtol=1e-12))


def fit_isotonic(p: Sequence[float] | Floats, outcome: Sequence[float] | Floats) -> Mapping:
    """Fit the best non-decreasing map from confidence to the share that is right.

    Parameters
    ----------
    p, outcome : sequence of float, length n
        As in :func:`fit_temperature`.

    Returns
    -------
    callable
        Maps probabilities to calibrated ones; linear between the confidences seen, constant beyond them.

    Raises
    ------
    StatisticsError
        Nothing given, NaN, or lengths that differ.

    References
    ----------
    Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability estimates, KDD.
    """
    confidence, correct = folded(*_pairs(p, outcome))
    levels, which = np.unique(confidence, return_inverse=True)
    weights = np.bincount(which).astype(np.float64)
    fitted = optimize.isotonic_regression(np.bincount(which, weights=correct) / weights, weights=weights).x

    def apply(values: Floats) -> Floats:
        sure = np.interp(np.maximum(values, 1.0 - values), levels, fitted)
        mapped: Floats = np.where(values > 0.5, sure, np.where(values < 0.5, 1.0 - sure, 0.5))
        return mapped

    return apply


def cross_fitted(
    p: Sequence[float] | Floats,
    outcome: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    method: Recalibration,
    rng: np.random.Generator,
    n_folds: int = 5,
) -> Floats:
    """Recalibrate every probability by a fit that never saw its prompt.

    Parameters
    ----------
    p, outcome : sequence of float, length n
        As in :func:`fit_temperature`.
    clusters : sequence of hashable, length n
        The prompt of each.
    method : {"temperature", "isotonic"}
        What to fit.
    rng : numpy.random.Generator
        Divides the prompts into folds.
    n_folds : int
        Parts; at most one per prompt.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    StatisticsError
        Fewer than two prompts or folds, NaN, lengths that differ.
    """
    values, truth = _pairs(p, outcome)
    codes, n_clusters = cluster_codes(clusters, values.size)
    n_folds = min(n_folds, n_clusters)
    if n_folds < 2:
        raise StatisticsError(
            f"{n_clusters} prompt(s) and {n_folds} fold(s)", "at least 2 of each", "recalibration needs other prompts"
        )
    fold = rng.permutation(n_clusters)[codes] % n_folds
    fitted = np.empty_like(values)
    for k in range(n_folds):
        here, there = fold == k, fold != k
        if method == "temperature":
            slope = fit_temperature(values[there], truth[there])
            fitted[here] = special.expit(slope * _logits(values[here]))
        else:
            fitted[here] = fit_isotonic(values[there], truth[there])(values[here])
    return fitted


def _pairs(p: Sequence[float] | Floats, outcome: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    values, truth = finite_array(p, "confidences"), finite_array(outcome, "outcomes")
    if truth.size != values.size:
        raise StatisticsError(f"{values.size} confidences for {truth.size} outcomes", "one of each per observation")
    return values, truth


def _logits(p: Floats) -> Floats:
    if ((p < 0.0) | (p > 1.0)).any():
        raise StatisticsError("confidences outside 0 to 1", "probabilities from 0 to 1")
    logits: Floats = special.logit(np.clip(p, CERTAIN, 1.0 - CERTAIN))
    return logits
