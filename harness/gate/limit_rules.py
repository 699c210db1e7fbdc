"""Limits: a metric of the candidate alone, tested against a number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.gate.decision import RuleDecision
from harness.gate.evidence import limit_units
from harness.gate.metric_rules import decided_on
from harness.gate.opened_runs import OpenedRuns
from harness.gate.policy import Limit
from harness.gate.rule import Asked, tested_as, too_little, verdict_of
from harness.gate.testing import fitted_test
from harness.gate.words import rule_reason
from harness.records import SummaryRow
from harness.stats.estimate import Estimate


def decide_limit(rule: Limit, runs: OpenedRuns, asked: Asked) -> RuleDecision:
    """Decide a `limit` rule: a mean on its values by prompt, any other figure by its standard error."""
    problems = runs.problems(rule.benchmark, alone=True)
    if problems:
        return RuleDecision("limit", rule, "invalid", "; ".join(problems), asked.group)
    name = runs.plain_name(rule.benchmark)
    items = runs.candidate.benchmark(name).items(rule.metric, runs.candidate.scores_of(name))
    if items is not None and items.scores:
        return decided_on("limit", rule, runs, limit_units(items, rule.number), asked)
    return _of_figure(rule, runs, name, asked)


def _of_figure(rule: Limit, runs: OpenedRuns, name: str, asked: Asked) -> RuleDecision:
    """Decide on a figure that is not a mean (a fit) with the standard error the run stored."""
    row = _row(runs, name, rule.metric)
    problem = runs.unknown_in_candidate(name, rule.metric) if row is None else _unusable(row)
    if runs.candidate.stopped_seed is not None:
        problem = "the candidate run stopped early, and this metric is fitted to all prompts"
    if problem or row is None or row.value is None:
        return RuleDecision("limit", rule, "invalid", problem, asked.group)
    counts: dict[str, Any] = {"n": row.n_clusters, "n_items": row.n, "n_unscored": row.n_unscored}
    problem = too_little(rule, runs.policy, {**counts, "unscored": row.unscored}, row.n + row.n_unscored)
    if problem:
        return RuleDecision("limit", rule, "invalid", problem, asked.group, **counts)
    distance = Estimate(row.value - rule.number, row.stderr, None, None, row.level, row.method, row.n, row.n_clusters)
    tested = fitted_test(*tested_as("limit", rule), runs.policy, (row.value, rule.number), distance)
    how = f"{row.method}; interval and p from its standard error"
    tested = replace(tested, difference=replace(tested.difference, method=how))
    verdict = verdict_of(tested, runs.policy.alpha)
    reason = rule_reason("limit", rule, tested, verdict, runs.n_all(name))
    return RuleDecision(
        "limit", rule, verdict, reason, asked.group, tested, tested.p_pass, unscored=dict(row.unscored), **counts
    )


def _row(runs: OpenedRuns, name: str, metric: str) -> SummaryRow | None:
    found = (r for r in runs.candidate.summary["rows"] if (r["benchmark"], r["metric"]) == (name, metric))
    row = next(found, None)
    return None if row is None else SummaryRow.model_validate(row)


def _unusable(row: SummaryRow) -> str:
    if row.value is None:
        return f"the run has no figure: {row.reason}"
    if not row.stderr:
        return (
            f"{row.benchmark} {row.metric} has no standard error ({row.method or 'a figure read from a file'}), "
            "so that nothing can be said of its distance from a limit; choose a metric with an interval"
        )
    return ""
