"""The one-sided tests behind a rule: the difference exceeds the threshold, does not exceed it, or it is undecided.

Superiority by a margin m tests whether the paired difference exceeds +m, non-inferiority within m whether it exceeds
-m, both on the metric's scale. "It exceeds" and "it does not" are each tested at alpha. The interval shown with them is
therefore the two-sided one of level 1 - 2 alpha: the rule passes if the interval lies above the threshold and fails if
it lies below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from harness.errors import StatisticsError
from harness.gate.evidence import PairedUnits
from harness.gate.policy import Kind, Policy, Rule
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.non_inferiority import corrected_interval, corrected_p_values
from harness.stats.paired import PairedComparison, PairedSpec, paired_difference
from harness.stats.power import PowerSpec, minimum_detectable_effect, units_needed


@dataclass(frozen=True)
class TestedRule:
    """The figures of a tested rule.

    Parameters
    ----------
    value_candidate, value_baseline : float
        The metric over the prompts both runs scored.
    difference : Estimate
        Candidate minus baseline, with the interval of level 1 - 2 alpha.
    thresholds : tuple of float
        The value the difference must exceed, or stay below for `better: lower`; two values for `neither`.
    p_pass, p_fail : float
        One-sided p-values of the null hypotheses "the rule does not hold" and "the rule holds".
    sd : float or None
        Standard deviation of the difference per prompt; None if all differences are equal.
    detectable : float or None
        Smallest true difference that would pass with the policy's power at this number of prompts.
    n_further : int or None
        Further prompts needed to decide with the policy's power if the observed difference is the true one; None if
        no number suffices.
    leans : {"pass", "fail", ""}
        The decision expected then.
    power : float
        The policy's target power.
    """

    __test__ = False  # pytest: not a test

    value_candidate: float
    value_baseline: float
    difference: Estimate
    thresholds: tuple[float, ...]
    p_pass: float
    p_fail: float
    sd: float | None
    detectable: float | None
    n_further: int | None
    leans: str
    power: float


@dataclass(frozen=True)
class Claim:
    """One side of a rule: the mean of sign (candidate - baseline) must exceed the threshold.

    Parameters
    ----------
    sign : float
        1, or -1 if lower is better.
    threshold : float
        In the metric's unit.
    """

    sign: float
    threshold: float


def claims_of(kind: Kind, rule: Rule, baseline_value: float) -> list[Claim]:
    """Return the claims of a rule.

    Parameters
    ----------
    kind : {"improve", "keep"}
    rule : Rule
    baseline_value : float
        The value a relative margin refers to.
    """
    size = rule.margin.value * abs(baseline_value) if rule.margin.relative else rule.margin.value
    signed = size if kind == "improve" else -size
    signs = {"higher": (1.0,), "lower": (-1.0,), "neither": (1.0, -1.0)}[rule.better]
    return [Claim(sign, signed) for sign in signs]


def paired_test(kind: Kind, rule: Rule, policy: Policy, units: PairedUnits) -> TestedRule:
    """Test a rule on values paired by prompt.

    Raises
    ------
    StatisticsError
        There is only one prompt, or all differences are equal on an unbounded scale.
    """
    level = 1.0 - 2.0 * policy.alpha
    spec = PairedSpec(level=level, scale=units.value_reach, span=units.value_span, bounds=units.bounds)
    compared = _compare(units.first, units.second, spec)
    baseline = float(units.second.mean())
    claims = claims_of(kind, rule, baseline)
    tails = [_tails(claim, kind, rule, units, compared) for claim in claims]
    n = compared.difference.n_clusters
    planned = Planned(compared.difference.value, compared.sd or None, n)
    return tested_rule(
        (float(units.first.mean()), baseline),
        compared.difference,
        claims,
        (max(p for p, _ in tails), min(1.0, min(p for _, p in tails))),
        planned,
        policy,
    )


def fitted_test(
    kind: Kind, rule: Rule, policy: Policy, values: tuple[float, float], difference: Estimate
) -> TestedRule:
    """Test a rule on a fitted metric with the standard error of its paired bootstrap.

    Parameters
    ----------
    values : tuple of float
        The metric of candidate and baseline.
    difference : Estimate
        Candidate minus baseline.

    Raises
    ------
    StatisticsError
        There is no standard error.
    """
    if not difference.stderr:
        raise StatisticsError("the paired bootstrap shows no spread", "answers that differ")
    df = max(difference.n_clusters - 1, 1)
    half = float(stats.t.isf(policy.alpha, df)) * difference.stderr
    shown = replace(
        difference,
        ci_low=difference.value - half,
        ci_high=difference.value + half,
        level=1.0 - 2.0 * policy.alpha,
        method=f"{difference.method}; interval and p from its standard error",
    )
    claims = claims_of(kind, rule, values[1])
    passes, fails = [], []
    for claim in claims:
        statistic = (claim.sign * difference.value - claim.threshold) / difference.stderr
        passes.append(float(stats.t.sf(statistic, df)))
        fails.append(float(stats.t.cdf(statistic, df)))
    planned = Planned(difference.value, difference.stderr * math.sqrt(difference.n_clusters), difference.n_clusters)
    return tested_rule(values, shown, claims, (max(passes), min(fails)), planned, policy)


@dataclass(frozen=True)
class Planned:
    """Inputs of the sample size calculation: observed effect, standard deviation per prompt, number of prompts."""

    effect: float
    sd: float | None
    n: int


def tested_rule(
    values: tuple[float, float],
    difference: Estimate,
    claims: Sequence[Claim],
    p_values: tuple[float, float],
    planned: Planned,
    policy: Policy,
) -> TestedRule:
    """Return the figures of a rule; `p_values` are those of passing and of failing."""
    worst = min(claims, key=lambda claim: claim.sign * planned.effect - claim.threshold)
    detectable, n_further, leans = _plan(worst, planned, policy)
    return TestedRule(
        values[0],
        values[1],
        difference,
        tuple(claim.sign * claim.threshold for claim in claims),
        p_values[0],
        p_values[1],
        planned.sd,
        detectable,
        n_further,
        leans,
        policy.target_power,
    )


def _plan(claim: Claim, planned: Planned, policy: Policy) -> tuple[float | None, int | None, str]:
    """Return detectable difference, further prompts and direction for the claim furthest from passing."""
    if planned.sd is None or planned.n < 2:
        return None, None, ""
    design = PowerSpec(policy.alpha, policy.target_power, sides=1, threshold=claim.threshold)
    detectable = claim.sign * minimum_detectable_effect(planned.sd, planned.n, design)
    effect = claim.sign * planned.effect
    leans = "pass" if effect > claim.threshold else "fail"
    # Failing is the mirrored test.
    mirrored = PowerSpec(policy.alpha, policy.target_power, sides=1, threshold=-claim.threshold)
    total = units_needed(effect, planned.sd, design) if leans == "pass" else units_needed(-effect, planned.sd, mirrored)
    if total is None:
        return detectable, None, ""
    return detectable, max(total - planned.n, 1), leans


def _compare(first: Floats, second: Floats, spec: PairedSpec) -> PairedComparison:
    """Compare by prompt; binary scores get the interval corrected for continuity, which the gate's p-values invert."""
    compared = paired_difference(first, second, np.arange(first.size), spec)
    estimate = compared.difference
    if compared.discordant is None:
        return compared
    low, high = corrected_interval(*compared.discordant, estimate.n, spec.level)
    method = "paired difference of proportions; Tango score interval, corrected for continuity"
    unit = compared.unit
    return replace(compared, difference=replace(estimate, ci_low=low * unit, ci_high=high * unit, method=method))


