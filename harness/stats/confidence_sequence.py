"""Means of bounded values that may be looked at after every observation, by betting.

A confidence sequence covers the mean at all times at once with the stated probability, so it may be watched, stopped
at and continued at will. Values are independent draws (prompts in random order) from one law on a bounded scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import logsumexp

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array

_SMALLEST_MEAN = 1e-9
"""Means below this, of values in [0, 1], are never refuted."""


class Scale(NamedTuple):
    """Ends of the scale the values live on."""

    low: float
    high: float


_BETS = np.geomspace(0.01, 0.95, 16)
"""The bets, as shares of the capital that can be lost at one observation; each starts with capital in proportion."""


def _on_scale(values: Sequence[float] | Floats, scale: Scale) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    finite_array(array.reshape(-1), "values")
    if not (math.isfinite(scale.low) and math.isfinite(scale.high) and scale.low < scale.high):
        raise StatisticsError(f"the scale is {tuple(scale)}", "two finite numbers, the lower first")
    slack = 1e-9 * (scale.high - scale.low)
    if array.min() < scale.low - slack or array.max() > scale.high + slack:
        raise StatisticsError(
            f"values from {array.min():g} to {array.max():g}",
            f"values from {scale.low:g} to {scale.high:g}",
            "check the unit and that no -1 marks a failed verdict",
        )
    return np.clip((array - scale.low) / (scale.high - scale.low), 0.0, 1.0)


def betting_log_capital(
    values: Sequence[float] | Floats, threshold: float, scale: Scale, bets: Floats = _BETS
) -> Floats:
    """Logarithm of the capital of a gambler who bets that the mean exceeds the threshold.

    With values x_i moved to [0, 1] and the threshold to m, the bet c turns capital K into K (1 + c (x_i - m) / m),
    at worst K (1 - c). If the mean is at most m no bet gains on average, so the capital, averaged over a grid of
    bets, is a nonnegative supermartingale that starts at 1 and, ever, reaches 1/alpha with probability alpha at
    most (Ville). It is an e-value against "the mean is at most the threshold", at every time.

    Parameters
    ----------
    values : array, shape (..., n)
        In the order observed; the last axis is time.
    threshold : float
        In the values' unit.
    scale : Scale
        Ends of the values' scale.
    bets : ndarray, shape (n_bets,)
        Shares of the capital that can be lost at one observation, in (0, 1); each starts with capital in proportion.

    Returns
    -------
    ndarray, shape (..., n)
        Log capital after each observation; 0 everywhere for a threshold at or above the scale's high end, where
        nothing can be won.

    Raises
    ------
    StatisticsError
        No values, one that is not finite or off the scale, or a threshold not above the scale's low end.

    References
    ----------
    Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, J. Royal Statistical
    Society B 86:1-27, section 4 (capital process) and appendix B (the average over a grid, "diversified Kelly").
    """
    x = _on_scale(values, scale)
    m = (threshold - scale.low) / (scale.high - scale.low)
    if m <= 0.0:
        raise StatisticsError(f"threshold {threshold:g} is not above the scale's low end {scale.low:g}")
    if m >= 1.0:
        return np.zeros_like(x)
    log_weights = np.log(bets / bets.sum())
    gains = (x - m) / m
    paths = np.empty((bets.size, *x.shape))
    for index, bet in enumerate(bets):
        np.cumsum(np.log1p(bet * gains), axis=-1, out=paths[index])
    weights = log_weights.reshape(-1, *(1,) * x.ndim)
    return np.asarray(logsumexp(paths + weights, axis=0))


def e_to_p(log_e: float) -> float:
    """Turn the largest capital so far, an e-value, into a p-value: min(1, 1/e) (Ville's inequality)."""
    return 1.0 if log_e <= 0.0 else math.exp(-log_e)


def betting_limits(
    values: Sequence[float] | Floats, alpha: float, scale: Scale, bets: Floats = _BETS
) -> tuple[float, float]:
    """Compute limits of the mean after the last observation.

    They are the thresholds that the gambler of `betting_log_capital` did not refute, on either side. Computed after
    every observation they are a confidence sequence: each side ever fails with probability alpha at most.

    Parameters
    ----------
    values : sequence of float, length n
        In the order observed.
    alpha : float
        One-sided error; the two-sided interval has level 1 - 2 alpha.
    scale, bets
        As in `betting_log_capital`.

    Returns
    -------
    low, high : float

    Raises
    ------
    StatisticsError
        As in `betting_log_capital`, or an impossible alpha.
    """
    if not 0.0 < alpha < 0.5:
        raise StatisticsError(f"alpha is {alpha}", "a number between 0 and 0.5", "0.05 is usual")
    x = _on_scale(finite_array(values, "values"), scale)
    width = scale.high - scale.low
    low, high = (_lower_limit(part, bets, -math.log(alpha)) for part in (x, 1.0 - x))
    return scale.low + width * low, scale.high - width * high


def _lower_limit(x: Floats, bets: Floats, target: float) -> float:
    """Find the largest refuted mean in [0, 1]; the capital falls as the mean rises."""
    log_weights = np.log(bets / bets.sum())

    def excess(m: float) -> float:
        return float(logsumexp(log_weights + np.log1p(bets[:, None] * (x / m - 1.0)).sum(axis=1))) - target

    if excess(_SMALLEST_MEAN) <= 0.0:
        return 0.0
    return float(optimize.brentq(excess, _SMALLEST_MEAN, 1.0, xtol=1e-10))
