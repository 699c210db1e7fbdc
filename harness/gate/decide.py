"""`decide`: compare the runs of a candidate and a baseline under a policy; pass, fail, undecided or invalid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssayError, UsageError, nearest
from harness.gate.combine import combine, overall_verdict
from harness.gate.contamination import contaminated_prompts
from harness.gate.decision import Decision, RuleDecision, Verdict
from harness.gate.evidence import PairedUnits, paired_units
from harness.gate.head_to_head import head_to_head_problems, head_to_head_units
from harness.gate.policy import HEAD_TO_HEAD, Kind, Policy, Rule
from harness.gate.rule import Asked, PairTest, decide_units, verdict_of
from harness.gate.runs import StoredRun
from harness.gate.testing import fitted_test
from harness.gate.validity import benchmark_problems, judge_problem, run_problems
from harness.gate.words import overall_message, rule_reason
from harness.protocols import Benchmark, DataSource, FittedBenchmark, FittedComparison
from harness.run.figures import deciding

_SEED = 20240917  # of the bootstraps; fixed for reproducible decisions


@dataclass(frozen=True)
class Comparison:
    """The runs to compare.

    Parameters
    ----------
    candidate, baseline : Path
        Run directories.
    data : DataSource
        Upstream files some fitted metrics need.
    head_to_head : Path or None
        A run in which the candidate's answers were judged against the baseline's.
    training : sequence of str
        Texts the candidate was trained on; test prompts that occur in them make a rule invalid.
    """

    candidate: Path
    baseline: Path
    data: DataSource
    head_to_head: Path | None = None
    training: Sequence[str] = ()


def decide(policy: Policy, comparison: Comparison, test: PairTest | None = None) -> Decision:
    """Decide whether a candidate is promoted.

    Parameters
    ----------
    policy : Policy
        The rules.
    comparison : Comparison
        The runs.
    test : callable, optional
        Test of a rule on paired values; by default the fixed-sample test.

    Returns
    -------
    Decision
        Rules that cannot be tested are invalid, with the reason.

    Raises
    ------
    UsageError
        A directory holds no run, or a rule can never pass (its margin exceeds the metric's scale).
    """
    sides = _Sides.open(policy, comparison, test)
    problems = run_problems(sides.candidate, sides.baseline) or sides.stopped_early()
    entries = [] if problems else list(policy.rules)
    rules, groups, left_out = combine(policy, entries, sides.rule)
    verdict: Verdict = "invalid" if problems or not (rules or groups) else overall_verdict(rules, groups, policy)
    notes = []
    if not problems and not rules:
        problems = ["no rule of the policy applies: neither run holds any of its benchmarks"]
        verdict = "invalid"
    if verdict == "pass" and any(r.decision == "undecided" and not r.group for r in rules):
        notes.append("undecided rules count as passed (on_undecided: pass), so alpha does not bound the error rate")
    notes += _saved(rules)
    message = overall_message(verdict, rules, groups)
    if problems:
        message = "INVALID: " + "; ".join(problems)
    return Decision(
        verdict,
        message,
        tuple(rules),
        groups,
        tuple(problems),
        tuple(left_out),
        policy.alpha,
        policy.name,
        f"{sides.candidate.model} ({sides.candidate.path})",
        f"{sides.baseline.model} ({sides.baseline.path})",
        tuple(notes),
    )


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


@dataclass
class _Sides:
    """The opened runs, with the problems of their benchmarks."""

    policy: Policy
    candidate: StoredRun
    baseline: StoredRun
    direct: StoredRun | None
    comparison: Comparison
    test: PairTest | None
    _checked: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def open(cls, policy: Policy, comparison: Comparison, test: PairTest | None) -> _Sides:
        paths = [comparison.candidate, comparison.baseline, comparison.head_to_head]
        for path in paths:
            if path is not None and not (path / "run.json").is_file():
                raise UsageError(
                    f"{path} holds no run (no run.json)",
                    "a directory made by `assay run` or `assay import`",
                    "check the path",
                )
        candidate, baseline, direct = (None if path is None else StoredRun.open(path) for path in paths)
        if candidate is None or baseline is None:
            raise UsageError("a run is missing", "--candidate DIR --baseline DIR", "give both runs")
        return cls(policy, candidate, baseline, direct, comparison, test)

    def rule(self, kind: Kind, rule: Rule, group: str, group_size: int) -> RuleDecision | None:
        """Decide one rule on its own; None if it is left out."""
        direct = rule.metric == HEAD_TO_HEAD
        absent = self.candidate.entry(rule.benchmark) is None and self.baseline.entry(rule.benchmark) is None
        if not rule.required and (absent or (direct and self.direct is None)):
            return None
        try:
            problems = self._problems(rule)
            if problems:
                return RuleDecision(kind, rule, "invalid", "; ".join(problems), group)
            if direct:
                return self._head_to_head(kind, rule, group, group_size)
            return self._metric(kind, rule, group, group_size)
        except UsageError:
            raise
        except AssayError as error:
            return RuleDecision(kind, rule, "invalid", " ".join(str(error).split()), group)

    def stopped_early(self) -> list[str]:
        """Return a problem if a run that stopped early is not tested with the sequential test that stopped it."""
        seed = self.candidate.stopped_seed
        if seed is None or getattr(self.test, "seed", None) == seed:
            return []
        return [f"the candidate run stopped early, which only the sequential test with seed {seed} takes into account"]

    def _problems(self, rule: Rule) -> list[str]:
        name = rule.benchmark
        if name not in self._checked:
            self._checked[name] = benchmark_problems(name, self.candidate, self.baseline)
            if not self._checked[name] and self.comparison.training:
                found = contaminated_prompts(self.candidate.prompts_of(name).values(), self.comparison.training)
                if found:
                    listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
                    self._checked[name] = [f"{len(found)} training prompts are among the test prompts: {listed}"]
        return self._checked[name]

    def _metric(self, kind: Kind, rule: Rule, group: str, group_size: int) -> RuleDecision:
        name = str((self.candidate.entry(rule.benchmark) or {})["name"])
        benchmark = self.candidate.benchmark(name)
        scores = self.candidate.scores_of(name), self.baseline.scores_of(name)
        if self.candidate.stopped_seed is not None:
            asked = {s.prompt_id for s in scores[0]}
            scores = scores[0], [s for s in scores[1] if s.prompt_id in asked]
        items = benchmark.items(rule.metric, scores[0]), benchmark.items(rule.metric, scores[1])
        if not (items[0] and items[1] and items[0].scores and items[1].scores):
            return self._fitted(kind, rule, group, (name, scores))
        judged = deciding(benchmark, items[0].scores)
        problem = judge_problem(name, self.candidate, self.baseline) if judged else None
        if problem:
            return RuleDecision(kind, rule, "invalid", problem, group)
        units = paired_units(items[0], items[1])
        return self._decided(kind, rule, group, (units, group_size, self._n_all(name)))

    def _head_to_head(self, kind: Kind, rule: Rule, group: str, group_size: int) -> RuleDecision:
        if self.direct is None:
            reason = "no head-to-head run was given; name one with `assay gate --head-to-head DIR`"
            return RuleDecision(kind, rule, "invalid", reason, group)
        name = str((self.candidate.entry(rule.benchmark) or {})["name"])
        problems = head_to_head_problems(name, self.direct, self.candidate, self.baseline)
        if problems:
            return RuleDecision(kind, rule, "invalid", "; ".join(problems), group)
        judgments = (j for j in self.direct.directory.slim_judgments() if j.benchmark == name)
        units = head_to_head_units(judgments, self.direct.prompts_of(name))
        return self._decided(kind, rule, group, (units, group_size, self._n_all(name)))

    def _decided(self, kind: Kind, rule: Rule, group: str, found: tuple[PairedUnits, int, int | None]) -> RuleDecision:
        units, group_size, n_all = found
        decided = decide_units(kind, rule, self.policy, units, Asked(self.test, group, group_size, n_all))
        if self.candidate.stopped_seed is None or decided.sequential is None or "n_used" in decided.sequential:
            return decided
        problem = "the candidate run stopped early, and this rule needs all prompts"
        return RuleDecision(kind, rule, "invalid", f"{problem}: {decided.sequential['because']}", group)

    def _fitted(self, kind: Kind, rule: Rule, group: str, found: tuple[str, tuple[Any, Any]]) -> RuleDecision:
        """Decide on a metric that is a fit: candidate and baseline are refitted on the same resamples."""
        name, scores = found
        problem = self._unknown_metric(name, rule.metric) or judge_problem(name, self.candidate, self.baseline)
        if self.candidate.stopped_seed is not None:
            problem = "the candidate run stopped early, and this metric is fitted to all prompts"
        if problem:
            return RuleDecision(kind, rule, "invalid", problem, group)
        benchmark = self.candidate.benchmark(name)
        compared = self._refitted(benchmark, rule.metric, scores)
        if compared is None:
            means = [m for m in self.candidate.metrics(name) if benchmark.items(m, scores[0])]
            reason = (
                f"{name} offers no paired comparison of {rule.metric}, which is not a mean over prompts; "
                f"metrics that can be gated: {', '.join(means)}"
            )
            return RuleDecision(kind, rule, "invalid", reason, group)
        difference = compared.difference
        judged = [deciding(benchmark, side) for side in scores]
        n_unscored = max(sum(s.value is None for s in side) for side in judged)
        counts: dict[str, Any] = {"n": difference.n_clusters, "n_items": difference.n, "n_unscored": n_unscored}
        problem = self._too_little(rule, counts, max(len(side) for side in judged))
        if problem:
            return RuleDecision(kind, rule, "invalid", problem, group, **counts)
        tested = fitted_test(kind, rule, self.policy, (compared.first, compared.second), difference)
        verdict = verdict_of(tested, self.policy.alpha)
        reason = rule_reason(kind, rule, tested, verdict, self._n_all(name))
        return RuleDecision(kind, rule, verdict, reason, group, tested, tested.p_pass, **counts)

    def _refitted(self, benchmark: Benchmark, metric: str, scores: tuple[Any, Any]) -> FittedComparison | None:
        if not isinstance(benchmark, FittedBenchmark):
            return None
        level = 1.0 - 2.0 * self.policy.alpha
        return benchmark.compare_fitted(metric, scores, self.comparison.data, np.random.default_rng(_SEED), level)

    def _too_little(self, rule: Rule, counts: Mapping[str, int], n_all: int) -> str:
        """Return a problem if too few prompts were compared or too many items are unscored."""
        limit = self.policy.max_unscored if rule.max_unscored is None else rule.max_unscored
        min_n = self.policy.min_n if rule.min_n is None else rule.min_n
        if counts["n_unscored"] > limit * n_all:
            unscored = f"{counts['n_unscored']} of {n_all} items are not scored"
            return f"{unscored}, more than the {limit:.1%} the policy allows"
        return f"{counts['n']} prompts, but the policy requires at least {min_n}" if counts["n"] < min_n else ""

    def _unknown_metric(self, name: str, metric: str) -> str:
        held = [set(run.metrics(name)) for run in (self.candidate, self.baseline)]
        if metric in held[0] and metric in held[1]:
            return ""
        who = "neither run holds" if metric not in held[0] | held[1] else "only one run holds"
        close = nearest(metric, held[0] & held[1])
        hint = f"did you mean {close}?" if close else "both hold: " + ", ".join(sorted(held[0] & held[1]))
        return f"{who} {name} {metric}; {hint}"

    def _n_all(self, name: str) -> int | None:
        found = (self.candidate.entry(name) or {}).get("n_all_prompts")
        return int(found) if found else None
