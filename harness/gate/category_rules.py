"""Rules over the categories of the prompts: each category, or the figure of the worst.

"Each" is an intersection-union test: every category at alpha, and the rule passes if all do. That a category does not
hold is shown at alpha divided by the number of categories. "Worst" compares the worst category's figure of both runs
(`harness.stats.worst_group`); the two need not be the same category.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import StatisticsError
from harness.gate.decision import RuleDecision
from harness.gate.evidence import PairedUnits, limit_units, paired_units
from harness.gate.head_to_head import head_to_head_units
from harness.gate.metric_rules import both_items, both_scores, direct_verdicts
from harness.gate.opened_runs import OpenedRuns
from harness.gate.policy import HEAD_TO_HEAD, AnyRule, Kind, Limit, Policy, Rule
from harness.gate.rule import Asked, out_of_reach, tested_as, too_little, verdict_of
from harness.gate.testing import TestedRule, claims_of, paired_test
from harness.gate.validity import judge_problem
from harness.gate.words import category_reason
from harness.protocols import Items
from harness.run.figures import deciding
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.worst_group import GroupSpec, split_estimate, worst_group_difference

ByCategory = dict[str, PairedUnits]


def decide_categories(kind: Kind, rule: AnyRule, runs: OpenedRuns, asked: Asked) -> RuleDecision:
    """Decide a rule over categories.

    Raises
    ------
    StatisticsError
        Prompts without category, or values that cannot be tested; the rule is then invalid.
    UsageError
        The rule can never pass.
    """
    problem = "; ".join(runs.problems(rule.benchmark, alone=isinstance(rule, Limit)))
    if not problem and _is_partial(runs, runs.plain_name(rule.benchmark)):
        problem = "the candidate run stopped early, and a rule over categories needs all prompts"
    if problem:
        return RuleDecision(kind, rule, "invalid", problem, asked.group)
    found = _units(rule, runs)
    counts = _counts(found)
    problem = _too_little(rule, runs.policy, found, counts) or _beyond_reach(kind, rule, found)
    if problem:
        return RuleDecision(kind, rule, "invalid", problem, asked.group, **counts)
    claim = tested_as(kind, rule)
    by_category = {name: paired_test(*claim, runs.policy, units) for name, units in found.items()}
    if rule.categories == "worst" and isinstance(rule, Rule):
        tested, worst = _of_the_worst(kind, rule, runs.policy, found)
    else:
        tested, worst = _in_each(claim, runs.policy, found, by_category)
    verdict = verdict_of(tested, runs.policy.alpha)
    reason = category_reason(kind, rule, tested, verdict, (worst, found[worst].n_items, len(found)))
    looked = None
    if asked.test is not None:
        looked = {"looked_at": "once, on all prompts", "because": "every category needs all its prompts"}
    figures = tuple(_figures(name, t, rule) for name, t in by_category.items())
    return RuleDecision(
        kind, rule, verdict, reason, asked.group, tested, tested.p_pass, sequential=looked, categories=figures, **counts
    )


def _is_partial(runs: OpenedRuns, name: str) -> bool:
    """Whether the candidate's run stopped before the last prompt."""
    if runs.candidate.stopped_seed is None:
        return False
    n_all = runs.n_all(name) if runs.against is None else len(runs.against.prompts_of(name))
    return n_all is None or len(runs.candidate.prompts_of(name)) < n_all


# ---- the values by category


def _units(rule: AnyRule, runs: OpenedRuns) -> ByCategory:
    if isinstance(rule, Limit):
        return _own_units(rule, runs)
    if rule.metric == HEAD_TO_HEAD:
        return _direct_units(rule, runs)
    name = runs.plain_name(rule.benchmark)
    benchmark = runs.candidate.benchmark(name)
    both = both_items(benchmark, rule.metric, both_scores(runs, name))
    if both is None:
        raise StatisticsError(runs.unknown_metric(name, rule.metric) or _no_mean(rule))
    problem = judge_problem(name, runs.candidate, runs.baseline) if deciding(benchmark, both[0].scores) else None
    if problem:
        raise StatisticsError(problem)
    first, second = _parted(both[0]), _parted(both[1])
    return {c: paired_units(first[c], second[c]) for c in first if c in second}


def _own_units(rule: Limit, runs: OpenedRuns) -> ByCategory:
    name = runs.plain_name(rule.benchmark)
    own = runs.candidate.benchmark(name).items(rule.metric, runs.candidate.scores_of(name))
    if own is None or not own.scores:
        raise StatisticsError(runs.unknown_in_candidate(name, rule.metric) or _no_mean(rule))
    return {c: limit_units(items, rule.number) for c, items in _parted(own).items()}


def _no_mean(rule: AnyRule) -> str:
    return f"{rule.metric} is not a mean over prompts, so that it has no value by category"


def _parted(items: Items) -> dict[str, Items]:
    """Part a metric's scores by the category of their prompts."""
    parts: dict[str, list[Any]] = defaultdict(list)
    for score in items.scores:
        parts[score.category or ""].append(score)
    _check_names({name: len(scores) for name, scores in parts.items()})
    return {name: replace(items, scores=scores) for name, scores in parts.items()}


def _direct_units(rule: Rule, runs: OpenedRuns) -> ByCategory:
    verdicts = direct_verdicts(rule, runs)
    if isinstance(verdicts, str):
        raise StatisticsError(verdicts)
    judgments, prompts = verdicts
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, prompt in prompts.items():
        parts[prompt.category or ""][key] = prompt
    _check_names({name: len(part) for name, part in parts.items()})
    return {
        name: head_to_head_units([j for j in judgments if j.prompt_id in part], part) for name, part in parts.items()
    }


