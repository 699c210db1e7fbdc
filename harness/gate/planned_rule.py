"""A rule with the differences by prompt that are supposed, from which samples of any size are drawn and tested.

The differences observed are moved to the supposed effect and drawn with replacement. The test of a sample is the gate's
own, so that a rare large loss counts as it does in a decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from harness.gate.testing import Claim
from harness.stats.bootstrap import Floats
from harness.stats.mean_test import Ends, above_p_values, mean_limits
from harness.stats.non_inferiority import corrected_interval, corrected_p_values

_LARGEST_TILT = 20.0
"""Of the tilt, in standard deviations; beyond it nearly all the weight is on one value."""
_LIKE_SPREAD = (0.8, 1.25)
"""A tilt that changes the standard deviation by more than these factors is not used."""

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Spread:
    """Differences by prompt, observed or made, before an effect is supposed.

    Parameters
    ----------
    differences : ndarray, shape (m,)
        Candidate minus baseline (or minus the number of a limit), in the metric's unit.
    baseline : ndarray, shape (m,)
        The baseline's values of the same prompts, for relative margins.
    span : tuple of float or None
        Ends of the differences' scale; None if it is open.
    decisive : float
        How close single scores are to the ends of their scale (`harness.stats.mean_test.Ends`).
    unit : float or None
        Size of a success if all scores are 0 or that, so that the gate uses the test of proportions.
    test : {"mean", "t"}
        "t" for fits, which are tested by their standard error.
    no_betting : str
        Why the rule cannot be tested after every prompt; "" if it can.
    words : str
        Where the differences come from.
    """

    differences: Floats
    baseline: Floats
    span: tuple[float, float] | None
    decisive: float = 1.0
    unit: float | None = None
    test: Literal["mean", "t"] = "mean"
    no_betting: str = ""
    words: str = ""


class Distance(NamedTuple):
    """How far the supposed mean is beyond the threshold of the claim nearest to it, and the spread of one prompt."""

    mean: float
    sd: float


@dataclass(frozen=True)
class SupposedRule:
    """A rule under a supposed effect.

    Parameters
    ----------
    spread : Spread
        The differences, moved to the effect.
    weights : ndarray, shape (m,)
        Chance with which each difference is drawn.
    claims : tuple of Claim
        What must hold; thresholds of 0 if the margin is relative.
    share : float or None
        A relative margin: the share of the baseline's value that is subtracted from the signed difference.
    levels : tuple of float
        One-sided levels of passing and of failing.
    min_n : int
        Least number of prompts.
    """

    spread: Spread
    weights: Floats
    claims: tuple[Claim, ...]
    share: float | None
    levels: tuple[float, float]
    min_n: int

    @property
    def sd(self) -> float:
        """Standard deviation of one prompt's difference."""
        values = self.spread.differences
        mean = float(self.weights @ values)
        return math.sqrt(max(0.0, float(self.weights @ (values - mean) ** 2)))

    def distance(self) -> Distance:
        """Return the distance of the claim hardest to show."""
        found = []
        every = np.arange(self.weights.size)[None, :]
        for claim in self.claims:
            values = self._signed(claim, every)[0] - claim.threshold
            mean = float(self.weights @ values)
            found.append(Distance(mean, math.sqrt(max(0.0, float(self.weights @ (values - mean) ** 2)))))
        return min(found, key=lambda d: d.mean / d.sd if d.sd else math.copysign(math.inf, d.mean))

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Rows:
        """Draw samples of prompts, one a row."""
        return rng.choice(self.weights.size, shape, p=self.weights)

    def passing(self, rows: Rows) -> Floats:
        """P-values of passing, by sample."""
        return np.asarray(np.max([self._tail(claim, rows, 1.0) for claim in self.claims], axis=0))

    def failing(self, rows: Rows) -> Floats:
        """P-values of failing, by sample."""
        return np.asarray(np.minimum(1.0, np.min([self._tail(claim, rows, -1.0) for claim in self.claims], axis=0)))

    def width(self, rows: Rows, tail: float) -> float:
        """Mean width of the difference's interval over the samples, with `tail` left out on each side."""
        return float(np.mean([self._width(self.spread.differences[row], tail) for row in rows]))

    def _width(self, values: Floats, tail: float) -> float:
        spread, n = self.spread, values.size
        if spread.test == "t":
            return float(2.0 * stats.t.isf(tail, n - 1) * values.std(ddof=1) / math.sqrt(n))
        if spread.unit is not None:
            counts = int((values > 0.0).sum()), int((values < 0.0).sum())
            low, high = corrected_interval(*counts, n, 1.0 - 2.0 * tail)
            return (high - low) * spread.unit
        if spread.span is None and not values.std():
            return 0.0
        floor, ceiling = spread.span or (None, None)
        low, high = mean_limits(values, 1.0 - 2.0 * tail, Ends(floor, ceiling, spread.decisive))
        return high - low

    def _signed(self, claim: Claim, rows: Rows) -> Floats:
        signed = claim.sign * self.spread.differences[rows]
        return signed if self.share is None else signed - self.share * np.abs(self.spread.baseline[rows])

    def _tail(self, claim: Claim, rows: Rows, side: float) -> Floats:
        """P-values that the claim holds (side 1) or does not (side -1)."""
        values, threshold, n = side * self._signed(claim, rows), side * claim.threshold, rows.shape[1]
        spread = self.spread
        if spread.test == "t":
            with np.errstate(divide="ignore", invalid="ignore"):
                z = (values.mean(axis=1) - threshold) / (values.std(axis=1, ddof=1) / math.sqrt(n))
            return np.asarray(stats.t.sf(z, n - 1))
        if spread.unit is not None and self.share is None and abs(threshold) < spread.unit:
            counts = zip((values > 0.0).sum(axis=1).tolist(), (values < 0.0).sum(axis=1).tolist(), strict=True)
            return np.array([_proportions(*pair, n, threshold / spread.unit) for pair in counts])
        return above_p_values(values, threshold, self._low(side * claim.sign), self._decisive())

    def _low(self, sign: float) -> float | None:
        """Low end of the scale of the signed values."""
        if self.spread.span is None:
            return None
        if self.share is not None:
            reach = max(abs(end) for end in self.spread.span)
            return -reach - abs(self.share) * float(np.abs(self.spread.baseline).max())
        return self.spread.span[0] if sign > 0.0 else -self.spread.span[1]

    def _decisive(self) -> float:
        return 1.0 if self.share is not None else self.spread.decisive


