"""Test a rule of two runs at planned looks: the plan of its benchmark, and its test on the prompts of a look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.errors import AssayError, UsageError
from harness.gate.decision import RuleDecision
from harness.gate.group_sequential import RuleInLooks, look_words
from harness.gate.look_plan import LookPlan
from harness.gate.looks import test_set_hash
from harness.gate.opened_runs import OpenedRuns
from harness.gate.order import random_order
from harness.gate.policy import AnyRule, Kind, Limit
from harness.gate.prefix_runs import on_prompts
from harness.gate.rule import Asked
from harness.gate.words import rule_reason
from harness.records import Prompt

RuleOfRuns = Callable[[Kind, AnyRule, OpenedRuns, Asked], RuleDecision]


def decide_in_looks(kind: Kind, rule: AnyRule, runs: OpenedRuns, asked: Asked, test: RuleOfRuns) -> RuleDecision:
    """Decide a rule at the planned looks.

    Parameters
    ----------
    kind, rule : str, Rule or Limit
        The rule.
    runs : OpenedRuns
        Candidate, baseline and head-to-head run. A candidate that stopped at a look brings its plan with it; else the
        plan is the policy's.
    asked : Asked
        The rule's group.
    test : callable
        The rule's test on runs as they are.
    """
    prompts = _Prompts.of(runs, rule.benchmark)
    problems = prompts.problems() or runs.problems(rule.benchmark, alone=isinstance(rule, Limit))
    if problems:
        return RuleDecision(kind, rule, "invalid", "; ".join(problems), asked.group)

    def at(n: int, alpha: float) -> RuleDecision:
        policy = runs.policy.model_copy(update={"alpha": alpha})
        try:
            return test(kind, rule, on_prompts(runs, prompts.first(n), policy), asked)
        except UsageError:
            raise
        except AssayError as error:
            return RuleDecision(kind, rule, "invalid", " ".join(str(error).split()), asked.group)

    decided = RuleInLooks(prompts.plan, runs.policy, asked.group_size).decide(len(prompts.here), at)
    if decided.tested is None or decided.sequential is None:
        return decided
    reason = rule_reason(kind, rule, decided.tested, decided.decision, runs.n_all(rule.benchmark))
    return replace(decided, reason=f"{reason} [{look_words(decided.sequential)}]")


@dataclass(frozen=True)
class _Prompts:
    """The prompts of a benchmark in random order, and those the candidate was asked."""

    plan: LookPlan
    every: dict[str, Prompt]
    order: list[str]
    here: frozenset[str]

    @classmethod
    def of(cls, runs: OpenedRuns, benchmark: str) -> _Prompts:
        candidate = _prompts(runs, benchmark, of_baseline=False)
        recorded = LookPlan.recorded(runs.candidate)
        every = candidate
        if recorded is not None and runs.against is not None:
            every = {**_prompts(runs, benchmark, of_baseline=True), **candidate}
        clusters = {prompt.cluster for prompt in every.values()}
        plan = recorded or LookPlan.of(runs.policy, every, max(len(clusters), 1), runs.comparison.seed)
        here = frozenset(prompt.cluster for prompt in candidate.values())
        return cls(plan, every, random_order(clusters, plan.seed), here)

    def first(self, n: int) -> frozenset[str]:
        """Return the ids of the prompts of the first n clusters."""
        clusters = set(self.order[:n])
        return frozenset(key for key, prompt in self.every.items() if prompt.cluster in clusters)

    def problems(self) -> list[str]:
        """Return a problem if the benchmark is no longer the one whose looks were planned."""
        n_now, n_then = len(self.order), self.plan.n_all
        same = self.plan.prompts in ("", test_set_hash(self.every))
        if len(self.here) == n_now and len(self.here) < n_then:
            return []  # no baseline to compare with
        if same and n_now == n_then:
            return []
        return [
            (
                f"the run's looks were planned for {n_then} prompts, and there are {n_now} now"
                f"{'' if n_now != n_then else ', others than then'}: prompts added after a look were not planned for; "
                "measure the candidate again"
            )
        ]


def _prompts(runs: OpenedRuns, benchmark: str, *, of_baseline: bool) -> dict[str, Prompt]:
    run = runs.baseline if of_baseline else runs.candidate
    entry = run.entry(benchmark)
    return {} if entry is None else run.prompts_of(str(entry["name"]))
