"""Arena-Hard: hard user prompts, the answer compared with a strong baseline's in both orders on a five-way scale.

Paper            Li et al., "From Crowdsourced Data to High-Quality Benchmarks: Arena-Hard and BenchBuilder Pipeline",
                 arXiv 2406.11939
Upstream         lmarena/arena-hard-auto, commit 196f6b826783b3da7310e361a805fa36f0be83f3 (data, v2.0) and
                 b4b78bf3b274e1cf4aa974d8bdf71c06938df604 (v0.1's judge configuration), Apache-2.0
Published number v0.1: gpt-4-0314 50.0 by construction; llama-3-8b-instruct 20.56 (leaderboard of 2024-07-31)
Versions         v0.1: 500 prompts against gpt-4-0314
                 v2.0: 500 hard prompts against o3-mini-2025-01-31, 250 creative-writing prompts against
                 gemini-2.0-flash-001 with a judge prompt of their own; reported apart, as upstream
Deviations       - a verdict that cannot be read is not scored and counted; upstream gives it no weight (v0.1) or
                   drops both games (v2.0) with one line in the log
                 - v0.1's second attempt is asked for in our words
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from benchmarks.arena_hard.arena_comparison import compare_length_controlled, compare_style_controlled
from benchmarks.arena_hard.arena_figures import STYLE_METRICS, arena_rows
from benchmarks.arena_hard.markdown_features import count_markdown
from benchmarks.arena_hard.style_features import Version
from harness.data.file_rows import Row, each_row
from harness.errors import MissingDataError, UnknownNameError
from harness.messages import Sampling
from harness.protocols import DataSource, FittedComparison, Items, JudgeTask, NotAvailable, ScoreKind
from harness.records import Judgment, Preference, Prompt, Response, Score, SummaryRow
from harness.run.figures import missing_reason, prompt_score, reason_row, select, verdict_of, verdict_score

DECISIVE_WEIGHT = 3.0
"""How often upstream counts "significantly better"."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Prompts that share a baseline; `metric` is the name of their win rate."""

    category: str
    baseline_model: str
    baseline_file: str
    metric: str
    n_prompts: int


_V01 = (_Part("arena-hard-v0.1", "gpt-4-0314", "arena_hard_v0.1/baseline", "win_rate", 500),)
_V2 = (
    _Part("hard_prompt", "o3-mini-2025-01-31", "arena_hard_v2.0/baseline_o3_mini", "win_rate", 500),
    _Part(
        "creative_writing",
        "gemini-2.0-flash-001",
        "arena_hard_v2.0/baseline_gemini",
        "win_rate_creative_writing",
        250,
    ),
)


def question_text(row: Row) -> str:
    """Return the question of a row of either version.

    Raises
    ------
    FileFormatError
        The row holds none.
    """
    values = row.values
    try:
        return str(values["prompt"]) if "prompt" in values else str(values["turns"][0]["content"])
    except (KeyError, IndexError, TypeError):
        raise row.error("no question text", "prompt, or turns[0].content") from None


def answer_text(row: Row) -> str:
    """Return the answer of a row of either version.

    Raises
    ------
    FileFormatError
        The row holds none.
    """
    values = row.values
    try:
        if "messages" not in values:
            return str(values["choices"][0]["turns"][-1]["content"])
        content = values["messages"][-1]["content"]
        return str(content["answer"] if isinstance(content, Mapping) else content)
    except (KeyError, IndexError, TypeError):
        raise row.error("no answer text", "messages, or choices[0].turns[0].content") from None


