"""A confidence interval for a rate estimated from clusters, with coverage that holds near 0 % and 100 %.

Three steps. The standard error is the infinitesimal jackknife over clusters, which is the limit of the cluster
bootstrap as its replicates grow. The interval is made on the logit scale, where a rate's error is close to
symmetric, and so never leaves 0 to 100 %. Its quantile is Student's t with degrees of freedom that say how well
the standard error itself is known: where few clusters carry the variance (a model that wins one prompt in fifty)
the normal quantile is too small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level

_DEGENERATE = 1e-12
"""A standard error (of a rate between 0 and 1) below this is rounding, not information."""


@dataclass(frozen=True, slots=True)
class RateSample:
    """A rate and each cluster's part in its error.

    Parameters
    ----------
    rate : float
        The estimate, between 0 and 1.
    influence : ndarray, shape (n_clusters,)
        Each cluster's influence on the rate: first-order change when the cluster's weight grows by one, same unit as
        `rate`. Sums to zero for an unpenalised estimate.
    n : int
        Observations the rate was computed from.
    n_parameters : int
        Parameters fitted to the clusters, at least 1; each takes a degree of freedom from the standard error.
    """

    rate: float
    influence: Floats
    n: int
    n_parameters: int = 1


def informative_degrees_of_freedom(influence: Floats, n_parameters: int = 1) -> float:
    """Say how well a standard error computed from clusters is known.

    A variance estimated from G independent values of kurtosis k has relative variance (k - 1) / G; a chi-square
    with v degrees of freedom has 2 / v. Equating them gives v = 2 G / (k - 1), at most G - p with p parameters.

    Parameters
    ----------
    influence : ndarray, shape (G,)
        The clusters' influence values.
    n_parameters : int
        p, parameters fitted to them.

    Returns
    -------
    float
        Between 1 and G - p.

    References
    ----------
    Satterthwaite (1946), Biometrics Bulletin 2, 110-114, for matching moments; the variance of a sample variance
    is in Cramér (1946), Mathematical Methods of Statistics, 27.4.
    """
    n_clusters = influence.size
    most = float(max(n_clusters - n_parameters, 1))
    centred = influence - influence.mean()
    second = float(np.mean(centred**2))
    if second == 0.0:
        return most
    kurtosis = float(np.mean(centred**4)) / second**2
    if kurtosis <= 1.0 + 1e-9:
        return most
    return min(2.0 * n_clusters / (kurtosis - 1.0), most)


def rate_interval(sample: RateSample, level: float = 0.95, method: str = "") -> Estimate:
    """Turn a clustered rate into an estimate in percent, with its interval.

    Parameters
    ----------
    sample : RateSample
        The rate and its clusters' influence.
    level : float
        Nominal coverage.
    method : str
        What the rate is, put before the interval's description.

    Returns
    -------
    Estimate
        In percent. With every verdict equal (rate exactly 0 or 1, or no spread between clusters at 0 or 1) the interval
        is Clopper-Pearson's with the clusters as trials, and a note says so. With no spread at an inner rate there
        is no interval, and a note says so. The interval's standard error has the finite-sample factor
        G / (G - p) of a regression with p parameters (HC1; MacKinnon and White 1985, J. Econometrics 29:305-325),
        the one reported G / (G - 1).

    Raises
    ------
    StatisticsError
        Fewer than two clusters, a rate outside 0 to 1, or a level outside (0, 1).
    """
    n_clusters = sample.influence.size
    if n_clusters < 2:
        raise StatisticsError(
            f"{n_clusters} prompt(s)", "at least 2 prompts", "an interval needs independent prompts; judge more"
        )
    checked_level(level)
    rate = sample.rate
    if not -1e-9 <= rate <= 1.0 + 1e-9:
        raise StatisticsError(f"a rate of {rate}", "a rate between 0 and 1")
    rate = min(max(rate, 0.0), 1.0)
    centred = sample.influence - sample.influence.mean()
    stderr = math.sqrt(float(centred @ centred) * n_clusters / (n_clusters - 1))
    note = ""
    spread: tuple[float | None, float | None, float | None]
    if stderr > _DEGENERATE and _DEGENERATE < rate < 1.0 - _DEGENERATE:
        corrected = stderr * math.sqrt((n_clusters - 1) / max(n_clusters - sample.n_parameters, 1))
        degrees = informative_degrees_of_freedom(sample.influence, sample.n_parameters)
        low, high = _logit_limits(rate, corrected, degrees, level)
        spread, how = (100 * stderr, 100 * low, 100 * high), "cluster-robust over prompts, t on the logit scale"
    elif rate <= _DEGENERATE or rate >= 1.0 - _DEGENERATE:
        low, high = _one_sided_limits(rate > 0.5, n_clusters, level)
        spread, how = (100 * stderr, 100 * low, 100 * high), "Clopper-Pearson with prompts as trials"
        note = f"every verdict {'won' if rate > 0.5 else 'lost'}"
    else:
        spread, how = (None, None, None), "no interval"
        note = "every prompt gave the same result: no spread to make an interval from"
    how = f"{method}; {how}" if method else how
    error, lower, upper = spread
    return Estimate(100 * rate, error, lower, upper, level, how, sample.n, n_clusters, note)


def _logit_limits(rate: float, stderr: float, degrees: float, level: float) -> tuple[float, float]:
    slope = rate * (1.0 - rate)
    reach = float(stats.t.ppf(0.5 + level / 2, degrees)) * stderr / slope
    centre = math.log(rate / (1.0 - rate))
    return float(expit(centre - reach)), float(expit(centre + reach))


def _one_sided_limits(won: bool, n_clusters: int, level: float) -> tuple[float, float]:
    reach = 1.0 - ((1.0 - level) / 2) ** (1.0 / n_clusters)
    return (1.0 - reach, 1.0) if won else (0.0, reach)
