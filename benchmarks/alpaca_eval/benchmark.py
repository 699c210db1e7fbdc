"""AlpacaEval 2: 805 instructions, the answer compared with gpt4_1106_preview's by the log-probability of one token.

Paper            Dubois et al., "Length-Controlled AlpacaEval", arXiv 2404.04475
Upstream         tatsu-lab/alpaca_eval, commit cd543a149df89434d8a54582c0151c0b945c3d20 and package 0.6.6; code
                 Apache-2.0, data CC-BY-NC-4.0
Published number NullModel (a constant answer): win rate 76.9, length-controlled 86.5 (leaderboard of the package)
Deviations       - greedy answers of at most 2,048 tokens for every checkpoint; upstream's differ from model to model
                 - a verdict without the tokens asked for is not scored and counted; upstream drops it
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from benchmarks.alpaca_eval.alpaca_figures import (
    BASELINE,
    LENGTH_CONTROLLED,
    OTHER_BASELINE,
    Upstream,
    compare_fitted,
    length_controlled_rows,
    published_rows,
)
from harness.data.file_rows import Row, read_rows
from harness.errors import UsageError
from harness.hashing import content_hash
from harness.messages import Sampling
from harness.protocols import DataSource, FittedComparison, Items, JudgeTask, NotAvailable, ScoreKind
from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.run.figures import mean_row, missing_reason, prompt_score, select, verdict_of, verdict_score


def instruction_key(instruction: str) -> str:
    """Name an item: upstream has no ids, the instruction is what tells items apart."""
    return content_hash(instruction)


def baseline_is_first(instruction: str) -> bool:
    """Say in which order upstream shows the two outputs: a coin seeded by the instruction, the same for all models."""
    return random.Random(f"is_switched_outputs{instruction}0").choices([True, False], k=1)[0]


def _discrete(score: Score) -> Score:
    """Count a preference as won, lost or (at exactly one half) tied."""
    if score.value is None:
        return score
    return replace(score, value=1.0 if score.value > 0.5 else 0.0 if score.value < 0.5 else 0.5)


@dataclass(frozen=True)
class AlpacaEval:
    """AlpacaEval 2 with the weighted judge."""

    name: str = "alpaca_eval"
    version: str = "2"
    judge_forms: tuple[str, ...] = ("alpaca_eval",)
    n_all_prompts: ClassVar[int] = 805
    headlines: ClassVar[tuple[str, ...]] = ("length_controlled_win_rate", "win_rate")
    controlled: ClassVar[Mapping[str, str]] = {"length_controlled_win_rate": "win_rate"}
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = {
        "preference": ScoreKind("preference", "share", (0.0, 1.0)),
        "row": ScoreKind("measurement", "row of upstream's file"),
        "length": ScoreKind("length", "characters"),
        OTHER_BASELINE: ScoreKind("measurement", "1 where the baseline is not the one the difficulties belong to"),
    }
    difficulties_of: ClassVar[str | None] = BASELINE

    @classmethod
    def of_version(cls, version: str | None) -> AlpacaEval:
        """Make the benchmark; there is one version."""
        if version not in (None, "2"):
            raise UsageError(f"alpaca_eval has no version {version!r}", "alpaca_eval")
        return cls()

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Read the instructions out of the baseline's outputs, which is where upstream keeps them too."""
        return [self.prompt(row, place) for place, row in enumerate(self._outputs(data))], []

    def prompt(self, row: Row, place: int | None) -> Prompt:
        """Read a row with an instruction; `place` is its place in upstream's file, None where it is not known."""
        return Prompt(
            benchmark=self.name,
            version=self.version,
            key=instruction_key(row.text("instruction")),
            turns=(row.text("instruction"),),
            category=row.values.get("dataset"),
            meta={} if place is None else {"row": place},
        )

    def _outputs(self, data: DataSource) -> list[Row]:
        return read_rows(data.path("alpaca_eval/baseline"))

    def sampling(self, prompt: Prompt) -> Sampling:
        """Greedy, at most 2,048 tokens."""
        return Sampling(temperature=0.0, max_tokens=2048)

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """The baseline's published outputs."""
        by_instruction = {row.text("instruction"): row.text("output") for row in self._outputs(data)}
        return [
            Response.to(prompt, BASELINE, f"published:{BASELINE}", role="baseline", turns=(answer,))
            for prompt in prompts
            if (answer := by_instruction.get(prompt.turns[0])) is not None
        ]

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """One comparison, in upstream's order."""
        if baseline is None:
            return []
        pair = (baseline, candidate) if baseline_is_first(prompt.turns[0]) else (candidate, baseline)
        return [JudgeTask(prompt, "alpaca_eval", pair)]

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """The candidate's share of the preference, both lengths in characters, and whether the baseline is another."""
        missing = missing_reason(candidate, baseline, needs_baseline=True)
        scores = [verdict_score(prompt, "preference", verdict_of(judgments, 1, 1), missing)]
        if "row" in prompt.meta:
            scores.append(prompt_score(prompt, "row", value=float(prompt.meta["row"])))
        if baseline is not None and self.difficulties_of not in (None, baseline.model):
            scores.append(prompt_score(prompt, OTHER_BASELINE, value=1.0))
        for response in (candidate, baseline):
            if response is not None and response.ok:
                scores.append(prompt_score(prompt, "length", response.role, value=float(len(response.turns[0]))))
        return scores

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say which preferences (or lengths) a metric averages."""
        match metric:
            case "win_rate":
                return Items(select(scores, "preference"), scale=100.0, bounds=(0.0, 1.0))
            case "discrete_win_rate":
                return Items([_discrete(s) for s in select(scores, "preference")], scale=100.0, bounds=(0.0, 1.0))
            case "avg_length":
                return Items(select(scores, "length", "candidate"))
            case _:
                return None

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Win rates, length-controlled, raw and as published; average length."""
        items = {metric: self.items(metric, scores) for metric in ("win_rate", "avg_length")}
        rows = [mean_row(self.name, metric, found) for metric, found in items.items() if found and found.scores]
        controlled = length_controlled_rows(self.name, scores, lambda: self._upstream(data))
        return [*controlled[:1], *rows, *published_rows(self.name, scores), *controlled[1:]]

    def _upstream(self, data: DataSource) -> Upstream:
        return Upstream.read(data, [instruction_key(row.text("instruction")) for row in self._outputs(data)])

    def compare_fitted(
        self,
        metric: str,
        scores: tuple[Sequence[Score], Sequence[Score]],
        data: DataSource,
        rng: np.random.Generator,
        level: float,
    ) -> FittedComparison | None:
        """Compare two runs' length-controlled win rates (`harness.run.compare`)."""
        # Upstream's data are needed, and may be missing, for this metric alone.
        return None if metric != LENGTH_CONTROLLED else compare_fitted(scores, self._upstream(data), rng, level)
