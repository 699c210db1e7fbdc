"""The weighted mean of scores, with an interval over clusters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import cluster_codes, finite_array
from harness.stats.bounded_interval import bounded_mean_limits
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level
from harness.stats.rate_interval import informative_degrees_of_freedom

Floats = NDArray[np.float64]


def weighted_mean(
    values: Sequence[float] | Floats,
    weights: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
    method: str = "weighted mean",
) -> Estimate:
    """Estimate a weighted mean.

    Parameters
    ----------
    values : sequence of float, length n
        The scores.
    weights : sequence of float, length n
        Their weights, above 0.
    clusters : sequence of hashable, length n
        The prompt of each score.
    level : float
        Nominal coverage.
    bounds : tuple of float, optional
        Ends of the scores' scale.
    method : str
        What the mean is, put before the interval's description.

    Returns
    -------
    Estimate
        In the unit of `values`. The standard error is that of a ratio of cluster totals [1]_. On a scale that ends, the
        interval is :func:`harness.stats.bounded_interval.bounded_mean_limits`; otherwise it is a t interval.

    Raises
    ------
    StatisticsError
        A score off the scale, a weight that is not positive, lengths that differ, fewer than two clusters.

    References
    ----------
    .. [1] Cochran (1977), Sampling Techniques, section 6.4, the variance of a ratio of totals.
    """
    value_array, weight_array = finite_array(values, "scores"), finite_array(weights, "weights")
    if value_array.size != weight_array.size:
        raise StatisticsError(f"{value_array.size} scores and {weight_array.size} weights", "one weight a score")
    if np.any(weight_array <= 0):
        raise StatisticsError("a weight of zero or less", "weights above 0", "leave out what is not scored")
    low, high = bounds or (0.0, 1.0)
    if bounds is not None and np.any((value_array < low) | (value_array > high)):
        raise StatisticsError("a score outside the scale", f"scores between {low:g} and {high:g}")
    codes, n_clusters = cluster_codes(clusters, value_array.size)
    total, weight = np.zeros(n_clusters), np.zeros(n_clusters)
    np.add.at(total, codes, weight_array * (value_array - low) / (high - low))
    np.add.at(weight, codes, weight_array)
    mass = weight.sum()
    mean = float(total.sum() / mass)
    influence = (total - mean * weight) / mass
    if n_clusters < 2:
        raise StatisticsError(f"{n_clusters} prompt(s)", "at least 2 prompts", "an interval needs independent prompts")
    checked_level(level)
    centred = influence - influence.mean()
    stderr = (high - low) * float(np.sqrt(float(centred @ centred) * n_clusters / (n_clusters - 1)))
    value = low + (high - low) * mean
    if bounds is None:
        degrees = informative_degrees_of_freedom(influence)
        half = float(stats.t.ppf(0.5 + level / 2.0, degrees)) * stderr
        limits = value - half, value + half
        how = f"{method}; cluster-robust over prompts, t, {degrees:.1f} degrees of freedom"
    else:
        shares = bounded_mean_limits(total, weight, level)
        limits = low + (high - low) * shares[0], low + (high - low) * shares[1]
        how = f"{method}; mid-p Gaffke interval over prompts"
    return Estimate(value, stderr, *limits, level, how, value_array.size, n_clusters)
