"""Combine rules to one decision: by tiers, and at least one rule of each any-of group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from harness.gate.decision import RuleDecision, Verdict
from harness.gate.policy import AnyRule, Entry, Kind, Policy
from harness.gate.rule_fields import Tier
from harness.stats.multiplicity import holm

RuleTester = Callable[[Kind, AnyRule, str, int], RuleDecision | None]


@dataclass(frozen=True)
class CombinedRules:
    """Every rule's decision.

    Parameters
    ----------
    rules : list of RuleDecision
    groups : dict of str to str
        Decision of each any-of group.
    tiers : dict of str to str
        Tier of each any-of group.
    left_out : list of str
        Names of rules left out.
    """

    rules: list[RuleDecision] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    tiers: dict[str, Tier] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def has_critical(self) -> bool:
        """Whether a critical rule applies."""
        return "critical" in self.tiers.values() or any(r.tier == "critical" and not r.group for r in self.rules)

    def verdict(self, policy: Policy) -> Verdict:
        """Return the worst outcome that counts.

        All critical rules must pass: an intersection-union test, which needs no correction. A supporting rule counts
        only if it fails or is invalid, an advisory one never.
        """
        outcomes = [_counted(o, self.tiers[name], policy.on_undecided) for name, o in self.groups.items()]
        for r in self.rules:
            if not r.group:
                outcomes.append(_counted(r.decision, r.tier, r.rule.on_undecided or policy.on_undecided))
        worst: Sequence[Verdict] = ("invalid", "fail", "undecided", "pass")
        return next(verdict for verdict in worst if verdict in outcomes)


def _counted(outcome: str, tier: Tier, on_undecided: str) -> str:
    if tier == "advisory":
        return "pass"
    if outcome != "undecided":
        return outcome
    return "pass" if tier == "supporting" else on_undecided


def combine(policy: Policy, entries: Sequence[Entry], test: RuleTester) -> CombinedRules:
    """Decide each rule, and each any-of group by Holm.

    Parameters
    ----------
    policy : Policy
        The policy, for alpha.
    entries : sequence of Entry
        Rules and groups.
    test : callable
        Maps (kind, rule, group name, group size) to a decision, or None if the rule is left out.
    """
    found = CombinedRules()
    for entry in entries:
        members = [m.rule for m in entry.any or (entry,) if m.rule is not None]
        group = f"any-{len(found.groups) + 1}" if entry.any else ""
        decided: list[RuleDecision] = []
        for kind, rule in members:
            outcome = test(kind, rule, group, len(members))
            if outcome is None:
                found.left_out.append(rule.title(kind))
            else:
                decided.append(replace(outcome, tier=entry.own_tier))
        if group:
            decided, found.groups[group] = _decide_group(policy, decided)
            found.tiers[group] = entry.own_tier
        found.rules.extend(decided)
    return found


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