@lru_cache(maxsize=65536)
def _proportions(up: int, down: int, n: int, threshold: float) -> float:
    return corrected_p_values(up, down, n, threshold)[0]


def moved(spread: Spread, effect: float) -> tuple[Spread, Floats]:
    """Move differences to a supposed mean.

    They are weighted by exp(c d), with c such that the weighted mean is the effect: they stay on their scale and keep
    their values, ties and wins included. Where that would change their spread much (the effect is far from what was
    observed), they are shifted instead, and their scale with them.

    Returns
    -------
    spread : Spread
    weights : ndarray, shape (m,)
    """
    values = spread.differences
    equal = np.full(values.size, 1.0 / values.size)
    sd, mean = float(values.std()), float(values.mean())
    if abs(mean - effect) <= 1e-12 * max(1.0, abs(effect)):
        return spread, equal
    weights = _tilted(values, effect)
    if weights is not None:
        tilted_sd = math.sqrt(float(weights @ (values - effect) ** 2))
        if _LIKE_SPREAD[0] * sd <= tilted_sd <= _LIKE_SPREAD[1] * sd:
            return spread, weights
    shift = effect - mean
    span = None if spread.span is None else (spread.span[0] + min(shift, 0.0), spread.span[1] + max(shift, 0.0))
    return replace(spread, differences=values + shift, span=span, unit=None), equal


def _tilted(values: Floats, effect: float) -> Floats | None:
    sd = float(values.std())
    if not sd or not values.min() < effect < values.max():
        return None

    def weights(tilt: float) -> Floats:
        exponent = tilt * (values - effect) / sd
        raw = np.exp(exponent - exponent.max())
        return np.asarray(raw / raw.sum())

    def excess(tilt: float) -> float:
        return float(weights(tilt) @ values) - effect

    if excess(-_LARGEST_TILT) > 0.0 or excess(_LARGEST_TILT) < 0.0:
        return None
    return weights(float(optimize.brentq(excess, -_LARGEST_TILT, _LARGEST_TILT, xtol=1e-12)))
