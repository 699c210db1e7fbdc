"""An interval for a mean on a scale that ends, right also where the scores that decide it have not been seen yet.

A sample of 30 prompts from a model that wins 2 % often holds no win. Its spread then says nothing of the wins that
other prompts would bring, and an interval made from the spread misses them. The scale's end bounds what they can be.
Gaffke's interval adds one more prompt at that end. The interval here adds it at either end with probability one half;
for scores of 0 and 1 it is the mid-p Clopper-Pearson interval.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from harness.stats.bootstrap import Floats

_STEP = 0.15
"""Distance of the quadrature's nodes; the error falls as exp(-pi^2 / step)."""
_NODES_AT_ONCE = 24
_MOST_NODES = 240
_NEGLIGIBLE = 1e-14
_LIMIT_TOLERANCE = 1e-10


def bounded_mean_limits(totals: Floats, weights: Floats, level: float) -> tuple[float, float]:
    r"""Confidence limits of a ratio of totals whose scores lie between 0 and 1.

    With totals :math:`T_g` and weights :math:`W_g` of G independent clusters, the confidence distribution is that of

    .. math:: \frac{\sum_g E_g T_g + E_0 \bar W B}{\sum_g E_g W_g + E_0 \bar W}

    with independent standard exponential E and B equal to 0 or 1 with probability 1/2 each: the Bayesian bootstrap of
    the clusters and of one more, of average weight, at an end of the scale. The limits are its quantiles at
    (1 - level) / 2 and (1 + level) / 2.

    Parameters
    ----------
    totals : ndarray, shape (G,)
        Weighted sum of each cluster's scores, from 0 to the cluster's weight.
    weights : ndarray, shape (G,)
        Sum of each cluster's weights, above 0.
    level : float
        Nominal coverage.

    Returns
    -------
    low, high : float
        From 0 to 1. With every score 0 the low limit is 0 and the high one Gaffke's, which for clusters of equal weight
        is Clopper and Pearson's 1 - ((1 - level) / 2)^(1 / G); with every score 1 likewise.

    Notes
    -----
    With B always 1 the quantile at (1 + level) / 2 is Gaffke's upper bound, with B always 0 the other his lower bound;
    for binary scores they are Clopper and Pearson's and cover more than the level, as theirs do. The mixture of the two
    is to Gaffke's interval what mid-p is to Clopper and Pearson's. `bench/coverage.py` measures its coverage.

    References
    ----------
    Gaffke (2005), Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable,
    Mathematical Methods of Statistics 14:451-467. Learned-Miller and Thomas (2019), A new confidence interval for the
    mean of a bounded random variable, arXiv:1905.06208. Rubin (1981), The Bayesian bootstrap, Annals of Statistics
    9:130-134. Lancaster (1961), Significance tests in discrete distributions, JASA 56:223-234 (mid-p).
    """
    tail = (1.0 - level) / 2.0
    lost = np.maximum(weights - totals, 0.0)
    # with all scores at one end the half of the distribution that adds another prompt there says nothing of the limit
    tails = [tail if against.any() else tail / 2.0 for against in (lost, totals)]
    return _lower_limit(totals, weights, tails[0]), 1.0 - _lower_limit(lost, weights, tails[1])


def confidence_below(totals: Floats, weights: Floats, value: float) -> float:
    r"""Probability of the confidence distribution of `bounded_mean_limits` up to a value.

    Parameters
    ----------
    totals, weights : ndarray, shape (G,)
        As in `bounded_mean_limits`.
    value : float
        Between 0 and 1, neither of them.

    Returns
    -------
    float

    Notes
    -----
    With :math:`a_g = T_g - v W_g` and :math:`a_0 = \bar W (B - v)` it is the probability that
    :math:`\sum_g E_g a_g + E_0 a_0 \le 0`, averaged over the two B, and so

    .. math:: \frac{1}{2 \pi i} \int \frac{1}{z} \prod_g \frac{1}{1 + z a_g}
        \frac{1}{2} \sum_B \frac{1}{1 + z a_0} dz

    along any path from below to above that crosses the real axis between 0 and the first pole to its right. The path
    starts where the integrand is smallest on the axis and bends as the steepest descent does. On it the integrand falls
    like a normal density, and after y = h sinh(u) the trapezoidal rule is exact to eight digits.

    References
    ----------
    Rice (1980), Distribution of quadratic forms in normal random variables: evaluation by numerical integration, SIAM
    J. Scientific and Statistical Computing 1:438-448.
    """
    return _below(*_merged(totals, weights), value)


_Merged = tuple[Floats, Floats, Floats, float]
"""Distinct pairs of total and weight, how many clusters have each, and the mean weight."""