@dataclass(frozen=True)
class ArenaHard:
    """Arena-Hard of one version."""

    name: str
    version: str
    form: str
    parts: tuple[_Part, ...]

    @classmethod
    def of_version(cls, version: str | None) -> ArenaHard:
        """Make v0.1 (the default) or v2.0."""
        match version:
            case None | "v0.1" | "0.1":
                return cls("arena_hard", "v0.1", "five_way", _V01)
            case "v2.0" | "2.0" | "v2":
                return cls("arena_hard@v2.0", "v2.0", "five_way_v2", _V2)
            case _:
                raise UnknownNameError("version of arena_hard", version, ["v0.1", "v2.0"])

    @property
    def n_all_prompts(self) -> int:
        """Questions of all parts."""
        return sum(part.n_prompts for part in self.parts)

    headlines: ClassVar[tuple[str, ...]] = ("win_rate", "win_rate_creative_writing")
    controlled: ClassVar[Mapping[str, str]] = {
        "length_controlled_win_rate": "win_rate",
        "style_controlled_win_rate": "win_rate",
    }
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = {
        "verdict": ScoreKind("preference", "share", (0.0, 1.0)),
        "length": ScoreKind("length", "characters"),
        "tokens": ScoreKind("measurement", "tokens"),
        "headers": ScoreKind("measurement", "Markdown headers"),
        "lists": ScoreKind("measurement", "Markdown list items"),
        "bold": ScoreKind("measurement", "Markdown bold spans"),
    }

    @property
    def judge_forms(self) -> tuple[str, ...]:
        """The five-way form of this version."""
        return (self.form,)

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Read the questions; a part whose baseline is missing is left out and named."""
        left_out = [
            NotAvailable(part.metric, part.n_prompts, " ".join(str(error).split()))
            for part in self.parts
            if (error := _missing(data, part.baseline_file)) is not None
        ]
        if len(left_out) == len(self.parts):
            data.path(self.parts[0].baseline_file)  # raises, saying what is missing and what to do
        without = {part.part for part in left_out}
        wanted = {part.category for part in self.parts if part.metric not in without}
        questions = map(self.prompt, each_row(data.path(f"arena_hard_{self.version}/questions")))
        return [prompt for prompt in questions if prompt.category in wanted], left_out

    def prompt(self, row: Row) -> Prompt:
        """Read a row of the questions.

        Raises
        ------
        FileFormatError
            A field is missing.
        """
        return Prompt(
            benchmark=self.name,
            version=self.version,
            key=row.identifier("uid", "question_id"),
            turns=(question_text(row),),
            category=row.text("category"),
            meta={k: row.values[k] for k in ("cluster", "subcategory") if k in row.values},
        )

    def sampling(self, prompt: Prompt) -> Sampling:
        """Greedy, at most 4,096 tokens."""
        return Sampling(temperature=0.0, max_tokens=4096)

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """The baselines' published answers."""
        found = []
        for part in self.parts:
            wanted = {p.key: p for p in prompts if p.category == part.category}
            model = part.baseline_model
            if not wanted:
                continue
            for row in each_row(data.path(part.baseline_file)):
                prompt = wanted.get(row.identifier("uid", "question_id"))
                if prompt is not None:
                    text = answer_text(row)
                    found.append(Response.to(prompt, model, f"published:{model}", role="baseline", turns=(text,)))
        return found

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """Two games: the baseline is shown first, then the candidate."""
        if baseline is None:
            return []
        return [
            JudgeTask(prompt, self.form, (baseline, candidate), game=1),
            JudgeTask(prompt, self.form, (candidate, baseline), game=2),
        ]

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """One verdict a game as the candidate's share, weighted as upstream, and the style of both answers."""
        missing = missing_reason(candidate, baseline, needs_baseline=True)
        scores = []
        for game in (1, 2):
            found = verdict_of(judgments, 1, game)
            score = verdict_score(prompt, "verdict", found, missing, part=f"game_{game}")
            decisive = found is not None and isinstance(found.verdict, Preference) and ">>" in found.verdict.label
            scores.append(replace(score, weight=DECISIVE_WEIGHT) if decisive else score)
        for response in (candidate, baseline):
            if response is not None and response.ok:
                scores += _style_scores(prompt, response)
        return scores

    def _of_part(self, part: _Part, scores: Sequence[Score]) -> list[Score]:
        """A part's scores; where there is one part, all (other question sets name their category otherwise)."""
        return [s for s in scores if len(self.parts) == 1 or s.category == part.category]

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say which verdicts (or lengths) a metric averages."""
        for part in self.parts:
            suffix = part.metric.removeprefix("win_rate")
            chosen = self._of_part(part, scores)
            if metric == part.metric:
                return Items(select(chosen, "verdict"), scale=100.0, bounds=(0.0, 1.0))
            for measured in ("length", "tokens"):
                if metric == f"avg_{measured}{suffix}":
                    return Items(select(chosen, measured, "candidate"))
        return None

    def compare_fitted(
        self,
        metric: str,
        scores: tuple[Sequence[Score], Sequence[Score]],
        data: DataSource,
        rng: np.random.Generator,
        level: float,
    ) -> FittedComparison | None:
        """Compare two runs' win rates with length or style held equal."""
        for part in self.parts:
            suffix = part.metric.removeprefix("win_rate")
            sides = self._of_part(part, scores[0]), self._of_part(part, scores[1])
            if metric == f"length_controlled_win_rate{suffix}":
                return compare_length_controlled(sides, rng, level)
            if metric == f"style_controlled_win_rate{suffix}":
                return compare_style_controlled(sides, self._style_version, level)
        return None

    @property
    def _style_version(self) -> Version:
        return "v0.1" if self.version == "v0.1" else "v2"

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Win rates, raw, published and with length or style held equal; lengths."""
        rows = []
        for part in self.parts:
            chosen = self._of_part(part, scores)
            if select(chosen, "verdict"):
                version, baseline = self._style_version, part.baseline_model
                rows += arena_rows(self.name, part.metric, chosen, version=version, baseline=baseline)
        return rows or [reason_row(self.name, "win_rate", "no verdicts", scores)]


def _style_scores(prompt: Prompt, response: Response) -> list[Score]:
    """Length in characters, Markdown outside code blocks, and tokens where they are known."""
    counts = count_markdown(response.turns[0])
    values = (len(response.turns[0]), counts.headers, counts.lists, counts.bold)
    scores = [
        prompt_score(prompt, metric, response.role, value=float(value))
        for metric, value in zip(STYLE_METRICS, values, strict=True)
    ]
    n_tokens = response.n_answer_tokens(0)
    if n_tokens is not None:
        scores.append(prompt_score(prompt, "tokens", response.role, value=float(n_tokens)))
    return scores


def _missing(data: DataSource, name: str) -> MissingDataError | None:
    try:
        data.path(name)
    except MissingDataError as error:
        return error
    return None
