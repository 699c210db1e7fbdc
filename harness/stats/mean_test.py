"""A test of the mean of bounded values that keeps its size where few values carry the mean.

Student's t fails on few prompts: where a rare large loss has not been seen, the sample shows neither the loss nor the
spread it causes. This test counts on it. It weighs the values with random exponential weights, as the Bayesian
bootstrap does, and adds a value that was not seen, on the side that would refute the claim. Where the values seen
say little about that side the added value lies at the end of the scale; where they say much it lies where it
corrects the skewness of the mean, and costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array

_PRIOR_SWINGS = 12.0
"""Swings to the end of the scale that the data must outweigh before they say where the unseen value lies."""
_FALL = 3
"""Power of the decisiveness with which these swings count."""
_MOST_STEPS = 100
_TOLERANCE = 1e-11
_NEAR_ZERO = 1e-3
"""Root of the log likelihood ratio below which its expansion at zero is used."""


class Ends(NamedTuple):
    """Ends of the scale of the values, None where it is open, and how decisive what they are made of is.

    `decisive` is 1 where verdicts sit at the ends of their scale (won or lost), so that an unseen one may be as far off
    as the scale allows, and 0 where they sit in its middle; see :func:`decisiveness`.
    """

    low: float | None
    high: float | None
    decisive: float = 1.0

    def turned(self) -> Ends:
        """Ends of the values with their sign turned."""
        return Ends(None if self.high is None else -self.high, None if self.low is None else -self.low, self.decisive)


def decisiveness(scores: Floats, bounds: tuple[float, float]) -> float:
    """Say how close single scores sit to the ends of their scale: 1 - mean of 4 v (1 - v), v from 0 to 1 on the scale.

    It is computed on each run's own scores, not on their difference, so it does not look at the outcome of a test.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Scores of one run; what lies off the scale counts as at its end.
    bounds : tuple of float
        Ends of the scale.
    """
    place = np.clip((scores - bounds[0]) / (bounds[1] - bounds[0]), 0.0, 1.0)
    return float(1.0 - np.mean(4.0 * place * (1.0 - place)))


def mean_p_values(values: Sequence[float] | Floats, threshold: float, ends: Ends) -> tuple[float, float]:
    """One-sided p-values against "the mean is at most", and "at least", the threshold.

    Parameters
    ----------
    values : sequence of float, length n
        Independent draws, at least two.
    threshold : float
        In the values' unit.
    ends : Ends
        Ends of the values' scale.

    Returns
    -------
    above, below : float
        Small where the mean is shown to be above, below the threshold.

    Raises
    ------
    StatisticsError
        Fewer than two values, one that is not finite or off the scale, or values that are all equal on an open scale.

    Notes
    -----
    With E_i independent exponential and G gamma weights of shape k, the p-value against "at most t" is
    P(sum E_i (x_i - t) + G (a - t) <= 0), by the Lugannani-Rice saddlepoint approximation, then read from t with
    n - 1 degrees of freedom in place of the normal distribution, since the spread is estimated.

    With a at the low end and k = 1 this is Gaffke's bound, which on binary values is Clopper and Pearson's; with
    k = 1/2 it is Jeffreys'. To second order the right correction of the mean's skewness is k = 1/2 and a at
    mean + m3 / m2 (the second and third central moments), which is Jeffreys' where losses are rare. Both moments
    are taken with `_PRIOR_SWINGS` values at the low end added, so that a is the low end until the sample has shown
    its own tail. k falls from 1 to 1/2 as the swings seen, sum (x_i - mean)^2 / (mean - low)^2, grow. Both count less
    where verdicts are not decisive: ratings of 4 to 8 do not swing by nine points. On an open scale the largest
    deviation seen, on either side, stands for the end. A p-value is never below the chance that a mean on
    the threshold shows only values like the largest one. `bench/gate.py` measures size and power.

    References
    ----------
    Gaffke (2005), Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
    variable, Mathematical Methods of Statistics 14:451-467. Rubin (1981), The Bayesian bootstrap, Annals of
    Statistics 9:130-134. Lugannani and Rice (1980), Advances in Applied Probability 12:475-490. Hall (1983), Chi
    squared approximations to the distribution of a sum of independent random variables, for skewness to second order.
    """
    array = _on_scale(values, ends)
    rows = array[None, :]
    above = above_p_values(rows, threshold, ends.low, ends.decisive)
    below = above_p_values(-rows, -threshold, ends.turned().low, ends.decisive)
    return float(above[0]), float(below[0])


def mean_limits(values: Sequence[float] | Floats, level: float, ends: Ends) -> tuple[float, float]:
    """Interval of thresholds that `mean_p_values` refutes on neither side.

    Parameters
    ----------
    values, ends
        As in :func:`mean_p_values`.
    level : float
        Two-sided; each side has (1 - level) / 2.

    Returns
    -------
    low, high : float
        On the scale.

    Raises
    ------
    StatisticsError
        As in :func:`mean_p_values`.
    """
    array = _on_scale(values, ends)
    tail = (1.0 - level) / 2.0
    return _lower_limit(array, tail, ends), -_lower_limit(-array, tail, ends.turned())


def above_p_values(
    rows: Floats, threshold: float, low: float | Floats | None, decisive: float | Floats = 1.0
) -> Floats:
    """P-values against "the mean is at most the threshold" of many samples at once.

    Parameters
    ----------
    rows : ndarray, shape (n_samples, n)
        One sample a row.
    threshold : float
        In the values' unit.
    low : float, ndarray of shape (n_samples,), or None
        Low end of the scale; None where it is open.
    decisive : float or ndarray of shape (n_samples,)
        As in :class:`Ends`.

    Returns
    -------
    ndarray, shape (n_samples,)
    """
    n = rows.shape[1]
    unseen, shape = _unseen(rows, low, decisive)
    terms = np.concatenate([rows, unseen[:, None]], axis=1) - threshold
    shapes = np.ones_like(terms)
    shapes[:, -1] = shape
    normal = stats.norm.isf(_at_most_zero(terms, shapes))
    found = stats.t.sf(normal * math.sqrt((n - 1) / n), n - 1)
    end = unseen if low is None else low
    return np.asarray(np.maximum(found, _least(rows.max(axis=1), threshold, end, n)))


def _on_scale(values: Sequence[float] | Floats, ends: Ends) -> Floats:
    array = finite_array(values, "values")
    if array.size < 2:
        raise StatisticsError("only one prompt", "at least two", "run more prompts")
    slack = 1e-9 * max([1.0, *(abs(end) for end in ends if end is not None)])
    low, high = (-math.inf if ends.low is None else ends.low), (math.inf if ends.high is None else ends.high)
    if array.min() < low - slack or array.max() > high + slack:
        raise StatisticsError(
            f"values from {array.min():g} to {array.max():g}",
            f"values from {low:g} to {high:g}",
            "check the unit and that no -1 marks a failed verdict",
        )
    if None in ends and float(array.max() - array.min()) <= 1e-12 * max(1.0, float(np.abs(array).max())):
        raise StatisticsError(
            "every prompt differs by the same amount, on an unbounded scale",
            "differences that vary",
            "check that the two runs are not copies of each other",
        )
    return array


def _unseen(rows: Floats, low: float | Floats | None, decisive: float | Floats) -> tuple[Floats, Floats]:
    """Place and weight (shape of its gamma) of the value that was not seen, by sample."""
    doubt = decisive**_FALL
    mean = rows.mean(axis=1)
    centred = rows - mean[:, None]
    reach = np.abs(centred).max(axis=1) if low is None else np.maximum(mean - low, 0.0)
    squares = (centred**2).sum(axis=1)
    cubes = (centred**3).sum(axis=1)
    weight = squares + _PRIOR_SWINGS * doubt * reach**2
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(weight > 0.0, (_PRIOR_SWINGS * doubt * reach**3 - cubes) / weight, 0.0)
        swings = np.where(reach > 0.0, squares / reach**2, math.inf)
    return mean - np.maximum(distance, 0.0), 0.5 * (1.0 + _shared(doubt, swings))


def _shared(doubt: float | Floats, swings: Floats) -> Floats:
    """Return doubt / (doubt + swings), 0 where both are 0."""
    whole = doubt + swings
    return np.asarray(np.where(whole > 0.0, doubt / np.where(whole > 0.0, whole, 1.0), 0.0))


def _at_most_zero(terms: Floats, shapes: Floats) -> Floats:
    """P(sum_j G_j term_j <= 0), G_j gamma of the shapes, by the saddlepoint approximation; rows are samples."""
    largest, smallest = terms.max(axis=1), terms.min(axis=1)
    mixed = (largest > 0.0) & (smallest < 0.0)
    found = np.where(largest <= 0.0, 1.0, 0.0)
    if mixed.any():
        found[mixed] = _lugannani_rice(terms[mixed], shapes[mixed])
    return found


def _lugannani_rice(terms: Floats, shapes: Floats) -> Floats:
    point = _saddlepoint(terms, shapes)[:, None]
    cumulant = -(shapes * np.log1p(-terms * point)).sum(axis=1)
    second = (shapes * (terms / (1.0 - terms * point)) ** 2).sum(axis=1)
    point = point[:, 0]
    root = np.sign(point) * np.sqrt(np.maximum(-2.0 * cumulant, 0.0))
    spread = point * np.sqrt(second)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = stats.norm.cdf(root) + stats.norm.pdf(root) * (1.0 / root - 1.0 / spread)
    # the formula has a removable singularity where the mean of the sum is zero
    skewness = 2.0 * (shapes * terms**3).sum(axis=1) / (shapes * terms**2).sum(axis=1) ** 1.5
    at_zero = 0.5 + root / math.sqrt(2.0 * math.pi) + skewness / (6.0 * math.sqrt(2.0 * math.pi))
    return np.asarray(np.clip(np.where(np.abs(root) < _NEAR_ZERO, at_zero, found), 0.0, 1.0))


def _saddlepoint(terms: Floats, shapes: Floats) -> Floats:
    """Root of the cumulant's derivative sum_j shape_j term_j / (1 - s term_j).

    Newton's steps, halving where they leave the bracket.
    """
    high = (1.0 - 1e-12) / terms.max(axis=1)
    low = (1.0 - 1e-12) / terms.min(axis=1)
    point = np.zeros(len(terms))
    for _ in range(_MOST_STEPS):
        tilted = terms / (1.0 - terms * point[:, None])
        slope, curvature = (shapes * tilted).sum(axis=1), (shapes * tilted**2).sum(axis=1)
        low, high = np.where(slope < 0.0, point, low), np.where(slope < 0.0, high, point)
        step = slope / curvature
        if bool(np.all(np.abs(step) <= _TOLERANCE * (high - low) + _TOLERANCE * np.abs(point))):
            break
        following = point - step
        point = np.where((following > low) & (following < high), following, 0.5 * (low + high))
    return point


def _least(largest: Floats, threshold: float, end: float | Floats, n: int) -> Floats:
    """Chance that n draws all show the largest value though the mean, of that value and the end, is the threshold."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(largest > threshold, (threshold - end) / (largest - end), 1.0)
    return np.asarray(np.clip(share, 0.0, 1.0) ** n)


def _lower_limit(array: Floats, tail: float, ends: Ends) -> float:
    """Largest mean refuted at the level `tail`; the p-value grows with the threshold."""
    rows = array[None, :]
    top = float(array.max())
    bottom = float(_unseen(rows, None, ends.decisive)[0][0]) if ends.low is None else ends.low

    def excess(threshold: float) -> float:
        return float(above_p_values(rows, threshold, ends.low, ends.decisive)[0]) - tail

    if bottom >= top or excess(bottom) >= 0.0:
        return min(bottom, top)
    return float(optimize.brentq(excess, bottom, top, xtol=1e-10 * max(1.0, top - bottom)))
