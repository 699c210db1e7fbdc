"""Steerability: the share of a judge's verdicts that turn when a principle is negated.

A judge that reads its rubric grades the same answer high for "is it polite?" and low for "is it rude?". One that
follows its own taste grades both alike, and then the rubric's wording does not matter (SALMON, arXiv 2310.05910,
negates principles to the same end).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scipy import stats

from harness.records import Rating, Verdict


@dataclass(frozen=True, slots=True)
class Steerability:
    """The steerability of one dimension.

    Parameters
    ----------
    dimension : str
        The dimension.
    n : int
        Answers with both grades, the first of them off the middle of the scale.
    n_turned : int
        Those whose second grade is on the other side of the middle.
    n_neutral : int
        Answers whose first grade is the middle, which cannot turn.
    n_unscored : int
        Answers without both grades.
    share, ci_low, ci_high : float or None
        Share turned and its exact 95 % interval; None with a reason.
    reason : str
        Why there is no share.
    """

    dimension: str
    n: int = 0
    n_turned: int = 0
    n_neutral: int = 0
    n_unscored: int = 0
    share: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def steerability(dimension: str, pairs: Sequence[tuple[Verdict, Verdict]]) -> Steerability:
    """Compute the share of grades that turn.

    Parameters
    ----------
    dimension : str
        The dimension.
    pairs : sequence of (verdict, verdict)
        The grade by the principle and the grade by its opposite, of the same answer.

    Returns
    -------
    Steerability
        With the exact (Clopper-Pearson) interval of the share.
    """
    n = n_turned = n_neutral = n_unscored = 0
    for first, second in pairs:
        if not (isinstance(first, Rating) and isinstance(second, Rating)):
            n_unscored += 1
            continue
        leaning = _leaning(first)
        if leaning == 0.0:
            n_neutral += 1
            continue
        n += 1
        n_turned += leaning * _leaning(second) < 0.0
    counted = Steerability(dimension, n, n_turned, n_neutral, n_unscored)
    if n == 0:
        return replace(counted, reason="no answer was graded off the middle of the scale")
    low, high = stats.binomtest(n_turned, n).proportion_ci(0.95, "exact")
    return replace(counted, share=n_turned / n, ci_low=float(low), ci_high=float(high))


def _leaning(rating: Rating) -> float:
    return rating.value - (rating.low + rating.high) / 2
