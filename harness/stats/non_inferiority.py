"""Superiority and non-inferiority of paired binary outcomes with an error that stays at or below the nominal one.

Tango's score test reaches 6.5 % at a nominal 5 % where few prompts are discordant; a continuity correction of half a
prompt keeps it below (by exact enumeration, `bench/gate.py` and the tests), at the price of half a prompt.
"""

from __future__ import annotations

from scipy import optimize, stats

from harness.stats.paired_binary import tango_z

_CORRECTION = 0.5
_EDGE = 1.0 - 1e-12


def corrected_p_values(only_first: int, only_second: int, n: int, threshold: float) -> tuple[float, float]:
    """One-sided p-values against "the difference of proportions is at most", and "at least", the threshold.

    With excess e = b - c - n d and Tango's standard error, z = e / se, the corrected statistics are
    (e -+ 1/2) / se.

    Parameters
    ----------
    only_first, only_second : int
        Prompts that only the first, only the second run passed.
    n : int
        Prompts in all.
    threshold : float
        Difference of proportions, in (-1, 1).

    Returns
    -------
    above, below : float

    Raises
    ------
    StatisticsError
        As in `tango_z`.

    References
    ----------
    Tango (1998), Statistics in Medicine 17:891-908. Edwards (1948), Note on the correction for continuity in testing
    the significance of the difference between correlated proportions, Psychometrika 13:185-187.
    """
    z = tango_z(only_first, only_second, n, threshold)
    excess = only_first - only_second - n * threshold
    if z == 0.0:
        return 0.5, 0.5
    step = _CORRECTION * z / excess  # half a prompt in standard errors
    return float(stats.norm.sf(z - step)), float(stats.norm.cdf(z + step))


def corrected_interval(only_first: int, only_second: int, n: int, level: float) -> tuple[float, float]:
    """Interval of thresholds that `corrected_p_values` refutes on neither side.

    Parameters
    ----------
    only_first, only_second, n
        As in :func:`corrected_p_values`.
    level : float
        Two-sided; each side has (1 - level) / 2.

    Returns
    -------
    low, high : float
        In [-1, 1].
    """
    tail = (1.0 - level) / 2.0
    estimate = (only_first - only_second) / n

    def above(threshold: float) -> float:
        return corrected_p_values(only_first, only_second, n, threshold)[0] - tail

    def below(threshold: float) -> float:
        return corrected_p_values(only_first, only_second, n, threshold)[1] - tail

    inner = min(max(estimate, -_EDGE), _EDGE)
    low = -1.0 if above(-_EDGE) > 0.0 else float(optimize.brentq(above, -_EDGE, inner, xtol=1e-12))
    high = 1.0 if below(_EDGE) > 0.0 else float(optimize.brentq(below, inner, _EDGE, xtol=1e-12))
    return low, high
