"""The decision of one rule on paired values: checks of sample size and margin, then the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.gate.decision import RuleDecision, Verdict
from harness.gate.evidence import PairedUnits
from harness.gate.policy import AnyRule, Kind, Limit, Policy, Rule
from harness.gate.testing import TestedRule, paired_test
from harness.gate.words import rule_reason

PairTest = Callable[[Kind, Rule, Policy, PairedUnits, int], tuple[TestedRule, dict[str, Any] | None]]
"""Tests a rule on paired values, given the number of rules in its group; the fixed-sample test or a sequential one."""


@dataclass(frozen=True)
class Asked:
    """How a rule is tested, and its group in the policy.

    Parameters
    ----------
    test : callable
        The test; by default the fixed-sample test.
    group : str
        Name of its any-of group.
    group_size : int
        Number of rules in the group.
    n_all : int or None
        Number of all prompts of the benchmark, if known.
    """

    test: PairTest | None = None
    group: str = ""
    group_size: int = 1
    n_all: int | None = None


def decide_units(
    kind: Kind, rule: AnyRule, policy: Policy, units: PairedUnits, asked: Asked | None = None
) -> RuleDecision:
    """Decide one rule on paired values; those of a limit are the candidate's and the number.

    Raises
    ------
    UsageError
        The rule can never pass.
    StatisticsError
        The values cannot be tested.
    """
    asked = asked or Asked()
    counts: dict[str, Any] = {
        "n": len(units.keys),
        "n_items": units.n_items,
        "n_unscored": units.n_unscored,
        "unscored": units.unscored,
    }
    problem = too_little(rule, policy, counts, units.n_all) or out_of_reach(kind, rule, units)
    if problem:
        return RuleDecision(kind, rule, "invalid", problem, asked.group, **counts)
    tested: TestedRule
    sequential: dict[str, Any] | None
    claim = tested_as(kind, rule)
    if asked.test is None:
        tested, sequential = paired_test(*claim, policy, units), None
    else:
        tested, sequential = asked.test(*claim, policy, units, asked.group_size)
    verdict = verdict_of(tested, policy.alpha)
    reason = rule_reason(kind, rule, tested, verdict, asked.n_all)
    return RuleDecision(
        kind, rule, verdict, reason, asked.group, tested, tested.p_pass, sequential=sequential, units=units, **counts
    )


def verdict_of(tested: TestedRule, alpha: float) -> Verdict:
    """Return the decision from the two one-sided p-values."""
    if tested.p_pass <= alpha:
        return "pass"
    return "fail" if tested.p_fail <= alpha else "undecided"


def tested_as(kind: Kind, rule: AnyRule) -> tuple[Kind, Rule]:
    """Return the rule as the tests take it; a limit is an improvement over the number."""
    return ("improve", rule.as_improve()) if isinstance(rule, Limit) else (kind, rule)


def too_little(rule: AnyRule, policy: Policy, counts: Mapping[str, Any], n_all: int) -> str:
    """Return a problem if too many items are unscored or too few prompts are left.

    Parameters
    ----------
    rule, policy : AnyRule, Policy
    counts : mapping
        "n", "n_unscored" and, if known, "unscored" of a `RuleDecision`.
    n_all : int
        Items that should have been scored.
    """
    limit = policy.max_unscored if rule.max_unscored is None else rule.max_unscored
    if counts["n_unscored"] > limit * n_all:
        listed = ", ".join(f"{reason} {n}" for reason, n in counts.get("unscored", {}).items())
        where = "" if isinstance(rule, Limit) else " in both runs"
        return (
            f"{counts['n_unscored']} of {n_all} items are not scored{where}{f' ({listed})' if listed else ''}, "
            f"more than the {limit:.1%} the policy allows; `assay resume` retries them"
        )
    min_n = policy.min_n if rule.min_n is None else rule.min_n
    if counts["n"] < min_n:
        return f"{counts['n']} prompts, but the policy requires at least {min_n}; run more, or lower min_n"
    return ""


def out_of_reach(kind: Kind, rule: AnyRule, units: PairedUnits) -> str:
    """Return a problem if a rule can never pass because the baseline is too close to the end of the scale."""
    if units.reach is None or units.ceiling is None or units.floor is None:
        return ""
    if isinstance(rule, Limit):
        _check_limit(rule, units.floor, units.ceiling)
    return "" if kind != "improve" or isinstance(rule, Limit) else _room(rule, units, (units.floor, units.ceiling))


def _room(rule: Rule, units: PairedUnits, ends: tuple[float, float]) -> str:
    floor, ceiling = ends
    baseline = float(units.second.mean())
    margin = rule.margin.value * abs(baseline) if rule.margin.relative else rule.margin.value
    if not rule.margin.relative and units.reach is not None and margin >= units.reach:
        raise UsageError(
            f"improve {rule.benchmark} {rule.metric} by {rule.margin} can never pass",
            f"a margin below {units.reach:g}, the width of the scale",
            "lower the margin in the policy",
        )
    room = ceiling - baseline if rule.better == "higher" else baseline - floor
    if margin >= room:
        return (
            f"the rule can never pass: the baseline is at {baseline:.2f} of {ceiling:g}, so the largest possible "
            f"gain is {room:.2f}, but more than {margin:g} is required"
        )
    return ""


def _check_limit(rule: Limit, floor: float, ceiling: float) -> None:
    """Refuse a limit that always holds or never can, because it is not inside the scale."""
    if not floor < rule.number < ceiling:
        raise UsageError(
            f"limit {rule.benchmark} {rule.metric} {rule.words}, on a scale from {floor:g} to {ceiling:g}",
            f"a number between {floor:g} and {ceiling:g}, both excluded",
            "check the unit: rates are in percent",
        )
