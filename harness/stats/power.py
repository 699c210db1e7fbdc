"""How small a difference the prompts at hand can show, and how many prompts a given difference needs.

All tests here are of a mean of independent units (prompts; for clustered data, clusters) against a threshold:
superiority by a margin m has the threshold +m, non-inferiority within a margin m has -m. Effects, margins and
standard deviations share one unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import optimize, stats

from harness.errors import StatisticsError

_MOST_UNITS = 10**9
"""Beyond this many prompts the answer is that no feasible number would do."""
_MOST_DF_EXACT = 10_000
"""Above this the normal approximation agrees to nine digits, and scipy's series can fail."""


@dataclass(frozen=True, slots=True)
class PowerSpec:
    """What test the power is wanted of.

    Parameters
    ----------
    alpha : float
        Significance level.
    target_power : float
        Probability of a significant result that is wanted, used by `minimum_detectable_effect` and `units_needed`.
    sides : {1, 2}
        1: only an effect above the threshold counts (a gate's rule). 2: a difference from the threshold in either
        direction.
    threshold : float
        The value tested against: 0, +margin (superiority) or -margin (non-inferiority).
    """

    alpha: float = 0.05
    target_power: float = 0.8
    sides: int = 2
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise StatisticsError(f"alpha is {self.alpha}", "a number between 0 and 1", "0.05 is usual")
        if not self.alpha < self.target_power < 1.0:
            raise StatisticsError(f"target power is {self.target_power}", f"above alpha ({self.alpha}) and below 1")
        if self.sides not in (1, 2):
            raise StatisticsError(f"sides is {self.sides}", "1 or 2")
        if not math.isfinite(self.threshold):
            raise StatisticsError(f"threshold is {self.threshold}", "a finite number")


def power(effect: float, sd: float, n_units: int, design: PowerSpec | None = None) -> float:
    """Probability that the t test of the mean is significant.

    With T noncentral t on n - 1 degrees of freedom and noncentrality (effect - threshold) sqrt(n) / sd, the power is
    P(T > t_{1 - alpha}) one-sided, P(|T| > t_{1 - alpha/2}) two-sided.

    Parameters
    ----------
    effect : float
        The true mean difference.
    sd : float
        Standard deviation of one unit's difference.
    n_units : int
        Independent units, at least 2.
    design : PowerSpec, optional
        Level, sides and threshold.

    Returns
    -------
    float

    Raises
    ------
    StatisticsError
        Fewer than two units, or a spread that is not positive.

    References
    ----------
    Cohen (1988), Statistical Power Analysis, section 2.3. Julious (2004), Sample sizes for clinical trials with normal
    data, Statistics in Medicine 23:1921-1986, sections 3 and 5 (superiority and non-inferiority).
    """
    design = design or PowerSpec()
    _check(sd, n_units)
    df = n_units - 1
    noncentrality = (effect - design.threshold) * math.sqrt(n_units) / sd
    critical = float(stats.t.isf(design.alpha / design.sides, df))
    above = _noncentral_sf(critical, df, noncentrality)
    if design.sides == 1:
        return above
    return min(1.0, above + _noncentral_sf(critical, df, -noncentrality))


def minimum_detectable_effect(sd: float, n_units: int, design: PowerSpec | None = None) -> float:
    """The smallest effect above the threshold that `n_units` show with the wanted power.

    Parameters
    ----------
    sd : float
        Standard deviation of one unit's difference.
    n_units : int
        Independent units, at least 2.
    design : PowerSpec, optional
        Level, power, sides and threshold.

    Returns
    -------
    float
        The effect, threshold included, in the unit of `sd`.

    Raises
    ------
    StatisticsError
        As in `power`.
    """
    design = design or PowerSpec()
    _check(sd, n_units)

    def short_of_power(effect: float) -> float:
        return power(design.threshold + effect, sd, n_units, design) - design.target_power

    upper = sd * math.sqrt(1.0 / n_units)
    while short_of_power(upper) < 0.0:
        upper *= 2.0
    return design.threshold + float(optimize.brentq(short_of_power, 0.0, upper, xtol=1e-12 * upper, rtol=1e-10))


def units_needed(effect: float, sd: float, design: PowerSpec | None = None) -> int | None:
    """How many independent units show `effect` with the wanted power.

    Parameters
    ----------
    effect : float
        The true mean difference supposed.
    sd : float
        Standard deviation of one unit's difference.
    design : PowerSpec, optional
        Level, power, sides and threshold.

    Returns
    -------
    int or None
        None where no number would do: one-sided, the effect is not above the threshold; two-sided, it equals it; or
        the number passes a thousand million.

    Raises
    ------
    StatisticsError
        A spread that is not positive, or an effect that is not finite.
    """
    design = design or PowerSpec()
    _check(sd, 2)
    if not math.isfinite(effect):
        raise StatisticsError(f"effect is {effect}", "a finite number")
    distance = effect - design.threshold
    if distance == 0.0 or (design.sides == 1 and distance < 0.0):
        return None

    def enough(n: int) -> bool:
        return power(effect, sd, n, design) >= design.target_power

    low, high = 1, 2
    while not enough(high):
        low, high = high, high * 2
        if high > _MOST_UNITS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(sd: float, n_units: int) -> None:
    if not math.isfinite(sd) or sd <= 0.0:
        raise StatisticsError(
            f"the standard deviation of the differences is {sd}",
            "a positive number",
            "with no spread at all there is nothing to plan from; use another run's spread",
        )
    if n_units < 2:
        raise StatisticsError(f"{n_units} independent units", "at least 2")


def _noncentral_sf(critical: float, df: float, noncentrality: float) -> float:
    """Upper tail of the noncentral t; the normal limit where scipy's series loses its footing."""
    value = float(stats.nct.sf(critical, df, noncentrality)) if df <= _MOST_DF_EXACT else math.nan
    if math.isfinite(value):
        return value
    # Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 26.7.10
    spread = math.sqrt(1.0 + critical**2 / (2.0 * df))
    return float(stats.norm.sf((critical * (1.0 - 1.0 / (4.0 * df)) - noncentrality) / spread))
