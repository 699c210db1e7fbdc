"""Group-sequential tests: bounds for a statistic that is looked at several times, by recursive numerical integration.

At look k, with the share t_k of the information, the statistic Z_k of a mean (or of any estimate with independent
increments) is normal with mean theta sqrt(t_k), where theta is the drift: the mean of Z at the full information. The
test rejects at the first look at which Z_k exceeds its bound. The bounds are such that this ever happens with
probability alpha if theta = 0. They are stated as one-sided levels too, so that any test with a p-value can be compared
with them (the "significance level approach").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import optimize, stats
from scipy.special import ndtr

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.error_spending import Spending, check_alpha, check_information, increments

_FINENESS = 18
"""Jennison and Turnbull's r; with 18 the bounds of ten looks are exact to 1e-6."""
_NOTHING = 1e-13
"""A look that may spend less than this stops nothing."""
_FARTHEST = 39.0
"""No bound is farther out, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the statistic at each look.

    Parameters
    ----------
    information : tuple of float, length k
        Share of the information at each look, rising.
    upper : tuple of float, length k
        The test rejects at or above; infinite where it cannot.
    lower : tuple of float, length k
        The test stops at or below; minus infinity where it does not.
    """

    information: tuple[float, ...]
    upper: tuple[float, ...]
    lower: tuple[float, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        """One-sided nominal level of each look: the largest p-value that rejects."""
        return tuple(float(stats.norm.sf(bound)) for bound in self.upper)


@dataclass(frozen=True, slots=True)
class Exits:
    """Where a test stops under a drift.

    Parameters
    ----------
    upper, lower : tuple of float, length k
        Probability of stopping at each look at the upper and at the lower bound.
    expected_information : float
        Expected share of the information at the stop; a test that crosses no bound stops at its last look.
    """

    upper: tuple[float, ...]
    lower: tuple[float, ...]
    expected_information: float

    @property
    def power(self) -> float:
        """Probability of rejecting."""
        return sum(self.upper)


@dataclass(frozen=True, slots=True)
class SubDensity:
    """The statistic's distribution at a look over the paths that did not stop before it, or at it.

    Parameters
    ----------
    z : ndarray, shape (m,)
        Grid.
    mass : ndarray, shape (m,)
        Probability near each point.
    information : float
        Share of the information.
    drift : float
        Mean of the statistic at the full information.
    """

    z: Floats
    mass: Floats
    information: float
    drift: float

    def beyond(self, information: float, bound: float, sign: float = 1.0) -> float:
        """Probability of going on, and then of a statistic at or above the bound (or, with sign -1, at or below it)."""
        if math.isinf(bound):
            return 0.0 if bound * sign > 0.0 else float(self.mass.sum())
        step = information - self.information
        mean = self.z * math.sqrt(self.information) + self.drift * step
        return float(self.mass @ ndtr(sign * (mean - bound * math.sqrt(information)) / math.sqrt(step)))

    def then(self, information: float, low: float, high: float) -> SubDensity:
        """Return the distribution at a later look, over the paths that go on there, between the bounds."""
        z, weights = _grid(self.drift * math.sqrt(information), low, high)
        step = information - self.information
        mean = self.z * math.sqrt(self.information) + self.drift * step
        steps = (z[:, None] * math.sqrt(information) - mean[None, :]) / math.sqrt(step)
        density = np.exp(-0.5 * steps**2) @ self.mass * math.sqrt(information / (2.0 * math.pi * step))
        return SubDensity(z, weights * density, information, self.drift)


def before_any_look(drift: float) -> SubDensity:
    """Return the start of every path: no information, nothing spent."""
    return SubDensity(np.zeros(1), np.ones(1), 0.0, drift)


def _grid(mean: float, low: float, high: float) -> tuple[Floats, Floats]:
    """Return points and Simpson weights between the bounds, dense near the mean.

    References
    ----------
    Jennison and Turnbull (2000), Group Sequential Methods with Applications to Clinical Trials, section 19.2.
    """
    r = _FINENESS
    tail = 3.0 + 4.0 * np.log(r / np.arange(1, r))
    coarse = mean + np.concatenate([-tail, -3.0 + 1.5 * np.arange(4 * r + 1) / r, tail[::-1]])
    coarse = coarse[(coarse > low) & (coarse < high)]
    # The ends are bounds, or the grid's own; a bound beyond the grid has no mass.
    ends = [end for end in (low, high) if math.isfinite(end) and abs(end - mean) < 30.0]
    coarse = np.unique(np.concatenate([coarse, ends]))
    if coarse.size < 2:
        return np.zeros(1), np.zeros(1)
    widths = np.diff(coarse)
    points = np.empty(2 * coarse.size - 1)
    points[::2], points[1::2] = coarse, (coarse[:-1] + coarse[1:]) / 2.0
    weights = np.zeros_like(points)
    weights[1::2] = 4.0 * widths / 6.0
    weights[0:-1:2] += widths / 6.0
    weights[2::2] += widths / 6.0
    return points, weights


def _bound(path: SubDensity, information: float, target: float, sign: float = 1.0) -> float:
    """Find the bound that is exceeded with a probability by the paths that go on so far."""
    if target <= _NOTHING:
        return sign * math.inf
    if path.beyond(information, -sign * _FARTHEST, sign) <= target:
        return -sign * _FARTHEST

    def excess(bound: float) -> float:
        return path.beyond(information, bound, sign) - target

    return float(optimize.brentq(excess, -_FARTHEST, _FARTHEST, xtol=1e-10))


def spending_bounds(information: Sequence[float], spending: Spending, alpha: float) -> Bounds:
    """Upper bounds of a one-sided test that spends alpha by a function of the information.

    Parameters
    ----------
    information : sequence of float
        Share of the information at each look so far, rising, in (0, 1]; the bounds of early looks do not depend on
        later ones, which need not be known yet.
    spending : Spending
        The function.
    alpha : float
        One-sided error in all.

    Returns
    -------
    Bounds
        Without lower bounds: whatever else may stop the test, it rejects wrongly with probability alpha at most.

    Raises
    ------
    StatisticsError
        An alpha outside (0, 1), looks that go back in time, or more spent than alpha.

    References
    ----------
    Armitage, McPherson and Rowe (1969), Repeated significance tests on accumulating data, J. Royal Statistical Society
    A 132:235-244 (the recursion). Lan and DeMets (1983), Biometrika 70:659-663.
    """
    return bounds_for(information, spending.spent(information, alpha), alpha)


def bounds_for(information: Sequence[float], spent: Sequence[float], alpha: float) -> Bounds:
    """Upper bounds for the error spent by each look; parameters and errors as in :func:`spending_bounds`."""
    check_alpha(alpha)
    check_information(information)
    if len(spent) != len(information):
        raise StatisticsError(f"{len(spent)} shares of alpha for {len(information)} looks", "one a look")
    return _bounds_for(tuple(map(float, information)), increments(spent, alpha))


@lru_cache(maxsize=512)
def _bounds_for(information: tuple[float, ...], parts: tuple[float, ...]) -> Bounds:
    path, upper = before_any_look(0.0), []
    for t, part in zip(information, parts, strict=True):
        upper.append(_bound(path, t, part))
        path = path.then(t, -math.inf, upper[-1])
    return Bounds(information, tuple(upper), (-math.inf,) * len(upper))


def classic_bounds(
    n_looks: int, alpha: float, shape: Literal["obrien_fleming", "pocock"], sides: Literal[1, 2] = 2
) -> Bounds:
    """Bounds of O'Brien and Fleming, C / sqrt(t), or of Pocock, C, for equally spaced looks.

    Parameters
    ----------
    n_looks : int
        Number of looks.
    alpha : float
        Error in all, of the given number of sides.
    shape : {"obrien_fleming", "pocock"}
    sides : {1, 2}
        2: the lower bounds mirror the upper ones.

    Raises
    ------
    StatisticsError
        No looks, or an alpha outside (0, 1).

    References
    ----------
    O'Brien and Fleming (1979), Biometrics 35:549-556. Pocock (1977), Biometrika 64:191-199.
    """
    check_alpha(alpha)
    if n_looks < 1:
        raise StatisticsError(f"{n_looks} looks", "at least 1")
    information = tuple((k + 1) / n_looks for k in range(n_looks))
    power = -0.5 if shape == "obrien_fleming" else 0.0

    def at(constant: float) -> Bounds:
        upper = tuple(constant * t**power for t in information)
        lower = tuple(-bound for bound in upper) if sides == 2 else (-math.inf,) * n_looks
        return Bounds(information, upper, lower)

    def excess(constant: float) -> float:
        found = exits(at(constant), 0.0)
        return sum(found.upper) + (sum(found.lower) if sides == 2 else 0.0) - alpha

    return at(float(optimize.brentq(excess, 0.0, 10.0, xtol=1e-9)))


def exits(bounds: Bounds, drift: float) -> Exits:
    """Probabilities of stopping at each look under a drift.

    Parameters
    ----------
    bounds : Bounds
        The design.
    drift : float
        Mean of the statistic at the full information: effect * sqrt(n) / sd, measured from the threshold.

    Returns
    -------
    Exits
    """
    path = before_any_look(drift)
    upper, lower = [], []
    for t, low, high in zip(bounds.information, bounds.lower, bounds.upper, strict=True):
        upper.append(path.beyond(t, high))
        lower.append(path.beyond(t, low, -1.0))
        path = path.then(t, low, high)
    stopped = np.array(upper) + np.array(lower)
    going_on = max(0.0, 1.0 - float(stopped[:-1].sum()))
    expected = float(stopped[:-1] @ np.array(bounds.information[:-1])) + going_on * bounds.information[-1]
    return Exits(tuple(upper), tuple(lower), expected)


def with_futility(bounds: Bounds, spending: Spending, beta: float) -> tuple[Bounds, float]:
    """Add non-binding futility bounds that spend beta, the chance of not rejecting at the drift planned for.

    Parameters
    ----------
    bounds : Bounds
        Upper bounds, the last look at the full information. They stay as they are, so that a test that goes on in spite
        of futility keeps its error.
    spending : Spending
        How beta is spent.
    beta : float
        One minus the power, with the futility bounds taken as binding.

    Returns
    -------
    bounds : Bounds
        The last lower bound is the upper one.
    drift : float
        The drift at which the design has this power.

    Raises
    ------
    StatisticsError
        A beta that leaves no room: the design would stop for futility although it rejects.

    References
    ----------
    Pampallona, Tsiatis and Kim (2001), Drug Information Journal 35:1113-1121; gsDesign's test type 4.
    """
    check_alpha(beta)
    parts = increments(spending.spent(bounds.information, beta), beta)

    def lower_for(drift: float) -> tuple[list[float], float]:
        """Return lower bounds for a drift, and by how much the chance of not rejecting then exceeds beta."""
        path, lower = before_any_look(drift), []
        for t, high, part in zip(bounds.information[:-1], bounds.upper[:-1], parts[:-1], strict=True):
            lower.append(min(_bound(path, t, part, -1.0), high))
            path = path.then(t, lower[-1], high)
        last = path.beyond(bounds.information[-1], bounds.upper[-1], -1.0)
        return [*lower, bounds.upper[-1]], last - parts[-1]

    fixed = float(bounds.upper[-1] + stats.norm.isf(beta))
    try:
        drift = float(optimize.brentq(lambda d: lower_for(d)[1], max(0.1, fixed - 1.0), fixed + 4.0, xtol=1e-9))
    except ValueError:
        raise StatisticsError(
            f"futility bounds that spend {beta:g}", "a smaller share, so that the design can still reject"
        ) from None
    return Bounds(bounds.information, bounds.upper, tuple(lower_for(drift)[0])), drift
