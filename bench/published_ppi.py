"""The interval of the PPI++ paper, which takes every pair for independent: what ours is compared with."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from harness.stats.estimate import Estimate
from harness.stats.prediction_powered import LabelledSample


def published_interval(sample: LabelledSample, level: float = 0.95, power: float | None = None) -> Estimate:
    """Compute the paper's own estimate and interval.

    Equation 4 and algorithm 2 (power tuning) of the PPI++ paper with the closed form for means,
    lambda = Cov(Y, f) / ((1 + n/N) Var f), Var f over all pairs, cut to [0, 1]; the variance is
    Var(Y - lambda f) / n + lambda^2 Var(f) / N.

    Parameters
    ----------
    sample : LabelledSample
        The pairs; clusters are ignored.
    level : float
        Nominal coverage.
    power : float, optional
        A fixed lambda; tuned where not given.

    Returns
    -------
    Estimate

    References
    ----------
    Angelopoulos, Duchi and Zrnic (2023), PPI++: Efficient prediction-powered inference, arXiv:2311.01453.
    """
    y, f, other = (np.asarray(part, float) for part in (sample.labels, sample.predictions, sample.unlabelled))
    lam = tuned_power(y, f, other) if power is None else power
    stderr = math.sqrt(float((y - lam * f).var()) / y.size + lam**2 * float(other.var()) / other.size)
    value, n = float(y.mean() - lam * (f.mean() - other.mean())), y.size + other.size
    half = float(stats.norm.ppf(0.5 + level / 2.0)) * stderr
    method = "PPI++, independent pairs, normal interval"
    return Estimate(value, stderr, value - half, value + half, level, method, n, n)


def tuned_power(y: np.ndarray, f: np.ndarray, other: np.ndarray) -> float:
    """The paper's lambda; 0 where the predictions do not vary."""
    variance = float(np.concatenate([f, other]).var(ddof=1))
    if variance <= 0.0:
        return 0.0
    covariance = float(((y - y.mean()) * (f - f.mean())).mean())
    return min(max(covariance / ((1.0 + y.size / other.size) * variance), 0.0), 1.0)
