"""A rule watched while scores arrive in any order: decided on what is known, with the rest counted as the worst case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.gate.policy import Kind
from harness.gate.testing import Claim
from harness.stats.bootstrap import Floats
from harness.stats.confidence_sequence import Scale, betting_log_capital, e_to_p

WatchedVerdict = Literal["pass", "fail", "undecided"]


def anytime_p_values(differences: Sequence[float | None], claims: Sequence[Claim], scale: Scale) -> tuple[float, float]:
    """Test claims about the mean of differences, some of which are not known yet.

    Parameters
    ----------
    differences : sequence of float or None, length n
        In a random order that was fixed before any of them was seen; None for one that is not known, for whatever
        reason.
    claims : sequence of Claim
        All must hold.
    scale : Scale
        Ends of the differences' scale.

    Returns
    -------
    p_pass, p_fail : float
        Anytime-valid p-values against "a claim does not hold" and "all claims hold".

    Notes
    -----
    The capital of `betting_log_capital` grows with every value, so with the lowest possible value in place of an unknown
    one it is at most the capital of the full sequence, to which Ville's inequality applies. Which values are missing may
    therefore depend on the values: slow samples and failed ones cannot bias a decision, they only delay it.
    """
    shown, refuted = math.inf, -math.inf
    for claim in claims:
        shown = min(shown, _largest_log_capital(differences, claim.sign, claim.threshold, scale))
        refuted = max(refuted, _largest_log_capital(differences, -claim.sign, -claim.threshold, scale))
    return e_to_p(shown), e_to_p(refuted)


def _largest_log_capital(differences: Sequence[float | None], sign: float, threshold: float, scale: Scale) -> float:
    """The gambler's best time so far on "sign * difference > threshold"."""
    low, high = sorted((sign * scale.low, sign * scale.high))
    if threshold <= low:
        return math.inf if threshold < low else 0.0
    values: Floats = np.array([low if value is None else sign * value for value in differences])
    return float(betting_log_capital(values, threshold, Scale(low, high)).max())


@dataclass
class WatchedRule:
    """A rule and where it stands.

    Parameters
    ----------
    kind : str
        Kind of the rule.
    metric : str
        The score it is about.
    claims : sequence of Claim
        What must hold.
    scale : Scale
        Ends of the scale of the differences from the baseline, or from the limit.
    alpha : float
        One-sided level of passing, and of failing.
    min_n : int
        Least number of known differences before a decision.
    verdict : {"pass", "fail", "undecided"}
        Where it stands; a decision is final.
    p_pass, p_fail : float
        Anytime-valid p-values at the last look.
    n_known, effect : int, float or None
        Known differences and their mean at the last look. At a stop the mean is biased away from the threshold.
    """

    kind: Kind
    metric: str
    claims: Sequence[Claim]
    scale: Scale
    alpha: float
    min_n: int
    verdict: WatchedVerdict = "undecided"
    p_pass: float = 1.0
    p_fail: float = 1.0
    n_known: int = 0
    effect: float | None = None

    def look(self, differences: Sequence[float | None]) -> None:
        """Take the differences known so far, in the order fixed beforehand; a decided rule stays as it is."""
        known = [value for value in differences if value is not None]
        if self.verdict != "undecided" or not known:
            return
        self.n_known, self.effect = len(known), sum(known) / len(known)
        if self.n_known < self.min_n:
            return
        self.p_pass, self.p_fail = anytime_p_values(differences, self.claims, self.scale)
        if self.p_pass <= self.alpha:
            self.verdict = "pass"
        elif self.p_fail <= self.alpha:
            self.verdict = "fail"
