"""Rules on the difference between candidate and baseline: means over prompts, fits, and head to head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.gate.decision import RuleDecision
from harness.gate.evidence import PairedUnits, paired_units
from harness.gate.head_to_head import head_to_head_problems, head_to_head_units
from harness.gate.label_rules import decide_by_people, decide_by_two_judges
from harness.gate.opened_runs import OpenedRuns
from harness.gate.policy import HEAD_TO_HEAD, AnyRule, Kind, Rule
from harness.gate.rule import Asked, decide_units, too_little, verdict_of
from harness.gate.testing import fitted_test
from harness.gate.validity import judge_problem
from harness.gate.words import rule_reason
from harness.protocols import Benchmark, FittedBenchmark, FittedComparison, Items
from harness.records import Judgment, Prompt, Score
from harness.run.figures import deciding

_SEED = 20240917  # of the bootstraps; fixed for reproducible decisions

BothScores = tuple[Sequence[Score], Sequence[Score]]


def decide_metric(kind: Kind, rule: Rule, runs: OpenedRuns, asked: Asked) -> RuleDecision:
    """Decide an `improve` or `keep` rule."""
    problems = runs.problems(rule.benchmark)
    if problems:
        return RuleDecision(kind, rule, "invalid", "; ".join(problems), asked.group)
    if rule.metric == HEAD_TO_HEAD:
        return _head_to_head(kind, rule, runs, asked)
    name = runs.plain_name(rule.benchmark)
    benchmark, scores = runs.candidate.benchmark(name), both_scores(runs, name)
    items = both_items(benchmark, rule.metric, scores)
    if rule.labels is not None:
        return _by_people(kind, rule, runs, (benchmark, items), asked)
    if items is None:
        return _fitted(kind, rule, runs, (name, scores), asked)
    problem = judge_problem(name, runs.candidate, runs.baseline) if deciding(benchmark, items[0].scores) else None
    if problem:
        return RuleDecision(kind, rule, "invalid", problem, asked.group)
    units = paired_units(*items)
    powered = None if asked.test is not None else decide_by_two_judges(kind, rule, runs, (benchmark, scores, units))
    return decided_on(kind, rule, runs, units, asked) if powered is None else _in_group(powered, asked)


def _by_people(
    kind: Kind, rule: Rule, runs: OpenedRuns, found: tuple[Benchmark, tuple[Items, Items] | None], asked: Asked
) -> RuleDecision:
    """Decide a rule about people's preferences; the metric is the mean of a judge's."""
    benchmark, items = found
    kinds = set() if items is None else {benchmark.score_kinds[s.metric].role for s in items[0].scores}
    problem = judge_problem(benchmark.name, runs.candidate, runs.baseline) or ""
    if kinds != {"preference"}:
        problem = runs.unknown_metric(benchmark.name, rule.metric) or (
            f"{rule.metric} is no mean of preferences, and people's votes are; use win_rate or head_to_head"
        )
    if problem or items is None:
        return RuleDecision(kind, rule, "invalid", problem, asked.group)
    prompts = list(runs.candidate.prompts_of(benchmark.name).values())
    return _in_group(decide_by_people(kind, rule, runs, paired_units(*items), prompts), asked)


def _in_group(decided: RuleDecision, asked: Asked) -> RuleDecision:
    looked = None
    if asked.test is not None:
        looked = {"looked_at": "once, on all prompts", "because": "the labels correct the predictions as a whole"}
    return replace(decided, group=asked.group, sequential=looked)


def both_scores(runs: OpenedRuns, name: str) -> BothScores:
    """Return both runs' scores; of a baseline, those of the prompts that a candidate that stopped early was asked."""
    scores = runs.candidate.scores_of(name), runs.baseline.scores_of(name)
    if runs.candidate.stopped_seed is None:
        return scores
    asked = {s.prompt_id for s in scores[0]}
    return scores[0], [s for s in scores[1] if s.prompt_id in asked]


def both_items(benchmark: Benchmark, metric: str, scores: BothScores) -> tuple[Items, Items] | None:
    """Return the scores a metric averages in both runs; None if it is not a mean, or a run has none of them."""
    first, second = (benchmark.items(metric, side) for side in scores)
    if first is None or second is None or not first.scores or not second.scores:
        return None
    return first, second


