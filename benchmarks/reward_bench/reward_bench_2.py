"""RewardBench 2: one right answer among four in five domains, and Ties, where several answers are equally right.

Paper            Malik et al., "RewardBench 2: Advancing Reward Model Evaluation", arXiv 2506.01937
Upstream         allenai/reward-bench (scripts/run_v2.py), Apache-2.0 (code); allenai/reward-bench-2, ODC-BY (data)
Published number Skywork-Reward-V2-Llama-3.1-8B: 84.1 on the leaderboard
Deviations       - a preference model, which upstream does not run, scores an answer by its mean log-odds against the
                   others of its item
                 - a prompted judge rates each answer with MT-Bench's single-answer prompt (1 to 10), as upstream's
                   ratings mode does with a prompt of its own; an unreadable rating is not scored, upstream gives 0.25
                 - the overall figure is given only if all six domains are measured

The credit of an item is 1/k if the right answer shares the first place with k - 1 others, as upstream.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from scipy import stats

from benchmarks.reward_bench.items import SUBSETS_V2, Source, read_items
from benchmarks.reward_bench.measuring import MeasureOptions, measured
from benchmarks.reward_bench.outcomes import SCORE_KINDS, check_rows, judge_problems, measured_scores
from benchmarks.reward_bench.sections import SECTIONS_V2, ties_score
from benchmarks.unjudged import Unjudged
from harness.errors import AssayError, StatisticsError, UnknownNameError
from harness.protocols import DataSource, Items, MeasureContext, NotAvailable, ScoreKind
from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.run.figures import guarded_row, mean_row, prompt_score, reason_row, select
from harness.spec import validated
from harness.stats.estimate import Estimate

_FILES: Mapping[str, str | None] = {"reward_bench_2/test": None}
_TIES = "ties"
_TIES_BOUNDS = (-0.01, 1.01)  # the bonus for the margin is worth a hundredth either way
_REWARD = "reward"
_LEVEL = 0.95


@dataclass(frozen=True)
class RewardBench2(Unjudged):
    """RewardBench 2, or one of its domains.

    Parameters
    ----------
    part : str
        A domain ("ties"); "" for all six.
    options : MeasureOptions
    """

    name: str = "reward_bench_2"
    version: str = "2"
    judge_forms: tuple[str, ...] = ()
    headlines: ClassVar[tuple[str, ...]] = ("score",)
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = {**SCORE_KINDS, _REWARD: ScoreKind("measurement", "reward")}
    part: str = ""
    options: MeasureOptions = field(default_factory=MeasureOptions)

    @classmethod
    def of_version(cls, version: str | None) -> RewardBench2:
        """Make the benchmark, or one domain of it (":ties").

        Raises
        ------
        UnknownNameError
            There is no such domain.
        """
        part = "" if version in (None, "2") else str(version)
        part = SUBSETS_V2.get(part, part)
        if part and part not in SECTIONS_V2:
            raise UnknownNameError("part of reward_bench_2", part, SECTIONS_V2)
        return cls(part=part)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Return the benchmark with these options (`MeasureOptions`).

        Raises
        ------
        SpecError
            An option is unknown, or its value is wrong.
        """
        return replace(self, options=validated(MeasureOptions, options, f"options of {self.name}"))

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Read the items, in upstream's order."""
        wanted = (self.part,) if self.part else ()
        prompts = read_items(Source(self.name, self.version, _FILES, wanted, self.options.data), data)
        return prompts, []

    def measure(self, prompts: Sequence[Prompt], context: MeasureContext) -> Iterator[Response]:
        """Let the model score the answers of each item."""
        return measured(prompts, context, "rating", self.options)

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """The item's credit; for Ties the rewards too, because its figure compares two items."""
        scores = measured_scores(prompt, candidate)
        rewards = candidate.meta.get("rewards") if candidate.ok else None
        if prompt.category != _TIES or rewards is None:
            return scores
        n_right = prompt.meta["n_right"]
        kind = prompt.key.partition("/")[2].partition(":")[0]
        parts = [f"{kind}_{'right' if i < n_right else 'wrong'}_{i}" for i in range(len(rewards))]
        return scores + [
            prompt_score(prompt, _REWARD, part, value=float(reward))
            for part, reward in zip(parts, rewards, strict=True)
        ]

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say what a domain's figure averages; for Ties, one value per pair of items."""
        if metric == _TIES:
            pairs = _ties_values(scores)
            return Items(pairs, scale=100.0, bounds=_TIES_BOUNDS) if pairs else None
        if metric in SECTIONS_V2:
            chosen = select(scores, "outcome", category=metric)
            return Items(chosen, scale=100.0, bounds=(0.0, 1.0)) if chosen else None
        return self._overall_items(scores) if metric == "score" else None

    def _overall_items(self, scores: Sequence[Score]) -> Items | None:
        """Weigh items so that the domains count the same; None unless all of them are measured."""
        weighted = []
        for section in SECTIONS_V2:
            items = self.items(section, scores)
            n = sum(s.value is not None for s in items.scores) if items is not None else 0
            if items is None or n == 0:
                return None
            weighted += [replace(s, weight=1.0 / n) for s in items.scores]
        return Items(weighted, scale=100.0, bounds=_TIES_BOUNDS)

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Overall, the six domains, and whether the model distinguished answers."""
        sections = (self.part,) if self.part else SECTIONS_V2
        rows = {section: self._section_row(section, scores) for section in sections}
        overall = [] if self.part else [_overall_row(self.name, scores, rows)]
        return [*overall, *rows.values(), *check_rows(self.name, scores)]

    def _section_row(self, section: str, scores: Sequence[Score]) -> SummaryRow:
        items = self.items(section, scores)
        mine = select(scores, "outcome", category=section)
        if items is None:
            return guarded_row(self.name, section, mine, _nothing)
        row = mean_row(self.name, section, items)
        if section == _TIES:
            n_unscored = sum(s.value is None for s in mine)
            method = f"weighted accuracy and margin over pairs of items; {row.method}"
            row = row.model_copy(update={"method": method, "n_unscored": n_unscored})
        return row

    def problems(self, scores: Sequence[Score]) -> list[str]:
        """Say why no figure of the run can be trusted."""
        return judge_problems(self.name, scores)


def _nothing(scored: list[Score]) -> Estimate:
    raise StatisticsError("no pair of items is measured on both sides", "a reference and a tied item")


def _ties_values(scores: Sequence[Score]) -> list[Score]:
    """Compute upstream's Ties score of each pair of items; its figure is their mean."""
    pairs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    some: dict[str, Score] = {}
    for s in select(scores, _REWARD, category=_TIES):
        if s.value is not None:
            pairs[s.cluster][s.part.rpartition("_")[0]].append(s.value)
            some[s.cluster] = s
    values = []
    for cluster, found in pairs.items():
        sides = {kind: (found[f"{kind}_right"], found[f"{kind}_wrong"]) for kind in ("ref", "tied")}
        if all(right and wrong for right, wrong in sides.values()):
            value = ties_score({cluster: sides["ref"]}, {cluster: sides["tied"]})
            values.append(replace(some[cluster], metric="ties_value", part="", prompt_id=cluster, value=value))
    return values