def _merged(totals: Floats, weights: Floats) -> _Merged:
    _, first, counts = np.unique(totals + 1j * weights, return_index=True, return_counts=True)
    return totals[first], weights[first], counts.astype(np.float64), float(weights.mean())


def _below(totals: Floats, weights: Floats, counts: Floats, mean_weight: float, value: float) -> float:
    shift = totals - value * weights
    ends = mean_weight * (np.array([0.0, 1.0]) - value)
    if float(shift @ counts + ends.mean()) < 0.0:
        return 1.0 - _smaller_tail(-shift, counts, -ends)
    return _smaller_tail(shift, counts, ends)


def _smaller_tail(shift: Floats, counts: Floats, ends: Floats) -> float:
    """Probability that the sum is at most 0 where its mean is at least 0."""
    x, width, bend = _path(np.append(shift, ends), np.append(counts, [0.5, 0.5]))
    total, first_size = 0.0, 0.0
    for first in range(0, _MOST_NODES, _NODES_AT_ONCE):
        u = _STEP * np.arange(first, first + _NODES_AT_ONCE)
        y = width * np.sinh(u)
        root = np.sqrt(1.0 + (4.0 * bend * y) ** 2)
        z = x + 2.0 * bend * y**2 / (1.0 + root) + 1j * y
        log_product = -(counts @ np.log(1.0 + np.multiply.outer(shift, z)))
        at_ends = 0.5 * (1.0 / (1.0 + z * ends[0]) + 1.0 / (1.0 + z * ends[1]))
        with np.errstate(over="ignore", invalid="ignore"):  # only beyond the first negligible node
            terms = np.exp(log_product) * at_ends / z * (1.0 - 2j * bend * y / root) * np.cosh(u)
        first_size = first_size or float(abs(terms[0]))
        if first_size == 0.0:
            return 0.0
        negligible = np.flatnonzero(~(np.abs(terms) > _NEGLIGIBLE * first_size))
        used = terms.real[: negligible[0]] if negligible.size else terms.real
        total += float(used.sum()) - (0.5 * float(used[0]) if first == 0 else 0.0)
        if negligible.size:
            break
    return min(max(total * _STEP * width / np.pi, 0.0), 1.0)


def _path(coefficients: Floats, shapes: Floats) -> tuple[float, float, float]:
    """Where on the axis the integrand is smallest, its width across, and how its steepest descent bends."""
    pole = -1.0 / float(coefficients.min())

    def slope(odds: float) -> float:
        """Slope of the integrand's logarithm times x (pole - x), which keeps it finite at both ends."""
        x = pole * float(special.expit(odds))
        return -(pole - x) * (x * float(shapes @ (coefficients / (1.0 + x * coefficients))) + 1.0)

    x = pole * float(special.expit(optimize.brentq(slope, -60.0, 30.0, xtol=1e-3)))
    ratio = coefficients / (1.0 + x * coefficients)
    second, third = float(shapes @ ratio**2), -2.0 * float(shapes @ ratio**3)
    return x, (second + x**-2) ** -0.5, third / (6.0 * second)


def _lower_limit(totals: Floats, weights: Floats, tail: float) -> float:
    """Quantile of the confidence distribution at `tail`, below a half."""
    mean = float(totals.sum() / weights.sum())
    merged, target = _merged(totals, weights), float(special.ndtri(tail))

    def excess(value: float) -> float:
        return float(special.ndtri(min(max(_below(*merged, value), 1e-300), 1.0 - 1e-16))) - target

    low, high = _LIMIT_TOLERANCE, 1.0 - _LIMIT_TOLERANCE
    if mean <= low or excess(low) >= 0.0:
        return 0.0
    top = mean if mean < high and excess(mean) > 0.0 else high
    return float(optimize.brentq(excess, low, top, xtol=_LIMIT_TOLERANCE))


def widened_by_raw(
    value: float, limits: tuple[float, float], totals: Floats, weights: Floats, level: float
) -> tuple[float, float]:
    """Limits of a rate that a fit controls for something, at least as far away on the logit scale as the raw rate's.

    A fit to a sample without the rare wins knows no more of them than the sample's mean does, and its own spread does
    not show them.

    Parameters
    ----------
    value : float
        The controlled rate, between 0 and 1, neither of them.
    limits : tuple of two floats
        The fit's own limits.
    totals, weights : ndarray, shape (G,)
        As in `bounded_mean_limits`.
    level : float
        Nominal coverage.

    Returns
    -------
    low, high : float
    """
    raw = float(totals.sum() / weights.sum())
    low, high = bounded_mean_limits(totals, weights, level)
    if 0.0 < raw < 1.0:
        shift = float(special.logit(value) - special.logit(raw))
        low, high = (float(special.expit(special.logit(limit) + shift)) for limit in (low, high))
    return min(limits[0], low), max(limits[1], high)
