"""The mean of scores, with an interval that knows which scores belong to one prompt.

MT-Bench's two turns are one question and Arena-Hard's two games one prompt; the interval treats what shares a
cluster as one draw. Scales that end (0 to 1, 1 to 10) get an interval that stays on the scale.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array
from harness.stats.bounded_interval import bounded_mean_limits
from harness.stats.estimate import Estimate

_ROUNDING = 1e-12
"""Relative spread below which values count as all equal; floating-point means are that exact."""
_SKEWED = 0.25
"""Skewness of the cluster totals over the root of their number, above which the mean rests on a few of them."""
_SKEWNESS_KNOWN = 50
"""Clusters below which the sample's skewness does not tell the t intervals that miss (`bench/coverage.py`)."""


def checked_level(level: float) -> float:
    """Return `level`, refusing what is not strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise StatisticsError(f"level is {level}", "a number between 0 and 1", "write 0.95 for 95 %")
    return float(level)


@dataclass(frozen=True, slots=True)
class ClusterVariance:
    """The mean of clustered observations and how well it is known.

    Parameters
    ----------
    mean : float
        Plain mean over observations.
    stderr : float or None
        CR2 standard error; None with one cluster.
    df : float or None
        Satterthwaite degrees of freedom; None with one cluster.
    n, n_clusters : int
        Observations, clusters.
    skewness : float
        Third standardised moment of the clusters' residual totals, over the root of their number; 0 without spread.
        The error of a t interval's coverage grows with it (Johnson 1978, JASA 73:536-544).
    """

    mean: float
    stderr: float | None
    df: float | None
    n: int
    n_clusters: int
    skewness: float = 0.0


def cluster_variance(
    values: Sequence[float] | Floats, clusters: Sequence[Hashable] | NDArray[np.generic]
) -> ClusterVariance:
    """Mean, bias-reduced cluster-robust standard error (CR2) and its degrees of freedom.

    For an intercept-only model CR2 has a closed form. With residual sums S_g over clusters of m_g observations,
    n in all, V = n^-2 sum_g S_g^2 / (1 - m_g / n), and under the working model of independent observations
    df = n^2 / (sum_g m_g^2 + [(sum_g c_g)^2 - sum_g c_g^2] / n^2) with c_g = m_g^2 / (1 - m_g / n). Clusters of
    equal size give V = G / (G - 1) n^-2 sum S_g^2 and df = G - 1; clusters of one give s / sqrt(n).

    Parameters
    ----------
    values : sequence of float, length n
        One score per observation.
    clusters : sequence of hashable, length n
        The cluster of each.

    Returns
    -------
    ClusterVariance

    Raises
    ------
    StatisticsError
        Nothing to average, a value that is not finite, or lengths that differ.

    References
    ----------
    Bell and McCaffrey (2002), Bias reduction in standard errors for linear regression with multi-stage samples,
    Survey Methodology 28:169-181. Pustejovsky and Tipton (2018), Small-sample methods for cluster-robust variance
    estimation, J. Business & Economic Statistics 36:672-683, equations 5 and 11.
    """
    array = finite_array(values, "values")
    codes, n_clusters = cluster_codes(clusters, array.size)
    n = array.size
    mean = float(array.mean())
    if n_clusters == 1:
        return ClusterVariance(mean, None, None, n, 1)
    sizes = np.bincount(codes, minlength=n_clusters).astype(np.float64)
    residual_sums = np.bincount(codes, weights=array - mean, minlength=n_clusters)
    leverage_left = 1.0 - sizes / n
    variance = float((residual_sums**2 / leverage_left).sum()) / n**2
    cross = sizes**2 / leverage_left
    df = n**2 / float((sizes**2).sum() + (cross.sum() ** 2 - (cross**2).sum()) / n**2)
    stderr = variance**0.5
    spread = float(np.ptp(array))
    if spread <= _ROUNDING * max(1.0, abs(mean)):
        stderr = 0.0
    second = float((residual_sums**2).mean())
    third = float((residual_sums**3).mean())
    skewness = third / second**1.5 / n_clusters**0.5 if stderr > 0.0 else 0.0
    return ClusterVariance(mean, stderr, df, n, n_clusters, skewness)


def score_interval(mean: float, n_effective: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval on [0, 1] for a mean worth `n_effective` independent binary observations.

    Parameters
    ----------
    mean : float
        In [0, 1].
    n_effective : float
        Positive.
    quantile : float
        Normal or t quantile.

    Returns
    -------
    low, high : float

    References
    ----------
    Wilson (1927), Probable inference, JASA 22:209-212. With an effective sample size from the design effect: Franco,
    Little, Louis and Slud (2019), J. Survey Statistics and Methodology 7:334-364.
    """
    scale = 1.0 + quantile**2 / n_effective
    centre = (mean + quantile**2 / (2.0 * n_effective)) / scale
    half = quantile / scale * (mean * (1.0 - mean) / n_effective + quantile**2 / (4.0 * n_effective**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def cluster_mean(
    values: Sequence[float] | Floats,
    clusters: Sequence[Hashable] | NDArray[np.generic],
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Mean over observations with a cluster-robust interval.

    Parameters
    ----------
    values : sequence of float, length n
        One score per observation, what was not scored left out by the caller.
    clusters : sequence of hashable, length n
        The independent unit (prompt, question) of each observation.
    level : float
        Nominal coverage.
    bounds : tuple of two floats, optional
        The ends of the scale the scores live on. With them the interval stays on the scale and keeps its coverage
        near its ends.

    Returns
    -------
    Estimate
        In the unit of `values`. One cluster: no standard error, no interval, and a note that says why.

    Raises
    ------
    StatisticsError
        Nothing to average, a value not finite or off the scale, lengths that differ, an impossible level.

    Notes
    -----
    Without bounds: mean ± t CR2 standard errors, Satterthwaite degrees of freedom. With bounds:
    :func:`harness.stats.bounded_interval.bounded_mean_limits`, which for one binary score a cluster is the mid-p
    Clopper-Pearson interval. `bench/coverage.py` measures both on published verdicts.
    """
    checked_level(level)
    found = cluster_variance(values, clusters)
    if bounds is not None:
        _check_bounds(np.asarray(values, dtype=np.float64), bounds)
    n, n_clusters = found.n, found.n_clusters
    if found.stderr is None or found.df is None:
        note = "one cluster: no spread between clusters to learn an interval from"
        return Estimate(found.mean, None, None, None, level, "mean", n, n_clusters, note)
    if bounds is not None:
        return _bounded(found, np.asarray(values, dtype=np.float64), clusters, level, bounds)
    quantile = float(stats.t.ppf(0.5 + level / 2.0, found.df))
    note = "every score is the same; the interval shows no spread" if found.stderr == 0.0 else _skew_note(found)
    half = quantile * found.stderr
    method = f"mean; CR2 cluster-robust t interval, {found.df:.1f} degrees of freedom"
    return Estimate(found.mean, found.stderr, found.mean - half, found.mean + half, level, method, n, n_clusters, note)


def _skew_note(found: ClusterVariance) -> str:
    skewed = found.n_clusters >= _SKEWNESS_KNOWN and abs(found.skewness) > _SKEWED
    return "the mean rests on a few prompts; the interval may be too narrow" if skewed else ""


def _check_bounds(array: Floats, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise StatisticsError(f"the scale is {bounds}", "two finite numbers, the lower first")
    outside = (array < low) | (array > high)
    if outside.any():
        raise StatisticsError(
            f"{int(outside.sum())} of {array.size} values are off the scale, for example {array[outside][0]:g}",
            f"values from {low:g} to {high:g}",
            "check the unit (percent or share) and that no -1 marks a failed verdict",
        )


def _bounded(
    found: ClusterVariance,
    array: Floats,
    clusters: Sequence[Hashable] | NDArray[np.generic],
    level: float,
    bounds: tuple[float, float],
) -> Estimate:
    low, high = bounds
    codes, n_clusters = cluster_codes(clusters, array.size)
    sizes = np.bincount(codes, minlength=n_clusters).astype(np.float64)
    totals = np.bincount(codes, weights=(array - low) / (high - low), minlength=n_clusters).astype(np.float64)
    limits = bounded_mean_limits(totals, sizes, level)
    ci_low, ci_high = (low + (high - low) * limit for limit in limits)
    method = "mean; mid-p Gaffke interval over clusters"
    return Estimate(found.mean, found.stderr, ci_low, ci_high, level, method, found.n, n_clusters)
