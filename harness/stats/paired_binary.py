"""Two runs that each pass or fail the same independent prompts.

Only the discordant prompts speak: `only_first` that the first run alone passed, `only_second` that the second alone
did, of n in all.
"""

from __future__ import annotations

from scipy import optimize, stats

from harness.errors import StatisticsError


def tango_z(only_first: int, only_second: int, n: int, threshold: float) -> float:
    """Score statistic for "the difference of proportions is `threshold`", asymptotically standard normal.

    z = (b - c - n d) / sqrt(n (2 q + d (1 - d))) with b, c the discordant counts, d the threshold and q the maximum
    likelihood estimate of P(only second) under it, the larger root of 2 n q^2 + B q + C = 0 with
    B = -b - c + (2 n - b + c) d and C = -c d (1 - d). At d = 0 its square is McNemar's statistic.

    Parameters
    ----------
    only_first, only_second : int
        Discordant counts b and c.
    n : int
        Prompts in all.
    threshold : float
        In (-1, 1).

    Returns
    -------
    float
        0 where no prompt is discordant and the threshold is 0.

    Raises
    ------
    StatisticsError
        Counts that do not fit, or a threshold outside (-1, 1).

    References
    ----------
    Tango (1998), Statistics in Medicine 17:891-908, equations 7 to 12.
    """
    if min(only_first, only_second) < 0 or only_first + only_second > n or n < 1:
        raise StatisticsError(f"discordant counts {only_first} and {only_second} of {n}", "counts that add up to n")
    if not -1.0 < threshold < 1.0:
        raise StatisticsError(f"threshold is {threshold}", "a difference of proportions between -1 and 1")
    linear = -only_first - only_second + (2 * n - only_first + only_second) * threshold
    constant = -only_second * threshold * (1.0 - threshold)
    root = (max(linear**2 - 8.0 * n * constant, 0.0) ** 0.5 - linear) / (4.0 * n)
    variance = n * (2.0 * root + threshold * (1.0 - threshold))
    excess = only_first - only_second - n * threshold
    if variance <= 1e-300:
        return 0.0
    return float(excess / variance**0.5)


def tango_interval(only_first: int, only_second: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval for the difference of two paired proportions: what `tango_z` does not reject.

    Parameters
    ----------
    only_first, only_second : int
        Discordant counts.
    n : int
        Prompts in all.
    level : float
        Nominal coverage.

    Returns
    -------
    low, high : float
        In [-1, 1].

    Raises
    ------
    StatisticsError
        Counts that do not fit.

    References
    ----------
    Tango (1998); recommended among eight intervals by Fagerland, Lydersen and Laake (2014), Recommended tests and
    confidence intervals for paired binomial proportions, Statistics in Medicine 33:2850-2875.
    """
    quantile = float(stats.norm.ppf(0.5 + level / 2.0))
    estimate = (only_first - only_second) / n
    edge = 1.0 - 1e-12

    def excess(threshold: float, target: float) -> float:
        return tango_z(only_first, only_second, n, threshold) - target

    low, high = -1.0, 1.0
    if excess(-edge, quantile) > 0.0:
        low = float(optimize.brentq(excess, -edge, min(estimate, edge), args=(quantile,), xtol=1e-12))
    if excess(edge, -quantile) < 0.0:
        high = float(optimize.brentq(excess, max(estimate, -edge), edge, args=(-quantile,), xtol=1e-12))
    return low, high
