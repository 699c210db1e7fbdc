"""MT-Bench: 80 two-turn questions in eight categories, each turn rated 1 to 10 by a judge.

Paper            Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv 2306.05685
Upstream         lm-sys/FastChat, fastchat/llm_judge, commit 0e6d3e4beaab66f4d3f93db72541a4abab8af28d, Apache-2.0
Published number RouteLLM's verdicts of GPT-4: martian 8.3125, unify 8.757862 (average of both turns)
Deviations       - the checkpoint's own chat template, not one guessed from the model's name
                 - an unreadable verdict is not scored, and counted; upstream stores -1 and drops it silently
                 - a failed generation is an error; upstream judges the text "ERROR"
                 - the figure averages the rated turns; with all 160 rated it equals upstream's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.equal_length import controlled_ratings
from benchmarks.mt_bench.fastchat_votes import answer_turns
from harness.data.file_rows import each_row
from harness.errors import FileFormatError, UsageError
from harness.messages import Sampling
from harness.protocols import DataSource, Items, JudgeTask, NotAvailable, ScoreKind
from harness.records import Judgment, Prompt, Rating, Response, Score, SummaryRow
from harness.run.figures import (
    mean_row,
    missing_reason,
    prompt_score,
    reason_row,
    select,
    verdict_of,
    verdict_score,
)

# FastChat samples answers in open-ended categories and decodes the others (nearly) greedily.
_TEMPERATURE = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
_OTHER_TEMPERATURE = 0.7
_REFERENCE_GUIDED = ("math", "reasoning", "coding")
_SCALE = (1.0, 10.0)
_LENGTH_CONTROLLED = "length_controlled_score"
_SEED = 20230609  # of the bootstrap; fixed, so that equal ratings give equal figures


@dataclass(frozen=True)
class MTBench:
    """MT-Bench with single-answer grading."""

    name: str = "mt_bench"
    version: str = "1"
    judge_forms: tuple[str, ...] = ("rating",)
    n_all_prompts: ClassVar[int] = 80
    headlines: ClassVar[tuple[str, ...]] = ("score", "length_controlled_score")
    controlled: ClassVar[Mapping[str, str]] = {"length_controlled_score": "score"}
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = {
        "rating": ScoreKind("rating", "points", _SCALE),
        "length": ScoreKind("length", "characters"),
    }

    @classmethod
    def of_version(cls, version: str | None) -> MTBench:
        """Make the benchmark; there is one version."""
        if version not in (None, "1"):
            raise UsageError(f"mt_bench has no version {version!r}", "mt_bench")
        return cls()

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Read the questions, with GPT-4's reference answers for math, reasoning and coding."""
        references_path = data.path("mt_bench/references")
        references = {row.identifier("question_id"): answer_turns(row) for row in each_row(references_path)}
        prompts = []
        for row in each_row(data.path("mt_bench/questions")):
            question, category = row.identifier("question_id"), row.text("category")
            turns = tuple(row.get("turns", list, "turns as a list of texts"))
            guided = category in _REFERENCE_GUIDED
            if guided and question not in references:
                raise FileFormatError(
                    references_path, None, f"no reference answer for question {question} ({category})"
                )
            prompts.append(
                Prompt(
                    benchmark=self.name,
                    version=self.version,
                    key=question,
                    turns=turns,
                    reference=references[question] if guided else None,
                    category=category,
                )
            )
        return prompts, []

    def sampling(self, prompt: Prompt) -> Sampling:
        """The category's temperature, at most 1,024 tokens a turn."""
        return Sampling(temperature=_TEMPERATURE.get(prompt.category or "", _OTHER_TEMPERATURE), max_tokens=1024)

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """None: ratings are absolute."""
        return []

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """Rate each turn; the judge of the second sees the first."""
        return [JudgeTask(prompt, "rating", (candidate,), turn=turn + 1) for turn in range(len(prompt.turns))]

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """One rating a turn, and the answer's length in characters."""
        missing = missing_reason(candidate, baseline, needs_baseline=False)
        scores = []
        for turn in range(1, len(prompt.turns) + 1):
            found = verdict_of(judgments, turn, 1)
            scores.append(verdict_score(prompt, "rating", found, missing, part=f"turn_{turn}", expected=Rating))
            if candidate.ok:
                length = float(len(candidate.turns[turn - 1]))
                scores.append(prompt_score(prompt, "length", f"turn_{turn}", value=length))
        return scores

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say which ratings (or lengths) a metric averages."""
        if metric == "avg_length":
            return Items(select(scores, "length"))
        ratings = select(scores, "rating")
        chosen = metric.removeprefix("score").removeprefix("_")
        if not chosen:
            return Items(ratings, bounds=_SCALE)
        if chosen in ("turn_1", "turn_2"):
            return Items(select(ratings, "rating", part=chosen), bounds=_SCALE)
        by_category = select(ratings, "rating", category=chosen)
        return Items(by_category, bounds=_SCALE) if by_category else None

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Average over both turns, each turn, each category; clustered by question."""
        categories = dict.fromkeys(s.category for s in select(scores, "rating") if s.category)
        metrics = ["score", "score_turn_1", "score_turn_2", *(f"score_{c}" for c in categories), "avg_length"]
        items = {metric: self.items(metric, scores) for metric in metrics}
        rows = [mean_row(self.name, metric, found) for metric, found in items.items() if found and found.scores]
        alone = "length is held equal between models: `assay leaderboard` gives it for the models it compares"
        return [*rows, reason_row(self.name, _LENGTH_CONTROLLED, alone)]

    def panel(self, scores: Mapping[str, Sequence[Score]]) -> dict[str, SummaryRow]:
        """Rate several models as if their answers were equally long (`harness.run.compare.with_panels`).

        Parameters
        ----------
        scores : mapping of str to sequence of Score
            Each model's scores.

        Returns
        -------
        dict of str to SummaryRow
            The length-controlled score of each model.
        """
        return controlled_ratings(self.name, _LENGTH_CONTROLLED, scores, (_SCALE, _SEED))