def _overall_row(name: str, scores: Sequence[Score], sections: Mapping[str, SummaryRow]) -> SummaryRow:
    """Average the six domains, each estimated from items of its own."""
    outcomes = select(scores, "outcome")
    absent = [section for section, row in sections.items() if row.value is None]
    if absent:
        reason = f"{len(absent)} of {len(sections)} domains are not measured: {', '.join(absent)}"
        return reason_row(name, "score", reason, outcomes)

    def compute(scored: list[Score]) -> Estimate:
        value = sum(row.value or 0.0 for row in sections.values()) / len(sections)
        n, clusters = sum(row.n for row in sections.values()), sum(row.n_clusters for row in sections.values())
        method = "mean of six domains; independent domains, normal interval"
        errors = [row.stderr for row in sections.values()]
        if any(error is None for error in errors):
            return Estimate(value, None, None, None, _LEVEL, method, n, clusters, "a domain has no standard error")
        stderr = math.sqrt(sum((error or 0.0) ** 2 for error in errors)) / len(sections)
        reach = float(stats.norm.ppf(0.5 + _LEVEL / 2.0)) * stderr
        low, high = max(value - reach, 0.0), min(value + reach, 100.0)
        return Estimate(value, stderr, min(low, value), max(high, value), _LEVEL, method, n, clusters)

    try:
        return guarded_row(name, "score", outcomes, compute)
    except AssayError as error:
        return reason_row(name, "score", " ".join(str(error).split()), outcomes)
