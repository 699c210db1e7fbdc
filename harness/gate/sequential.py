"""Sequential tests: a rule is decided as soon as the evidence suffices, with the same bound on the error.

Prompts come in a random order fixed by a seed. For each rule there are two betting strategies, one on the paired
difference exceeding the threshold and one on it staying below. The first whose capital grows by 1/alpha decides the
rule. The chance that a rule passes at any look although it should not is at most alpha.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import StatisticsError
from harness.gate.evidence import PairedUnits
from harness.gate.order import random_order
from harness.gate.policy import Kind, Policy, Rule
from harness.gate.testing import Claim, Planned, TestedRule, claims_of, paired_test, tested_rule
from harness.stats.bootstrap import Floats
from harness.stats.confidence_sequence import Scale, betting_limits, betting_log_capital, e_to_p
from harness.stats.estimate import Estimate


@dataclass(frozen=True)
class StoppedRule:
    """Where a sequence of paired differences was stopped, and the result.

    Parameters
    ----------
    verdict : {"pass", "fail", "undecided"}
        Undecided if the sequence ended first.
    n_used : int
        Number of differences used.
    p_pass, p_fail : float
        Anytime-valid p-values: the inverse of the largest capital so far.
    """

    verdict: str
    n_used: int
    p_pass: float
    p_fail: float


def sequential_decide(
    differences: Floats,
    claims: Sequence[Claim],
    reach: float | tuple[float, float],
    levels: tuple[float, float],
    min_n: int = 1,
) -> StoppedRule:
    """Test paired differences one by one until a rule is decided.

    Parameters
    ----------
    differences : ndarray, shape (n,)
        Candidate minus baseline, one per prompt, in random order, on the scale.
    claims : sequence of Claim
        What must hold (two claims if a metric must stay within a margin on both sides).
    reach : float or (float, float)
        Largest difference on the scale, in either direction, or the ends of the scale.
    levels : tuple of float
        One-sided levels of passing and of failing.
    min_n : int
        Least number of prompts before a decision.

    Returns
    -------
    StoppedRule

    Raises
    ------
    StatisticsError
        There are no differences, or one exceeds `reach`.

    Notes
    -----
    A claim "sign d > threshold" is shown or refuted by the capital of `betting_log_capital`. If there are two claims,
    both must be shown (intersection-union, no correction); one refuted claim is enough to fail.
    """
    low, high = (-reach, reach) if isinstance(reach, float | int) else reach
    shown = np.full(differences.size, math.inf)
    refuted = np.full(differences.size, -math.inf)
    for claim in claims:
        signed = claim.sign * differences
        scale, mirrored = (Scale(low, high), Scale(-high, -low))[:: 1 if claim.sign > 0.0 else -1]
        shown = np.minimum(shown, np.maximum.accumulate(_log_capital(signed, claim.threshold, scale)))
        refuted = np.maximum(refuted, np.maximum.accumulate(_log_capital(-signed, -claim.threshold, mirrored)))
    crossed = {
        "pass": _first(shown >= -math.log(levels[0])),
        "fail": _first(refuted >= -math.log(levels[1])),
    }
    first = min(crossed.values())
    if math.isinf(first):
        return StoppedRule("undecided", differences.size, e_to_p(shown[-1]), e_to_p(refuted[-1]))
    verdict = "pass" if crossed["pass"] == first else "fail"
    n_used = min(max(int(first) + 1, min_n), differences.size)
    return StoppedRule(verdict, n_used, e_to_p(shown[n_used - 1]), e_to_p(refuted[n_used - 1]))


def _log_capital(values: Floats, threshold: float, scale: Scale) -> Floats:
    """Return the log capital; infinite if the threshold is below the scale, where the claim is certain."""
    if threshold <= scale.low:
        return np.full(values.size, math.inf if threshold < scale.low else 0.0)
    return betting_log_capital(values, threshold, scale)


def _first(hits: Any) -> float:
    return float(np.argmax(hits)) if bool(hits.any()) else math.inf


@dataclass(frozen=True)
class SequentialTest:
    """Sequential test of a rule, with prompts in the order of a seed; for `harness.gate.decide.decide`.

    A metric that cannot be tested sequentially (lengths are unbounded; weighted verdicts and fits need all prompts) is
    tested once, on all prompts.

    Parameters
    ----------
    seed : int
        Random seed of the prompt order.
    """

    seed: int = 0

    def __call__(
        self, kind: Kind, rule: Rule, policy: Policy, units: PairedUnits, group_size: int
    ) -> tuple[TestedRule, dict[str, Any]]:
        """Test a rule."""
        why_not = obstacle(rule, units)
        if why_not:
            return paired_test(kind, rule, policy, units), {"looked_at": "once, on all prompts", "because": why_not}
        place = {key: index for index, key in enumerate(units.keys)}
        order = [place[key] for key in random_order(units.keys, self.seed)]
        first, second = units.first[order], units.second[order]
        reach = units.span or (-(units.reach or 0.0), units.reach or 0.0)
        claims = claims_of(kind, rule, float(second.mean()))
        min_n = policy.min_n if rule.min_n is None else rule.min_n
        stopped = sequential_decide(first - second, claims, reach, (policy.alpha / group_size, policy.alpha), min_n)
        n = stopped.n_used
        tested = _at_stop(first[:n], second[:n], claims, (Scale(*reach), stopped), policy)
        looked = {
            "looked_at": "after every prompt",
            "seed": self.seed,
            "n_used": n,
            "n_all": len(units.keys),
            "share_used": n / len(units.keys),
        }
        return tested, looked


def obstacle(rule: Rule, units: PairedUnits) -> str:
    """Return why a rule cannot be tested after every prompt; "" if it can."""
    if units.reach is None:
        return "the metric's scale is unbounded, which the sequential test does not allow"
    if not units.sequential:
        return "the verdicts are weighted, so a prompt's value depends on the others"
    if rule.margin.relative:
        return "the margin is a share of the baseline's value over all prompts"
    return ""


def _at_stop(
    first: Floats,
    second: Floats,
    claims: Sequence[Claim],
    found: tuple[Scale, StoppedRule],
    policy: Policy,
) -> TestedRule:
    """Return the figures up to the stop."""
    scale, stopped = found
    differences = first - second
    n = differences.size
    if n < 2:
        raise StatisticsError(f"{n} prompts", "at least 2")
    low, high = betting_limits(differences, policy.alpha, scale)
    sd = float(differences.std(ddof=1))
    mean, stderr, level = float(differences.mean()), sd / math.sqrt(n), 1.0 - 2.0 * policy.alpha
    method = "paired difference up to the stop; betting confidence sequence"
    note = "valid at any stop; the estimate at a stop is biased away from the threshold"
    estimate = Estimate(mean, stderr, low, high, level, method, n, n, note)
    planned = Planned(estimate.value, sd or None, n)
    values = float(first.mean()), float(second.mean())
    return tested_rule(values, estimate, claims, (stopped.p_pass, stopped.p_fail), planned, policy)