def _check_names(sizes: Mapping[str, int]) -> None:
    if "" in sizes:
        raise StatisticsError(
            f"{sizes['']} of {sum(sizes.values())} prompts have no category",
            "a category for every prompt",
            "leave `categories` out of the rule",
        )
    if len(sizes) < 2:
        raise StatisticsError(
            f"all prompts are of the category {next(iter(sizes), 'none')}",
            "at least two categories",
            "leave `categories` out of the rule",
        )


def _counts(found: ByCategory) -> dict[str, Any]:
    unscored: Counter[str] = Counter()
    for units in found.values():
        unscored.update(units.unscored)
    return {
        "n": sum(len(units.keys) for units in found.values()),
        "n_items": sum(units.n_items for units in found.values()),
        "n_unscored": sum(units.n_unscored for units in found.values()),
        "unscored": dict(unscored.most_common()),
    }


def _too_little(rule: AnyRule, policy: Policy, found: ByCategory, counts: Mapping[str, Any]) -> str:
    problem = too_little(rule, policy, counts, sum(units.n_all for units in found.values()))
    if problem:
        return problem
    min_n = policy.min_n if rule.min_n is None else rule.min_n
    few = {name: len(units.keys) for name, units in found.items() if len(units.keys) < min_n}
    listed = ", ".join(f"{name} {n}" for name, n in few.items())
    ask = f"the policy requires at least {min_n} in each category; run more, or set min_n in the rule"
    return f"too few prompts ({listed}), but {ask}" if few else ""


def _beyond_reach(kind: Kind, rule: AnyRule, found: ByCategory) -> str:
    if rule.categories == "worst":
        return ""
    problems = ((name, out_of_reach(kind, rule, units)) for name, units in found.items())
    return next((f"{name}: {problem}" for name, problem in problems if problem), "")


# ---- the tests


def _in_each(
    claim: tuple[Kind, Rule], policy: Policy, found: ByCategory, by_category: Mapping[str, TestedRule]
) -> tuple[TestedRule, str]:
    """The rule in every category; the figures are those of the category in which the difference is worst."""
    rule = claim[1]
    n = len(found)
    own = [tested.difference for tested in by_category.values()]
    low, high = _limits(claim, policy, found, own)
    binding = max(by_category, key=lambda name: by_category[name].p_pass)
    effect = by_category[binding].difference.value
    if rule.better != "neither":
        changes = {name: units.first - units.second for name, units in found.items()}
        _, effect = split_estimate(changes, GroupSpec(lowest=rule.better == "higher"))
    method = f"worst of {n} categories, chosen and estimated on different prompts; limits over all categories"
    tested = by_category[binding]
    difference = replace(
        tested.difference,
        value=min(max(effect, low), high),
        stderr=None,
        ci_low=low,
        ci_high=high,
        method=method,
        n=sum(d.n for d in own),
        n_clusters=sum(d.n_clusters for d in own),
    )
    p_pass = max(t.p_pass for t in by_category.values())
    p_fail = min(1.0, n * min(t.p_fail for t in by_category.values()))
    return replace(tested, difference=difference, p_pass=p_pass, p_fail=p_fail), binding


def _limits(
    claim: tuple[Kind, Rule], policy: Policy, found: ByCategory, own: Sequence[Estimate]
) -> tuple[float, float]:
    """Limits of the worst difference: on the side of passing every category at alpha, on the other at alpha / n."""
    narrow = policy.model_copy(update={"alpha": policy.alpha / len(found)})
    shared = [paired_test(*claim, narrow, units).difference for units in found.values()]
    better = claim[1].better
    lows = [d.ci_low for d in (shared if better == "lower" else own) if d.ci_low is not None]
    highs = [d.ci_high for d in (shared if better == "higher" else own) if d.ci_high is not None]
    return (max(lows) if better == "lower" else min(lows)), (min(highs) if better == "higher" else max(highs))


def _of_the_worst(kind: Kind, rule: Rule, policy: Policy, found: ByCategory) -> tuple[TestedRule, str]:
    """The figure of the worst category of the candidate against that of the baseline."""
    (claim,) = claims_of(kind, rule, 0.0)
    threshold = claim.sign * claim.threshold
    first: dict[str, Floats] = {name: units.first for name, units in found.items()}
    second = {name: units.second for name, units in found.items()}
    units = next(iter(found.values()))
    bounds = (
        None if units.floor is None or units.ceiling is None or not units.sequential else (units.floor, units.ceiling)
    )
    spec = GroupSpec(1.0 - 2.0 * policy.alpha, lowest=rule.better == "higher", bounds=bounds)
    made = worst_group_difference(first, second, threshold, spec)
    assert made.p_above is not None and made.p_below is not None, "a difference has both"
    p_pass, p_fail = (made.p_above, made.p_below) if claim.sign > 0 else (made.p_below, made.p_above)
    tested = TestedRule(
        made.first, made.second, made.estimate, (threshold,), p_pass, p_fail, None, None, None, "", policy.target_power
    )
    return tested, made.group


def _figures(name: str, tested: TestedRule, rule: AnyRule) -> dict[str, Any]:
    d = tested.difference
    return {
        "category": name,
        "n": d.n_clusters,
        "candidate": tested.value_candidate,
        "baseline": None if isinstance(rule, Limit) else tested.value_baseline,
        "effect": d.value,
        "ci_low": d.ci_low,
        "ci_high": d.ci_high,
        "p_value": tested.p_pass,
        "p_fail": tested.p_fail,
    }
