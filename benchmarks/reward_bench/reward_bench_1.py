"""RewardBench 1: how often a reward model (or judge) prefers the chosen answer to the rejected one, over 23 subsets.

Paper            Lambert et al., "RewardBench: Evaluating Reward Models for Language Modeling", arXiv 2403.13787
Upstream         allenai/reward-bench, Apache-2.0 (code), ODC-BY (data)
Published number ArmoRM-Llama3-8B-v0.1: 89.0 on the leaderboard
Deviations       - a section that lacks a subset has no figure; upstream averages the subsets there are
                 - a tie is half right; upstream's pipeline counts it wrong
                 - a prompted judge gets MT-Bench's own pairwise prompt (with a tie), in both orders unless told
                   otherwise; upstream's wording without a tie is in its code, and it shows one random order

The run's model is what is measured: `assay run --engine reward_model` (or preference_model, implicit_reward, or any
engine that generates). `assay import reward_bench` reads scores that reward-bench wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pydantic import StrictBool

from benchmarks.reward_bench.items import PRIOR_SETS, Source, read_items
from benchmarks.reward_bench.measuring import MeasureOptions, Orders, measured
from benchmarks.reward_bench.outcomes import SCORE_KINDS, TIED, check_rows, judge_problems, measured_scores
from benchmarks.reward_bench.sections import SECTIONS_V1, Outcomes, section_estimate, subset_weights
from benchmarks.unjudged import Unjudged
from harness.errors import StatisticsError, UnknownNameError
from harness.protocols import DataSource, Items, MeasureContext, NotAvailable, ScoreKind
from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.run.figures import guarded_row, missing_reason, prompt_score, select, verdict_of, verdict_score
from harness.spec import validated
from harness.stats.estimate import Estimate

_HUMANEVAL = "hep-"
_PRIOR = "prior_sets"
_PRIOR_WEIGHTS: Mapping[str, float] = dict.fromkeys(PRIOR_SETS, 1.0)
_PRIOR_SHARE = 0.5 / 4.5  # a section of weight one half beside four of weight one
_FILES: Mapping[str, str | None] = {"reward_bench/filtered": None}
_PRIOR_FILES: Mapping[str, str | None] = {f"reward_bench/{name}": name for name in PRIOR_SETS}


class RewardBench1Options(MeasureOptions):
    """Options of version 1.

    Parameters
    ----------
    prior_sets : bool
        Measure the prior sets too; they enter the score with half a section's weight.
    orders : {"both", "one"}
        Show a prompted judge each pair in both orders, or in one chosen by the seed, as upstream does.
    """

    prior_sets: StrictBool = False
    orders: Orders = "both"


@dataclass(frozen=True)
class RewardBench(Unjudged):
    """RewardBench 1, or one part of it.

    Parameters
    ----------
    part : str
        A section ("chat_hard"), a subset ("llmbar-natural") or "prior_sets"; "" for all four sections.
    options : RewardBench1Options
    """

    name: str = "reward_bench"
    version: str = "1"
    judge_forms: tuple[str, ...] = ()
    headlines: ClassVar[tuple[str, ...]] = ("score",)
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = SCORE_KINDS
    part: str = ""
    options: RewardBench1Options = field(default_factory=RewardBench1Options)

    @classmethod
    def of_version(cls, version: str | None) -> Any:
        """Make version 1 or 2 ("@1", "@2"), or a part of one (":llmbar-natural", "@2:ties").

        Raises
        ------
        UnknownNameError
            There is no such version or part.
        """
        number, _, part = (version or "1").partition(":")
        if number in ("2", "v2"):
            from benchmarks.reward_bench.reward_bench_2 import RewardBench2

            return RewardBench2.of_version(part or None)
        if number not in ("1", "v1"):
            number, part = "1", version or ""
        known = [*SECTIONS_V1, *_subsets(), _PRIOR, *PRIOR_SETS]
        if part and part not in known:
            raise UnknownNameError("part of reward_bench", part, [*known, "1", "2"])
        return cls(part=part)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Return the benchmark with these options (`RewardBench1Options`).

        Raises
        ------
        SpecError
            An option is unknown, or its value is wrong.
        """
        return replace(self, options=validated(RewardBench1Options, options, f"options of {self.name}"))

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Read the items, in upstream's order."""
        wanted = self._wanted()
        prior = [name for name in wanted if name in PRIOR_SETS]
        core = tuple(name for name in wanted if name not in PRIOR_SETS)
        prompts: list[Prompt] = []
        if core:
            prompts += read_items(Source(self.name, self.version, _FILES, core, self.options.data), data)
        if prior:
            files = {name: subset for name, subset in _PRIOR_FILES.items() if subset in prior}
            prompts += read_items(Source(self.name, self.version, files), data)
        return prompts, []

    def _wanted(self) -> tuple[str, ...]:
        """Subsets to measure."""
        if self.part in SECTIONS_V1:
            return tuple(SECTIONS_V1[self.part])
        if self.part == _PRIOR:
            return PRIOR_SETS
        if self.part:
            return (self.part,)
        return (*_subsets(), *(PRIOR_SETS if self.options.prior_sets else ()))

    def measure(self, prompts: Sequence[Prompt], context: MeasureContext) -> Iterator[Response]:
        """Let the model score or compare the answers of each item."""
        return measured(prompts, context, "pairwise", self.options, self.options.orders)

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """One outcome: 1 where the chosen answer is preferred, 0.5 for a tie."""
        if candidate.ok or not judgments:
            return measured_scores(prompt, candidate)
        missing = missing_reason(candidate, baseline, needs_baseline=False)
        score = verdict_score(prompt, "outcome", verdict_of(judgments, 1, 1), missing)
        if score.value is None:
            return [score]
        outcome = 1.0 if score.value > 0.5 else 0.0 if score.value < 0.5 else 0.5
        return [replace(score, value=outcome), prompt_score(prompt, TIED, value=float(outcome == 0.5))]

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say which outcomes a figure averages, each with its subset's weight."""
        weights = _weights_of(metric, scores)
        if weights is None:
            return None
        chosen = [s for s in select(scores, "outcome") if s.category in weights]
        counts = Counter(s.category for s in chosen if s.value is not None)
        if not all(counts[subset] for subset in weights):
            return None
        weighted = [replace(s, weight=weights[s.category or ""] / counts[s.category]) for s in chosen]
        return Items(weighted if len(weights) > 1 else chosen, scale=100.0, bounds=(0.0, 1.0))

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Overall, sections, subsets, and whether the model distinguished answers."""
        outcomes = select(scores, "outcome")
        there = list(dict.fromkeys(s.category for s in outcomes if s.category))
        # A part has only its own figures; the whole benchmark has all, those that are missing with a reason.
        metrics = [self.part] if self.part in SECTIONS_V1 else [] if self.part else ["score", *SECTIONS_V1]
        if set(there) & set(PRIOR_SETS) and self.part not in PRIOR_SETS:
            metrics.append(_PRIOR)
        rows = [_row(self.name, metric, outcomes, _weights_of(metric, scores) or {}) for metric in metrics]
        rows += [_row(self.name, f"subset_{subset}", outcomes, {subset: 1.0}) for subset in there]
        return rows + check_rows(self.name, scores)

    def problems(self, scores: Sequence[Score]) -> list[str]:
        """Say why no figure of the run can be trusted."""
        return judge_problems(self.name, scores)


def _subsets() -> list[str]:
    return [subset for section in SECTIONS_V1.values() for subset in section]


def _weights_of(metric: str, scores: Sequence[Score]) -> Mapping[str, float] | None:
    """Return the weight of each subset in a figure; None for a figure that is not made of subsets."""
    if metric.startswith("subset_"):
        return {metric.removeprefix("subset_"): 1.0}
    if metric == _PRIOR:
        return _PRIOR_WEIGHTS
    if metric in SECTIONS_V1:
        return SECTIONS_V1[metric]
    if metric != "score":
        return None
    weights = subset_weights()
    if any(s.category in PRIOR_SETS for s in scores):
        weights = {name: weight * (1.0 - _PRIOR_SHARE) for name, weight in weights.items()}
        weights |= dict.fromkeys(PRIOR_SETS, _PRIOR_SHARE / len(PRIOR_SETS))
    return weights


def _row(name: str, metric: str, outcomes: Sequence[Score], weights: Mapping[str, float]) -> SummaryRow:
    chosen = [s for s in outcomes if s.category in weights]

    def compute(scored: list[Score]) -> Estimate:
        there = {s.category for s in scored}
        absent = [subset for subset in weights if subset not in there]
        if absent:
            raise StatisticsError(f"{len(absent)} of {len(weights)} subsets are not measured: {', '.join(absent)}")
        credit, subsets = [s.value or 0.0 for s in scored], [s.category or "" for s in scored]
        return section_estimate(Outcomes(credit, subsets, [s.cluster for s in scored]), weights)

    return guarded_row(name, metric, chosen, compute)


def cluster_of(subset: str, key: str) -> str:
    """The six languages of one HumanEval problem are one cluster; upstream's ids end in the problem's number."""
    if not subset.startswith(_HUMANEVAL):
        return key
    return f"humaneval-{key.rpartition('/')[2] or key}"
