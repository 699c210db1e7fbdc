"""Messages of the gate: the rule, the effect with its interval, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from harness.gate.decision import RuleDecision, Verdict
from harness.gate.policy import AnyRule, Kind, Limit, Rule
from harness.gate.testing import TestedRule


def rule_reason(kind: Kind, rule: AnyRule, tested: TestedRule, decision: Verdict, n_all: int | None) -> str:
    """Explain the decision of a rule.

    Parameters
    ----------
    kind, rule : str, AnyRule
        The rule.
    tested : TestedRule
        Its figures.
    decision : {"pass", "fail", "undecided"}
        The decision.
    n_all : int or None
        Number of all prompts of the benchmark, if known.
    """
    if isinstance(rule, Limit):
        return _limit_reason(rule, tested, decision, n_all)
    figures = _figures(tested)
    required = _required(rule, tested)
    if decision == "pass":
        return f"{figures}: {_outcome(kind, rule)} ({required})"
    if decision == "fail":
        return f"{figures}: {_failure(kind, rule)} ({required})"
    return f"{figures}: undecided ({required}). {_what_next(tested, n_all)}"


def category_reason(
    kind: Kind, rule: AnyRule, tested: TestedRule, decision: Verdict, worst: tuple[str, int, int]
) -> str:
    """Explain the decision of a rule over categories.

    Parameters
    ----------
    kind, rule, tested, decision
        As in :func:`rule_reason`.
    worst : (str, int, int)
        Name of the worst category, its number of items, and the number of categories.
    """
    name, n, n_categories = worst
    if isinstance(rule, Limit):
        figures, required = _limit_figures(rule, tested), f"required: {rule.words}"
        outcomes = ("on the right side", "on the wrong side")
    else:
        figures, required = _figures(tested), _required(rule, tested)
        outcomes = (_outcome(kind, rule), _failure(kind, rule))
    if rule.categories == "worst":
        figures = f"{figures}, worst categories of both runs ({name} of the candidate)"
        where = ("in the worst category", "in the worst category")
    else:
        figures = f"{figures}, {name} is furthest from passing"
        where = (f"in each of {n_categories} categories", "in at least one category")
    if decision == "pass":
        return f"{figures}: {outcomes[0]} {where[0]} ({required})"
    if decision == "fail":
        return f"{figures}: {outcomes[1]} {where[1]} ({required})"
    next_step = f"{name} has {n} values; more prompts in each category help"
    if tested.n_further is not None:
        next_step = f"about {tested.n_further:,} further prompts of {name} would decide it"
    return f"{figures}: undecided ({required}). {next_step}"


def overall_message(decision: Verdict, rules: Sequence[RuleDecision], groups: dict[str, str], notes: str = "") -> str:
    """Summarise the outcome and name the rules that decided it."""
    counted = [r for r in rules if r.tier != "advisory"]
    deciding = _deciding(decision, counted, groups)
    if not deciding and decision == "fail":  # on_undecided: fail
        deciding = _deciding("undecided", [r for r in counted if r.tier == "critical"], groups)
    listed = "; ".join(f"{_titled(r)}: {r.reason}" for r in deciding[:3])
    if len(deciding) > 3:
        listed += f"; and {len(deciding) - 3} more"
    heads = {
        "pass": _passed(counted),
        "fail": "FAIL",
        "undecided": "UNDECIDED",
        "invalid": "INVALID: the runs cannot be compared",
    }
    tail = "" if decision == "pass" or not listed else f": {listed}"
    return heads[decision] + tail + (f". {notes}" if notes else "")


def _titled(r: RuleDecision) -> str:
    return r.name if r.tier == "critical" else f"{r.name} ({r.tier})"


def _passed(rules: Sequence[RuleDecision]) -> str:
    n_critical = len({r.group or r.name for r in rules if r.tier == "critical"})
    n_supporting = len({r.group or r.name for r in rules if r.tier == "supporting"})
    text = f"PASS: all {n_critical} conditions hold"
    if n_supporting:
        text += f", and no supporting rule of {n_supporting} is shown not to"
    return text


def _deciding(decision: str, rules: Sequence[RuleDecision], groups: dict[str, str]) -> list[RuleDecision]:
    return [r for r in rules if r.decision == decision and (not r.group or groups.get(r.group) == decision)]


def _figures(tested: TestedRule) -> str:
    d = tested.difference
    number = _digits(d.value, d.stderr)
    text = f"{tested.value_candidate:.{number}f} against {tested.value_baseline:.{number}f}, {d.value:+.{number}f}"
    if d.ci_low is not None and d.ci_high is not None:
        text += f" ({d.level:.0%} interval {d.ci_low:+.{number}f} to {d.ci_high:+.{number}f})"
    return text


def _digits(value: float, stderr: float | None) -> int:
    size = max(abs(value), stderr or 0.0)
    return 0 if size >= 100.0 else 2


def _required(rule: Rule, tested: TestedRule) -> str:
    limits = [f"{limit:+.3g}" for limit in tested.thresholds]
    if rule.better == "neither":
        return f"required: between {limits[0]} and {limits[1]}"
    return f"required: {'above' if rule.better == 'higher' else 'below'} {limits[0]}"


def _outcome(kind: Kind, rule: Rule) -> str:
    if kind == "improve":
        return "improved" if not rule.margin.value else f"improved by more than {rule.margin}"
    return f"kept within {rule.margin}"


def _failure(kind: Kind, rule: Rule) -> str:
    if kind == "improve":
        return "no improvement" if not rule.margin.value else f"no improvement by {rule.margin}"
    way = {"higher": "lost", "lower": "grew by", "neither": "changed by"}[rule.better]
    return f"{way} more than {rule.margin}"


def _limit_reason(rule: Limit, tested: TestedRule, decision: Verdict, n_all: int | None) -> str:
    text = _limit_figures(rule, tested)
    required = f"required: {rule.words}"
    if decision == "undecided":
        return f"{text}: undecided ({required}). {_what_next_of_limit(rule, tested, n_all)}"
    is_below = (decision == "pass") == (rule.at_most is not None)
    return f"{text}: {'below' if is_below else 'above'} {rule.number:g} ({required})"


def _limit_figures(rule: Limit, tested: TestedRule) -> str:
    d = tested.difference
    number = _digits(rule.number + d.value, d.stderr)
    text = f"{rule.number + d.value:.{number}f}"
    if d.ci_low is not None and d.ci_high is not None:
        text += f" ({d.level:.0%} interval {rule.number + d.ci_low:.{number}f} to {rule.number + d.ci_high:.{number}f})"
    return text


def _what_next_of_limit(rule: Limit, tested: TestedRule, n_all: int | None) -> str:
    n = tested.difference.n_clusters
    if tested.sd is None:
        return f"all {n} prompts have the same value; run more prompts"
    parts = []
    if tested.detectable is not None:
        shown = rule.number + tested.detectable
        parts.append(f"{n} prompts show a value of {shown:.2f} with {tested.power:.0%} power")
    if tested.n_further is None:
        parts.append("the value equals the limit: no number of prompts would decide it")
        return "; ".join(parts)
    parts.append(f"about {tested.n_further:,} further prompts would decide the observed one ({tested.leans})")
    if n_all is not None and n + tested.n_further > n_all:
        parts.append(f"the benchmark has {n_all}, so add prompts, or accept another limit")
    return "; ".join(parts)


def _what_next(tested: TestedRule, n_all: int | None) -> str:
    n = tested.difference.n_clusters
    if tested.sd is None:
        return f"the two do not differ on any of {n} prompts; use prompts or a judge that discriminate"
    parts = []
    if tested.detectable is not None:
        parts.append(f"{n} prompts detect a difference of {tested.detectable:+.2f} with {tested.power:.0%} power")
    if tested.n_further is None:
        parts.append("the effect equals the threshold: no number of prompts would decide it")
        return "; ".join(parts)
    parts.append(f"about {tested.n_further:,} further prompts would decide the observed one ({tested.leans})")
    if n_all is not None and n + tested.n_further > n_all:
        parts.append(f"the benchmark has {n_all}, so judge head to head, add prompts, or accept a larger margin")
    return "; ".join(parts)
