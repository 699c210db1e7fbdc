"""Estimates after a group-sequential test stopped, by the stage-wise ordering of its possible outcomes.

The plain estimate at a stop is biased away from the threshold, because an extreme estimate is what stops the test.
Order the outcomes: stopping at the upper bound is more extreme the earlier it happens, stopping at the lower bound
likewise on the other side, and at one look the larger statistic is the more extreme. The drift under which an outcome
at least as extreme as the observed one has probability one half is a median-unbiased estimate; those with probability
alpha and 1 - alpha are confidence limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from harness.stats.error_spending import check_alpha
from harness.stats.group_sequential import Bounds, before_any_look

_LARGEST_Z = 37.0


@dataclass(frozen=True, slots=True)
class StageWise:
    """Estimates of the drift by the stage-wise ordering.

    Parameters
    ----------
    median_unbiased : float
        The drift: the statistic's mean at the full information.
    low, high : float
        Limits, each exceeded with probability alpha.
    """

    median_unbiased: float
    low: float
    high: float


def chance_at_least(bounds: Bounds, z: float, drift: float) -> float:
    """Probability of an outcome at least as extreme as stopping at the last of the looks with statistic z.

    Parameters
    ----------
    bounds : Bounds
        The looks up to the stop. The bounds of the last look do not matter: the outcome there is z.
    z : float
        The statistic.
    drift : float
        The statistic's mean at the full information.
    """
    path, chance = before_any_look(drift), 0.0
    for t, low, high in zip(bounds.information[:-1], bounds.lower[:-1], bounds.upper[:-1], strict=True):
        chance += path.beyond(t, high)
        path = path.then(t, low, high)
    return chance + path.beyond(bounds.information[-1], float(np.clip(z, -_LARGEST_Z, _LARGEST_Z)))


def stage_wise_p(bounds: Bounds, z: float) -> float:
    """P-value of the hypothesis that the drift is at most 0; at most alpha exactly where the test rejects.

    Lower bounds are ignored, so that the p-value holds whatever else may have stopped the test.

    Parameters
    ----------
    bounds, z
        As in :func:`chance_at_least`.
    """
    upper_alone = Bounds(bounds.information, bounds.upper, (-math.inf,) * len(bounds.upper))
    return min(1.0, chance_at_least(upper_alone, z, 0.0))


def stage_wise_estimate(bounds: Bounds, z: float, alpha: float) -> StageWise:
    """Median-unbiased estimate of the drift, and its confidence interval.

    Parameters
    ----------
    bounds, z
        As in :func:`chance_at_least`, with the lower bounds at which the test does stop.
    alpha : float
        One-sided error of each limit.

    Returns
    -------
    StageWise

    Raises
    ------
    StatisticsError
        An alpha outside (0, 1).

    References
    ----------
    Siegmund (1978), Biometrika 65:341-349. Tsiatis, Rosner and Mehta (1984), Biometrics 40:797-803. Jennison and
    Turnbull (2000), sections 8.4 and 8.5.
    """
    check_alpha(alpha)
    z = float(np.clip(z, -_LARGEST_Z, _LARGEST_Z))
    return StageWise(*(_drift_with(bounds, z, chance) for chance in (0.5, alpha, 1.0 - alpha)))


def _drift_with(bounds: Bounds, z: float, chance: float) -> float:
    """Find the drift at which an outcome at least as extreme has a given probability, which rises with the drift."""
    t = bounds.information[-1]
    guess, step = z / math.sqrt(t), 4.0 / math.sqrt(t)

    def excess(drift: float) -> float:
        return chance_at_least(bounds, z, drift) - chance

    low, high = guess - step, guess + step
    while excess(low) > 0.0:
        low -= step
    while excess(high) < 0.0:
        high += step
    return float(optimize.brentq(excess, low, high, xtol=1e-8))
