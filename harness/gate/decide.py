"""`decide`: judge a candidate's run under a policy; pass, fail, undecided or invalid."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import AssayError, UsageError
from harness.gate.category_rules import decide_categories
from harness.gate.combine import CombinedRules, combine
from harness.gate.decision import Decision, RuleDecision, Verdict
from harness.gate.limit_rules import decide_limit
from harness.gate.metric_rules import decide_metric
from harness.gate.opened_runs import Comparison, OpenedRuns
from harness.gate.policy import HEAD_TO_HEAD, AnyRule, Kind, Limit, Policy
from harness.gate.rule import Asked, PairTest
from harness.gate.rule_looks import decide_in_looks
from harness.gate.validity import run_problems
from harness.gate.words import overall_message
from harness.run.stored_run import StoredRun


def decide(policy: Policy, comparison: Comparison, test: PairTest | None = None) -> Decision:
    """Decide whether a candidate is promoted.

    Parameters
    ----------
    policy : Policy
        The rules.
    comparison : Comparison
        The runs.
    test : callable, optional
        Test of a rule on paired values; by default that of the policy's method. A candidate that stopped at a planned
        look is tested at its looks.

    Returns
    -------
    Decision
        Rules that cannot be tested are invalid, with the reason.

    Raises
    ------
    UsageError
        A directory holds no run, the policy needs a baseline and there is none, or a rule can never pass (its margin
        exceeds the metric's scale).
    """
    runs = OpenedRuns.open(policy, comparison, test)
    test = runs.test
    problems = run_problems(runs.candidate, runs.against) or runs.stopped_early()

    def decided(kind: Kind, rule: AnyRule, group: str, group_size: int) -> RuleDecision | None:
        return decide_rule(kind, rule, runs, Asked(test, group, group_size))

    found = combine(policy, [] if problems else list(policy.rules), decided)
    if not problems and not found.has_critical:
        left = "no critical rule" if found.rules else "no rule"
        problems = [f"{left} of the policy applies: neither run holds any of its benchmarks"]
    verdict: Verdict = "invalid" if problems else found.verdict(policy)
    message = "INVALID: " + "; ".join(problems) if problems else overall_message(verdict, found.rules, found.groups)
    return Decision(
        verdict,
        message,
        tuple(found.rules),
        found.groups,
        tuple(problems),
        tuple(found.left_out),
        policy.alpha,
        policy.name,
        _named(runs.candidate),
        "" if runs.against is None else _named(runs.against),
        (*_remarks(verdict, found), *_saved(found.rules)),
    )


def decide_rule(kind: Kind, rule: AnyRule, runs: OpenedRuns, asked: Asked) -> RuleDecision | None:
    """Decide one rule on its own; None if it is left out."""
    without_direct = rule.metric == HEAD_TO_HEAD and runs.direct is None
    if not rule.required and (not runs.holds(rule.benchmark) or without_direct):
        return None
    try:
        if runs.in_looks and rule.categories is None:
            return decide_in_looks(kind, rule, runs, asked, _tested)
        return _tested(kind, rule, runs, asked)
    except UsageError:
        raise
    except AssayError as error:
        return RuleDecision(kind, rule, "invalid", " ".join(str(error).split()), asked.group)


def _tested(kind: Kind, rule: AnyRule, runs: OpenedRuns, asked: Asked) -> RuleDecision:
    if rule.categories is not None:
        return decide_categories(kind, rule, runs, asked)
    if isinstance(rule, Limit):
        return decide_limit(rule, runs, asked)
    return decide_metric(kind, rule, runs, asked)


def _named(run: StoredRun) -> str:
    return f"{run.model} ({run.path})"


def _remarks(verdict: Verdict, found: CombinedRules) -> list[str]:
    """Say what the guarantee of a pass leaves out."""
    notes = _of_undecided([r for r in found.rules if not r.group and r.decision == "undecided"])
    notes = notes if verdict == "pass" else []
    unmet = [r for r in found.rules if r.tier == "advisory" and r.decision != "pass"]
    if unmet:
        listed = "; ".join(f"{r.name}: {r.decision}" for r in unmet)
        notes.append(f"advisory, without effect on the decision: {listed}")
    return notes


def _of_undecided(undecided: Sequence[RuleDecision]) -> list[str]:
    notes = []
    if any(r.tier == "critical" for r in undecided):
        notes.append("undecided rules count as passed (on_undecided: pass), so alpha does not bound the error rate")
    supporting = ", ".join(r.name for r in undecided if r.tier == "supporting")
    if supporting:
        notes.append(f"not shown, and not shown to be violated (supporting): {supporting}")
    return notes


def _saved(rules: Sequence[RuleDecision]) -> list[str]:
    """Describe how many prompts of each benchmark the sequential test used, and how many verdicts that saves."""
    needed: dict[str, list[RuleDecision]] = {}
    for r in rules:
        if r.sequential is not None and "n_used" in r.sequential:
            needed.setdefault(r.rule.benchmark, []).append(r)
    notes = []
    for benchmark, found in needed.items():
        last = max(found, key=lambda r: (r.sequential or {})["n_used"])
        n_used, n_all = (last.sequential or {})["n_used"], (last.sequential or {})["n_all"]
        saved = round((n_all - n_used) * last.n_items / max(last.n, 1))
        notes.append(f"{benchmark}: decided after {n_used} of {n_all} prompts; {saved} verdicts could have been saved")
    return notes
