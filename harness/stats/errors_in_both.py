"""A straight line between two figures of the same models, both with errors, and predictions from it.

The figure of model i by the old judge is x_i = X_i + u_i and by the new one y_i = Y_i + v_i. The errors u and v come
from the prompts: their variances and their covariance are known from the verdicts. The models scatter about the line::

    Y_i = a + b X_i + e_i,    e_i ~ N(0, tau^2)

The line minimises Q(a, b) = sum of w_i (y_i - a - b x_i)^2 with
1 / w_i = tau^2 + var(v_i) + b^2 var(u_i) - 2 b cov(u_i, v_i): York's effective variance, and Deming's regression where
all variances are equal. tau^2 is not fixed at an estimate, which with few models gives intervals that are too narrow. Q
at the minimum has a chi-square distribution with m - 2 degrees of freedom at the true tau^2, which makes a confidence
distribution of tau^2; predictions average over it. Where the scatter of the models dominates this is the t interval of
a regression, where the errors dominate it is York's, and conservative.

References
----------
York, Evensen, Martinez and Delgado (2004), American Journal of Physics 72, 367-375 (the line and its errors).
Nagashima, Noma and Furukawa (2019), Statistical Methods in Medical Research 28, 1689-1702 (prediction intervals from
the confidence distribution of the variance between studies).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level

FEWEST_MODELS = 5
"""With four models the scatter has two degrees of freedom, and an interval says nothing."""
_N_QUANTILES = 200  # of the confidence distribution of tau^2
_N_SPREADS = 32  # values of tau^2 at which the line is fitted; between them it is interpolated
_ANGLES = (61, 13, 13, 13, 13, 13, 13)  # slopes tried in each round about the best of the round before
_SMALLEST = 1e-9  # of the variance of y: keeps weights finite where a figure has no error


class ErrorVariances(NamedTuple):
    """Variances of the errors of two figures, and their covariance; numbers or arrays of shape (m,)."""

    x: Floats | float
    y: Floats | float
    xy: Floats | float

    def along(self, slope: Floats | float) -> Floats:
        """Return the variance of v - slope u."""
        return np.asarray(self.y + np.square(slope) * self.x - 2.0 * np.asarray(slope) * self.xy, dtype=np.float64)


NO_ERROR = ErrorVariances(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PairedFigures:
    """Two figures of each model, with their errors.

    Parameters
    ----------
    x, y : ndarray, shape (m,)
        The figures by the old and by the new judge.
    errors : ErrorVariances
        Of each model's own figures, arrays of shape (m,).
    shared : ErrorVariances
        The part of the errors that all models have in common, because they answered the same prompts; 0 if unknown. It
        moves the line as a whole and does not scatter the models about it.

    Raises
    ------
    StatisticsError
        Shapes that differ, fewer than `FEWEST_MODELS` models, values that are all equal, negative variances.
    """

    x: Floats
    y: Floats
    errors: ErrorVariances
    shared: ErrorVariances = NO_ERROR

    def __post_init__(self) -> None:
        x, y = finite_array(self.x, "old figures"), finite_array(self.y, "new figures")
        if x.size != y.size or x.size < FEWEST_MODELS:
            raise StatisticsError(
                f"{x.size} and {y.size} figures",
                f"the figures of the same models by both judges, at least {FEWEST_MODELS} models",
                "let both judges judge the answers of more models",
            )
        for name, values in (("old", x), ("new", y)):
            if np.ptp(values) == 0:
                raise StatisticsError(f"the {name} judge gives all models the same figure", "figures that differ")
        if any(np.shape(part) != x.shape for part in self.errors):
            raise StatisticsError("error variances of another number of models", "one of each for every model")
        if min(np.min(self.errors.x), np.min(self.errors.y)) < 0:
            raise StatisticsError("a negative error variance", "variances from 0")

    def without(self, i: int) -> PairedFigures:
        """Return all models but one."""
        left = ErrorVariances(*(np.delete(part, i) for part in self.errors))
        return PairedFigures(np.delete(self.x, i), np.delete(self.y, i), left, self.shared)

    def own(self, slope: Floats | float) -> Floats:
        """Return the variance of each model's v - slope u without what all share; shape (..., m)."""
        column = np.asarray(slope)[..., None]
        own = self.errors.along(column) - np.maximum(self.shared.along(column), 0.0)
        return np.maximum(own, 0.0)


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line y = intercept + slope x and the confidence distribution of the scatter about it.

    Parameters
    ----------
    intercept, slope : float
        At the median of the confidence distribution.
    scatter : float
        tau, the standard deviation of the models about the line beyond the errors, at the same place.
    spreads, intercepts, slopes : ndarray, shape (k,)
        Equally likely values of tau^2, and the line at each.
    slope_variances, centre_variances, centres : ndarray, shape (k,)
        At each, the variance of the slope and of the line at the centre of the figures, and the centre.
    shared_variances : ndarray, shape (k,)
        The part of `centre_variances` that comes from errors all models share.
    """

    intercept: float
    slope: float
    scatter: float
    spreads: Floats
    intercepts: Floats
    slopes: Floats
    slope_variances: Floats
    centre_variances: Floats
    centres: Floats
    shared_variances: Floats

    def slope_interval(self, level: float = 0.95) -> Estimate:
        """Return the slope with its interval."""
        low, high = _mixture_limits(self.slopes, np.sqrt(self.slope_variances), checked_level(level))
        stderr = math.sqrt(float(np.mean(self.slope_variances) + np.var(self.slopes)))
        return Estimate(self.slope, stderr, low, high, level, "York's regression with scatter", len(self.slopes), 0)

    def at(
        self, x: float, error: ErrorVariances = NO_ERROR, level: float = 0.95, *, as_measured: bool = False
    ) -> Estimate:
        """Predict the new figure of a model that was not used for the line.

        Parameters
        ----------
        x : float
            Its old figure.
        error : ErrorVariances
            `x`: variance of the error of the old figure. `y` and `xy` are 0 for a prediction of the figure over all
            prompts there could be; those of the new figure make it a prediction of that figure as measured.
        level : float
            Nominal coverage.
        as_measured : bool
            Predict the figure as measured on the prompts of the line's models: their shared error is in both.

        Returns
        -------
        Estimate
            With the uncertainty of the line, the scatter of the models, and the error of the old figure.
        """
        means = self.intercepts + self.slopes * x
        variances = self.variances_at(x) + np.maximum(error.along(self.slopes), 0.0)
        if as_measured:
            variances = variances - self.shared_variances
        low, high = _mixture_limits(means, np.sqrt(variances), checked_level(level))
        stderr = math.sqrt(float(np.mean(variances) + np.var(means)))
        value = self.intercept + self.slope * x
        return Estimate(value, stderr, low, high, level, "converted by a bridge between judges", 1, 1)

    def variances_at(self, x: float) -> Floats:
        """Return the variance of the line at x and of a model about it, for each value of tau^2."""
        line = self.centre_variances + self.slope_variances * np.square(x - self.centres)
        return np.asarray(self.spreads + line, dtype=np.float64)


def fit_line(figures: PairedFigures) -> Line:
    """Fit a line to figures that both have errors.

    Parameters
    ----------
    figures : PairedFigures
        The figures of at least `FEWEST_MODELS` models.

    Returns
    -------
    Line

    Raises
    ------
    StatisticsError
        As for `PairedFigures`.
    """
    df = figures.x.size - 2
    chances = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES
    quantiles = stats.chi2.ppf(1.0 - chances, df)
    spreads = _spreads(figures, float(quantiles[-1]))
    slopes, minima = _slopes(figures, spreads)
    # Q falls as tau^2 grows; where even tau^2 = 0 leaves less than the quantile, the scatter is 0.
    falling = np.minimum.accumulate(minima)
    drawn = np.interp(quantiles, falling[::-1], spreads[::-1])
    b = np.interp(drawn, spreads, slopes)
    weights = 1.0 / (drawn[:, None] + figures.own(b) + _SMALLEST * figures.y.var())
    mass = weights.sum(axis=1)
    a = (weights * (figures.y - b[:, None] * figures.x)).sum(axis=1) / mass
    residuals = figures.y - a[:, None] - b[:, None] * figures.x
    lean = b[:, None] * (figures.errors.x - figures.shared.x) - (figures.errors.xy - figures.shared.xy)
    adjusted = figures.x + weights * lean * residuals
    centres = (weights * adjusted).sum(axis=1) / mass
    spread_of_x = (weights * np.square(adjusted - centres[:, None])).sum(axis=1)
    middle = _N_QUANTILES // 2
    shared = np.maximum(figures.shared.along(b), 0.0)
    return Line(
        intercept=float(a[middle]),
        slope=float(b[middle]),
        scatter=math.sqrt(float(drawn[middle])),
        spreads=drawn,
        intercepts=a,
        slopes=b,
        slope_variances=1.0 / spread_of_x,
        centre_variances=1.0 / mass + shared,
        centres=centres,
        shared_variances=shared,
    )


def _spreads(figures: PairedFigures, smallest_q: float) -> Floats:
    """Return values of tau^2 from 0 up to one at which Q is below `smallest_q`."""
    # With tau^2 far above the errors Q is the residual sum of squares over tau^2.
    highest = float(figures.y.var() * figures.y.size) / smallest_q
    return np.concatenate([[0.0], np.geomspace(1e-6 * highest, highest, _N_SPREADS - 1)])


def _slopes(figures: PairedFigures, spreads: Floats) -> tuple[Floats, Floats]:
    """Minimise Q over the slope for each tau^2, on a grid of angles that is narrowed about the best.

    Returns
    -------
    (slopes, minima) : tuple of ndarray, shape (len(spreads),)
    """
    scale = float(figures.y.std() / figures.x.std())
    floor = _SMALLEST * float(figures.y.var())
    rows = np.arange(spreads.size)
    centre, reach = np.zeros(spreads.size), 0.5 * math.pi * (1.0 - 1e-6)
    for n_angles in _ANGLES:
        angles = centre[:, None] + reach * np.linspace(-1.0, 1.0, n_angles)
        slopes = scale * np.tan(np.clip(angles, -1.5707, 1.5707))
        weights = 1.0 / (spreads[:, None, None] + figures.own(slopes) + floor)
        gaps = figures.y - slopes[..., None] * figures.x
        middle = (weights * gaps).sum(axis=2) / weights.sum(axis=2)
        q = (weights * np.square(gaps - middle[..., None])).sum(axis=2)
        best = q.argmin(axis=1)
        centre = angles[rows, best]
        reach *= 3.0 / n_angles
    return slopes[rows, best], q[rows, best]


def _mixture_limits(means: Floats, sds: Floats, level: float) -> tuple[float, float]:
    """Return the central limits of an equal mixture of normal distributions."""
    far = 12.0 * float(np.max(sds)) + 1e-12

    def limit(chance: float) -> float:
        def excess(value: float) -> float:
            return float(np.mean(special.ndtr((value - means) / sds))) - chance

        return float(optimize.brentq(excess, float(np.min(means)) - far, float(np.max(means)) + far, xtol=1e-10))

    return limit(0.5 - level / 2), limit(0.5 + level / 2)