def decided_on(kind: Kind, rule: AnyRule, runs: OpenedRuns, units: PairedUnits, asked: Asked) -> RuleDecision:
    """Decide a rule on paired values; invalid if the run stopped early and the rule needs all prompts."""
    asked = replace(asked, n_all=runs.n_all(rule.benchmark))
    decided = decide_units(kind, rule, runs.policy, units, asked)
    if runs.candidate.stopped_seed is None or decided.sequential is None or "n_used" in decided.sequential:
        return decided
    problem = "the candidate run stopped early, and this rule needs all prompts"
    return RuleDecision(kind, rule, "invalid", f"{problem}: {decided.sequential['because']}", asked.group)


def _head_to_head(kind: Kind, rule: Rule, runs: OpenedRuns, asked: Asked) -> RuleDecision:
    verdicts = direct_verdicts(rule, runs)
    if isinstance(verdicts, str):
        return RuleDecision(kind, rule, "invalid", verdicts, asked.group)
    units = head_to_head_units(*verdicts)
    if rule.labels is not None:
        return _in_group(decide_by_people(kind, rule, runs, units, list(verdicts[1].values())), asked)
    return decided_on(kind, rule, runs, units, asked)


def direct_verdicts(rule: Rule, runs: OpenedRuns) -> tuple[list[Judgment], dict[str, Prompt]] | str:
    """Return the verdicts on candidate against baseline and their prompts, or what makes them unusable."""
    if runs.direct is None:
        return "no head-to-head run was given; name one with `assay gate --head-to-head DIR`"
    name = runs.plain_name(rule.benchmark)
    problems = head_to_head_problems(name, runs.direct, runs.candidate, runs.baseline)
    if problems:
        return "; ".join(problems)
    prompts = runs.direct.prompts_of(name)
    return [j for j in runs.direct.directory.slim_judgments() if j.prompt_id in prompts], prompts


# ---- fits


def _fitted(kind: Kind, rule: Rule, runs: OpenedRuns, found: tuple[str, BothScores], asked: Asked) -> RuleDecision:
    """Decide on a metric that is a fit: candidate and baseline are refitted on the same resamples."""
    name, scores = found
    problem = runs.unknown_metric(name, rule.metric) or judge_problem(name, runs.candidate, runs.baseline)
    if runs.candidate.stopped_seed is not None:
        problem = "the candidate run stopped early, and this metric is fitted to all prompts"
    if problem:
        return RuleDecision(kind, rule, "invalid", problem, asked.group)
    benchmark = runs.candidate.benchmark(name)
    compared = _refitted(runs, benchmark, rule.metric, scores)
    if compared is None:
        means = [m for m in runs.candidate.metrics(name) if benchmark.items(m, scores[0])]
        reason = (
            f"{name} offers no paired comparison of {rule.metric}, which is not a mean over prompts; "
            f"metrics that can be gated: {', '.join(means)}"
        )
        return RuleDecision(kind, rule, "invalid", reason, asked.group)
    difference = compared.difference
    judged = [deciding(benchmark, side) for side in scores]
    n_unscored = max(sum(s.value is None for s in side) for side in judged)
    counts: dict[str, Any] = {"n": difference.n_clusters, "n_items": difference.n, "n_unscored": n_unscored}
    problem = too_little(rule, runs.policy, counts, max(len(side) for side in judged))
    if problem:
        return RuleDecision(kind, rule, "invalid", problem, asked.group, **counts)
    tested = fitted_test(kind, rule, runs.policy, (compared.first, compared.second), difference)
    verdict = verdict_of(tested, runs.policy.alpha)
    reason = rule_reason(kind, rule, tested, verdict, runs.n_all(name))
    return RuleDecision(kind, rule, verdict, reason, asked.group, tested, tested.p_pass, **counts)


def _refitted(runs: OpenedRuns, benchmark: Benchmark, metric: str, scores: BothScores) -> FittedComparison | None:
    if not isinstance(benchmark, FittedBenchmark):
        return None
    key = (benchmark.name, metric, frozenset(s.prompt_id for s in scores[0]))
    if key not in runs.fits:  # the test makes its own interval of the standard error, so that alpha does not matter
        rng, level = np.random.default_rng(_SEED), 1.0 - 2.0 * runs.policy.alpha
        runs.fits[key] = benchmark.compare_fitted(metric, scores, runs.comparison.data, rng, level)
    return runs.fits[key]
