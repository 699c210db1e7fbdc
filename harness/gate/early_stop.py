"""Early stopping: generate and judge only until the gate is decided.

Prompts are taken in random order, in waves. After each wave the sequential test looks at all prompts so far, in that
order. Looking after each answer instead would bias the decision towards short answers, which finish first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.gate.evidence import limit_units, paired_units
from harness.gate.order import random_order
from harness.gate.policy import AnyRule, Kind, Limit, Policy
from harness.gate.rule import tested_as
from harness.gate.sequential import SequentialTest
from harness.protocols import Benchmark, Items
from harness.records import Judgment, Prompt, Response, Score
from harness.run.several_judges import of_strong_judge
from harness.run.stored_run import StoredRun
from harness.store.run_directory import RunDirectory


@dataclass(frozen=True)
class WaveLook:
    """The result of a look after a wave.

    Parameters
    ----------
    decided : bool
        Whether the run may stop.
    verdicts : dict of str to str
        Maps each rule to "pass", "fail", "undecided" (so far) or "invalid".
    n_prompts : int
        Prompts looked at.
    """

    decided: bool
    verdicts: dict[str, str]
    n_prompts: int


@dataclass(frozen=True)
class EarlyStop:
    """Decides when a candidate's run of one benchmark may stop.

    Parameters
    ----------
    policy : Policy
        The policy; its rules about the benchmark are tested.
    baseline : StoredRun
        A complete run over all prompts.
    benchmark : str
        The benchmark.
    seed : int
        Random seed of the prompt order.
    wave : int
        Number of prompts generated and judged together.

    Raises
    ------
    UsageError
        The policy has no rule about the benchmark that can be tested sequentially.
    """

    policy: Policy
    baseline: StoredRun
    benchmark: str
    seed: int = 0
    wave: int = 32

    def __post_init__(self) -> None:
        if not self.watched():
            raise UsageError(
                f"no rule about {self.benchmark} can be tested before the run is complete",
                "a metric with one bounded value per prompt (win_rate, score, exact_match) and an absolute margin",
                "omit --early-stop",
            )

    def waves(self, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
        """Yield waves of prompts in the order of the seed; the prompts of a cluster stay together."""
        by_cluster = prompts_by_cluster(prompts)
        batch: list[Prompt] = []
        for cluster in random_order(by_cluster, self.seed):
            batch += by_cluster[cluster]
            if len(batch) >= self.wave:
                yield batch
                batch = []
        if batch:
            yield batch

    def look(self, scores: Sequence[Score]) -> WaveLook:
        """Look at the scores of all waves so far.

        Parameters
        ----------
        scores : sequence of Score
            The candidate's scores of exactly the prompts asked so far.

        Returns
        -------
        WaveLook
            Decided if every critical rule is decided, or a critical or supporting one has failed.
        """
        asked = {s.prompt_id for s in scores}
        benchmark = self.baseline.benchmark(self.benchmark)
        theirs = [s for s in self.baseline.scores_of(self.benchmark) if s.prompt_id in asked]
        verdicts = {}
        is_open = self._needs_all_prompts()
        for kind, rule in self.watched():
            items = benchmark.items(rule.metric, scores), benchmark.items(rule.metric, theirs)
            verdict = self._verdict(kind, rule, items)
            verdicts[f"{kind} {rule.metric}"] = verdict
            is_open = is_open or (verdict == "undecided" and rule.tier == "critical")
        decided = "fail" in verdicts.values() or not is_open
        return WaveLook(decided, verdicts, len(asked))

    def record(self) -> dict[str, Any]:
        """Return what run.json keeps of it: the order of the prompts."""
        return {"seed": self.seed, "method": "betting"}

    def decided(self, directory: RunDirectory, asked: Sequence[Prompt]) -> bool:
        """Whether a run in progress, judged to the end of a wave, is decided."""
        return self.look(scores_so_far(self.baseline.benchmark(self.benchmark), directory, asked)).decided

    def watched(self) -> list[tuple[Kind, AnyRule]]:
        """Return the rules outside groups that can be tested after every prompt and count in the decision."""
        benchmark = self.baseline.benchmark(self.benchmark)
        scores = self.baseline.scores_of(self.benchmark)
        watched = []
        for entry in self.policy.rules:
            if entry.rule is None or entry.rule[1].benchmark != self.benchmark:
                continue
            rule = entry.rule[1]
            items = benchmark.items(rule.metric, scores)
            absolute = isinstance(rule, Limit) or not rule.margin.relative
            watchable = rule.tier != "advisory" and rule.categories is None and absolute
            if items is not None and items.bounds is not None and watchable and _equal_weights(items):
                watched.append(entry.rule)
        return watched

    def _needs_all_prompts(self) -> bool:
        """Whether a critical rule is about the categories of the benchmark, which are tested when all are complete."""
        rules = (entry.rule[1] for entry in self.policy.rules if entry.rule is not None)
        return any(r.categories and r.tier == "critical" and r.benchmark == self.benchmark for r in rules)

    def _verdict(self, kind: Kind, rule: AnyRule, items: tuple[Items | None, Items | None]) -> str:
        if items[0] is None or items[1] is None:
            return "invalid"
        if all(s.value is None for s in items[0].scores):
            return "undecided"
        units = limit_units(items[0], rule.number) if isinstance(rule, Limit) else paired_units(items[0], items[1])
        min_n = self.policy.min_n if rule.min_n is None else rule.min_n
        if len(units.keys) < min_n:
            return "undecided"
        tested, _ = SequentialTest(self.seed)(*tested_as(kind, rule), self.policy, units, 1)
        if tested.p_pass <= self.policy.alpha:
            return "pass"
        return "fail" if tested.p_fail <= self.policy.alpha else "undecided"


def prompts_by_cluster(prompts: Iterable[Prompt]) -> dict[str, list[Prompt]]:
    """Return the prompts of each cluster."""
    found: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        found.setdefault(prompt.cluster, []).append(prompt)
    return found


def scores_so_far(benchmark: Benchmark, directory: RunDirectory, asked: Iterable[Prompt]) -> list[Score]:
    """Return the scores of the stored verdicts, without summary rows, some of which need a bootstrap.

    Parameters
    ----------
    benchmark : Benchmark
    directory : RunDirectory
        The run under way.
    asked : iterable of Prompt
        The prompts up to the end of the last wave; an interrupted run may hold answers to more.
    """
    judged: dict[str, list[Judgment]] = {}
    for judgment in directory.slim_judgments():
        judged.setdefault(judgment.prompt_id, []).append(judgment)
    sides: dict[str, dict[str, Response]] = {"candidate": {}, "baseline": {}}
    for response in directory.responses().values():
        sides[response.role][response.prompt_id] = response
    scores = []
    for prompt in asked:
        answer = sides["candidate"].get(prompt.id)
        if prompt.benchmark == benchmark.name and answer is not None:
            about = [j for j in judged.get(prompt.id, ()) if answer.id in j.response_ids]
            by_strong = of_strong_judge(about)
            if by_strong or not about:  # else the strong judge of two is not to be asked about this prompt
                scores += benchmark.score(prompt, answer, sides["baseline"].get(prompt.id), by_strong)
    return scores


def _equal_weights(items: Items) -> bool:
    return len({s.weight for s in items.scores if s.value is not None}) <= 1