def _tails(claim: Claim, kind: Kind, rule: Rule, units: PairedUnits, compared: PairedComparison) -> tuple[float, float]:
    """One-sided p-values that the claim holds, and that it does not."""
    if rule.margin.relative:
        # The margin is a share of the baseline's value, which is random: test the mean of sign (a - b) -+ share b.
        share = rule.margin.value if kind == "improve" else -rule.margin.value
        shifted = claim.sign * (units.first - units.second) - share * np.abs(units.second)
        scale = None
        if units.value_reach is not None:
            scale = units.value_reach + abs(share) * float(np.abs(units.second).max())
        return _p_values(_compare(shifted, np.zeros_like(shifted), PairedSpec(scale=scale)), 0.0)
    if claim.sign < 0.0:
        below, above = _p_values(compared, -claim.threshold)
        return above, below
    return _p_values(compared, claim.threshold)


def _p_values(compared: PairedComparison, threshold: float) -> tuple[float, float]:
    """Return p-values of the null hypotheses "mean <= threshold" and "mean >= threshold"."""
    if compared.discordant is not None and abs(threshold) < compared.unit:
        return corrected_p_values(*compared.discordant, compared.difference.n, threshold / compared.unit)
    found = compared.p_values(threshold)
    if found is None and compared.sd is None:
        raise StatisticsError("only one prompt", "at least two", "run more prompts")
    if found is None:
        raise StatisticsError(
            "every prompt differs by the same amount, on an unbounded scale",
            "differences that vary",
            "check that the two runs are not copies of each other",
        )
    return found
