"""Combine rules to one decision: all must pass, and at least one of each any-of group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.gate.decision import RuleDecision, Verdict
from harness.gate.policy import Entry, Kind, Policy, Rule
from harness.stats.multiplicity import holm

RuleTester = Callable[[Kind, Rule, str, int], RuleDecision | None]


def combine(
    policy: Policy, entries: Sequence[Entry], test: RuleTester
) -> tuple[list[RuleDecision], dict[str, str], list[str]]:
    """Decide each rule, and each any-of group by Holm.

    Parameters
    ----------
    policy : Policy
        The policy, for alpha.
    entries : sequence of Entry
        Rules and groups.
    test : callable
        Maps (kind, rule, group name, group size) to a decision, or None if the rule is left out.

    Returns
    -------
    rules : list of RuleDecision
    groups : dict of str to str
        Decision of each group.
    left_out : list of str
        Names of rules left out.
    """
    rules: list[RuleDecision] = []
    groups: dict[str, str] = {}
    left_out: list[str] = []
    for entry in entries:
        members = [m.rule for m in entry.any or (entry,) if m.rule is not None]
        group = f"any-{len(groups) + 1}" if entry.any else ""
        decided: list[RuleDecision] = []
        for kind, rule in members:
            outcome = test(kind, rule, group, len(members))
            if outcome is None:
                left_out.append(f"{kind} {rule.benchmark} {rule.metric}")
            else:
                decided.append(outcome)
        if group:
            decided, groups[group] = _decide_group(policy, decided)
        rules += decided
    return rules, groups, left_out


def _decide_group(policy: Policy, members: list[RuleDecision]) -> tuple[list[RuleDecision], str]:
    """Adjust the members' p-values by Holm's method; the group passes if a member still passes.

    An invalid member counts as a test with p = 1. If it were excluded, the correction would depend on what failed.
    """
    if not members:
        return [], "invalid"
    adjusted = holm([1.0 if m.tested is None else m.tested.p_pass for m in members])
    decided = [
        _adjusted(member, p, policy.alpha, len(members)) for member, p in zip(members, adjusted.tolist(), strict=True)
    ]
    outcomes = {m.decision for m in decided}
    return decided, next((o for o in ("pass", "invalid", "undecided") if o in outcomes), "fail")


def _adjusted(member: RuleDecision, p: float, alpha: float, n_rules: int) -> RuleDecision:
    """Return a member with its adjusted p-value; a member that passes only without the correction is undecided."""
    if member.tested is None:
        return member
    if not member.tested.p_pass <= alpha < p:
        return replace(member, p_adjusted=p)
    reason = f"{member.reason}; not after Holm's correction over {n_rules} rules (p = {p:.3g})"
    return replace(member, decision="undecided", reason=reason, p_adjusted=p)


def overall_verdict(rules: Sequence[RuleDecision], groups: dict[str, str], policy: Policy) -> Verdict:
    """Return the worst outcome: all rules must pass (an intersection-union test needs no correction)."""
    outcomes: list[str] = list(groups.values())
    outcomes = [policy.on_undecided if o == "undecided" else o for o in outcomes]
    for r in rules:
        if not r.group:
            counts_as = r.rule.on_undecided or policy.on_undecided
            outcomes.append(counts_as if r.decision == "undecided" else r.decision)
    worst: Sequence[Verdict] = ("invalid", "fail", "undecided", "pass")
    return next(verdict for verdict in worst if verdict in outcomes)
