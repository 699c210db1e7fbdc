"""A rule watched while scores arrive in any order; what is not known yet counts as the worst case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.gate.policy import Kind
from harness.gate.rule_fields import Tier
from harness.gate.testing import Claim
from harness.stats.bootstrap import Floats
from harness.stats.confidence_sequence import Scale, betting_log_capital, e_to_p

WatchedVerdict = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True)
class Bounds:
    """What is known of differences, in the random order that was fixed before any of them was seen.

    Parameters
    ----------
    low, high : ndarray, shape (n,)
        The least and the largest value each can have; equal for one that is known.
    """

    low: Floats
    high: Floats

    @property
    def known(self) -> Floats:
        """The differences that are known."""
        known: Floats = self.low[self.low == self.high]
        return known


def anytime_p_values(bounds: Bounds, claims: Sequence[Claim], scale: Scale) -> tuple[float, float]:
    """Test claims about the mean of differences, some of which are not known yet.

    Parameters
    ----------
    bounds : Bounds
        The differences.
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
    The capital of `betting_log_capital` grows with every value, so with the least possible value in place of an unknown
    one it is at most the capital of the full sequence, to which Ville's inequality applies. Which values are missing
    may therefore depend on the values: slow samples and failed ones cannot bias a decision, they only delay it.
    """
    shown, refuted = math.inf, -math.inf
    for claim in claims:
        shown = min(shown, _largest_log_capital(bounds, claim.sign, claim.threshold, scale))
        refuted = max(refuted, _largest_log_capital(bounds, -claim.sign, -claim.threshold, scale))
    return e_to_p(shown), e_to_p(refuted)


def _largest_log_capital(bounds: Bounds, sign: float, threshold: float, scale: Scale) -> float:
    """The gambler's best time so far on "sign * difference > threshold"."""
    values, ends = (bounds.low, scale) if sign > 0.0 else (-bounds.high, Scale(-scale.high, -scale.low))
    if threshold <= ends.low:
        return math.inf if threshold < ends.low else 0.0
    return float(betting_log_capital(values, threshold, ends).max())


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
    number : float or None
        The number of a limit, from which the differences are taken; None for a rule that compares with a baseline.
    tier : {"critical", "supporting", "advisory"}
        Its tier.
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
    number: float | None
    tier: Tier
    scale: Scale
    alpha: float
    min_n: int
    verdict: WatchedVerdict = "undecided"
    p_pass: float = 1.0
    p_fail: float = 1.0
    n_known: int = 0
    effect: float | None = None

    def look(self, bounds: Bounds) -> None:
        """Take what is known of the differences; a decided rule stays as it is."""
        known = bounds.known
        if self.verdict != "undecided" or not known.size:
            return
        self.n_known, self.effect = known.size, float(known.mean())
        if self.n_known < self.min_n:
            return
        self.p_pass, self.p_fail = anytime_p_values(bounds, self.claims, self.scale)
        if self.p_pass <= self.alpha:
            self.verdict = "pass"
        elif self.p_fail <= self.alpha:
            self.verdict = "fail"


def verdict_of_all(rules: Sequence[WatchedRule]) -> WatchedVerdict:
    """The decision: fail once a rule that is not advisory fails, pass once all critical ones pass."""
    if any(rule.verdict == "fail" and rule.tier != "advisory" for rule in rules):
        return "fail"
    return "pass" if all(rule.verdict == "pass" for rule in rules if rule.tier == "critical") else "undecided"
