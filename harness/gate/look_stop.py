"""Early stopping at planned looks: generate and judge up to a look, test the rules as the gate will, go on or stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.errors import UsageError
from harness.gate.combine import CombinedRules, combine
from harness.gate.decide import decide_rule
from harness.gate.decision import RuleDecision
from harness.gate.early_stop import WaveLook, prompts_by_cluster, scores_so_far
from harness.gate.look_plan import LookPlan
from harness.gate.opened_runs import Comparison, Fits, OpenedRuns
from harness.gate.order import random_order
from harness.gate.policy import HEAD_TO_HEAD, AnyRule, Entry, Kind, Policy
from harness.gate.rule import Asked
from harness.gate.rule_fields import Tier
from harness.progress import say
from harness.protocols import DataSource
from harness.records import Prompt, Score
from harness.run.stored_run import StoredRun
from harness.store.run_directory import RunDirectory


@dataclass(frozen=True)
class RunSoFar(StoredRun):
    """A run under way, up to a look.

    Parameters
    ----------
    scored : tuple of Score
        Scores of the prompts asked so far.
    asked : tuple of Prompt
        Those prompts, without those of a later look that an interrupted run has begun.
    like : StoredRun
        A complete run of the same benchmark, for the names of its metrics.
    plan : LookPlan
        Its looks.
    """

    scored: tuple[Score, ...]
    asked: tuple[Prompt, ...]
    like: StoredRun
    plan: LookPlan

    @cached_property
    def header(self) -> dict[str, Any]:
        """Content of run.json, with the looks at which the run is to stop."""
        return self.directory.header() | {"early_stop": self.plan.as_json()}

    @property
    def stopped_seed(self) -> int | None:
        """Seed of the prompt order."""
        return self.plan.seed

    @cached_property
    def scores(self) -> list[Score]:
        """Scores of the prompts asked so far."""
        return list(self.scored)

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """The prompts asked so far."""
        return {prompt.id: prompt for prompt in self.asked}

    def metrics(self, benchmark: str) -> list[str]:
        """Return the metrics that the run will report."""
        return self.like.metrics(benchmark)


@dataclass(frozen=True)
class LookStop:
    """Decides at planned looks when a candidate's run of one benchmark may stop.

    Parameters
    ----------
    policy : Policy
        The policy; its rules about the benchmark are tested.
    baseline : StoredRun
        A complete run over all prompts.
    benchmark : str
        The benchmark.
    plan : LookPlan
        The looks.
    data : DataSource
        Upstream files that fitted metrics need.

    Raises
    ------
    UsageError
        The policy has no critical rule about the benchmark.
    """

    policy: Policy
    baseline: StoredRun
    benchmark: str
    plan: LookPlan
    data: DataSource
    _fits: Fits = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not any(entry.own_tier == "critical" for entry in self._entries()):
            raise UsageError(
                f"no critical rule about {self.benchmark} can be tested before the run is complete",
                "a rule on a metric of this benchmark that the baseline's run holds, other than head_to_head",
                "omit --early-stop",
            )

    def record(self) -> dict[str, Any]:
        """Return the plan as run.json keeps it."""
        return self.plan.as_json()

    def waves(self, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
        """Yield the prompts from look to look, in the order of the seed; the prompts of a cluster stay together."""
        by_cluster = prompts_by_cluster(prompts)
        order = random_order(by_cluster, self.plan.seed)
        if len(order) != self.plan.n_all:
            raise UsageError(
                f"the spec has {len(order)} prompts of {self.benchmark}, the baseline's run {self.plan.n_all}",
                "the same prompts in both",
                "remove the limit, or measure the baseline with the same one",
            )
        for start, end in zip((0, *self.plan.at), self.plan.at, strict=False):
            yield [prompt for cluster in order[start:end] for prompt in by_cluster[cluster]]

    def decided(self, directory: RunDirectory, asked: Sequence[Prompt]) -> bool:
        """Whether a run under way, judged up to a look, is decided."""
        scores = scores_so_far(self.baseline.benchmark(self.benchmark), directory, asked)
        look = self.look(RunSoFar(directory, tuple(scores), tuple(asked), self.baseline, self.plan))
        listed = ", ".join(f"{name} {verdict}" for name, verdict in look.verdicts.items())
        n = len(prompts_by_cluster(asked))
        number = sum(at <= n for at in self.plan.at)
        say(f"look {number} of {len(self.plan.at)}, {n} of {self.plan.n_all} prompts: {listed}")
        return look.decided

    def look(self, candidate: StoredRun) -> WaveLook:
        """Look at a run so far.

        Returns
        -------
        WaveLook
            Decided if a rule has failed, or if no critical rule or group is open: each is decided, or stopped for
            futility. A rule that is invalid so far is open.
        """
        comparison = Comparison(candidate.directory.path, self.baseline.directory.path, self.data)
        runs = OpenedRuns(self.policy, candidate, self.baseline, None, comparison, None, self._fits)

        def tested(kind: Kind, rule: AnyRule, group: str, group_size: int) -> RuleDecision | None:
            if not self._is_here(rule):
                return RuleDecision(kind, rule, "invalid", "measured by another run", group)
            return decide_rule(kind, rule, runs, Asked(None, group, group_size))

        found = combine(self.policy, self._entries(), tested)
        verdicts = {f"{r.kind} {r.rule.metric}": str(r.decision) for r in found.rules}
        n_prompts = len(candidate.prompts_of(runs.plain_name(self.benchmark)))
        return WaveLook(self._has_failed(found) or not self._has_open(found), verdicts, n_prompts)

    def first_rule(self) -> tuple[Kind, AnyRule] | None:
        """Return the first critical rule outside groups; None if there are only groups."""
        return next((e.rule for e in self._entries() if e.rule is not None and e.own_tier == "critical"), None)

    def critical_titles(self) -> list[str]:
        """Return the names of all critical rules tested here, those in groups included."""
        critical = [entry for entry in self._entries() if entry.own_tier == "critical"]
        members = [member.rule for entry in critical for member in entry.any or (entry,) if member.rule is not None]
        return [rule.title(kind) for kind, rule in members if self._is_here(rule)]

    def _has_failed(self, found: CombinedRules) -> bool:
        rules: list[tuple[str, Tier]] = [(r.decision, r.tier) for r in found.rules if not r.group]
        rules += [(outcome, found.tiers[group]) for group, outcome in found.groups.items()]
        return any(outcome == "fail" and tier != "advisory" for outcome, tier in rules)

    def _has_open(self, found: CombinedRules) -> bool:
        rules = any(r.tier == "critical" and not r.group and self._is_open(r) for r in found.rules)
        groups = [outcome for group, outcome in found.groups.items() if found.tiers[group] == "critical"]
        return rules or "undecided" in groups or "invalid" in groups

    def _is_open(self, decided: RuleDecision) -> bool:
        """Whether more prompts are wanted. A rule that passes if it is undecided never stops for futility."""
        if decided.decision == "undecided":
            counts_as = decided.rule.on_undecided or self.policy.on_undecided
            return counts_as == "pass" or not (decided.sequential or {}).get("futile", False)
        return decided.decision == "invalid"

    def _entries(self) -> list[Entry]:
        """Return the rules and groups with a member that can be tested here."""
        return [e for e in self.policy.rules if any(m.rule and self._is_here(m.rule[1]) for m in e.any or (e,))]

    def _is_here(self, rule: AnyRule) -> bool:
        entry, mine = self.baseline.entry(rule.benchmark), self.baseline.entry(self.benchmark)
        if entry is None or mine is None or entry["name"] != mine["name"]:
            return False
        return rule.metric != HEAD_TO_HEAD and rule.metric in self.baseline.metrics(str(entry["name"]))
