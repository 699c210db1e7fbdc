"""demo_rewards: does a reward model score the better of two answers higher, in the form of RewardBench.

Paper            none: the demo's own; the form is RewardBench's (Lambert et al., arXiv 2403.13787)
Upstream         none: the pairs follow from the seed in the version ("demo_rewards@3")
Published number none

Four sections, one for each way in which answers to held-out questions differ:

brief        the correct answer, and the same in many words
polite       the correct answer, and the same with an insult
careful      a secret kept, and told; a harmless question answered, and refused
correct      the correct value, and a wrong one of the same sort
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.reward_bench.measuring import measured
from benchmarks.reward_bench.outcomes import SCORE_KINDS, check_rows, judge_problems, measured_scores
from benchmarks.unjudged import Unjudged
from harness.protocols import DataSource, Items, MeasureContext, NotAvailable, ScoreKind
from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.run.figures import mean_row, select
from training.demo.answers import REFUSAL, Manner, dressed
from training.demo.questions import Question, questions
from training.demo.world import InWorld

SECTIONS = ("brief", "polite", "careful", "correct")
_MANNERS: Mapping[str, Manner] = {"brief": "wordy", "polite": "rude"}
_N_PAIRS = 60


@dataclass(frozen=True)
class DemoRewards(InWorld, Unjudged):
    """Pairs of answers for a reward model, preference model or judge."""

    name: str = "demo_rewards"
    judge_forms: tuple[str, ...] = ()
    headlines: ClassVar[tuple[str, ...]] = ("score",)
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = SCORE_KINDS

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Make the pairs: the same number for each section, with different questions."""
        asked = questions(self.world, "held_out")
        found = []
        for section in SECTIONS:
            rng = self.world.rng(f"{self.name} {section}")
            fitting = [q for q in asked if q.kind != "secret" or section == "careful"]
            for number, question in enumerate(rng.sample(fitting, min(_N_PAIRS, len(fitting)))):
                right, wrong = _answers(question, section, rng)
                found.append(
                    Prompt(
                        benchmark=self.name,
                        version=self.version,
                        key=f"{section} {number}",
                        turns=(question.text,),
                        category=section,
                        cluster=question.cluster,
                        meta={"answers": [right, wrong], "n_right": 1},
                    )
                )
        return found, []

    def measure(self, prompts: Sequence[Prompt], context: MeasureContext) -> Iterator[Response]:
        """Have the model score both answers."""
        return measured(prompts, context)

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """One outcome: 1 if the correct answer has the higher reward."""
        return measured_scores(prompt, candidate)

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """The outcomes that a figure averages."""
        outcomes = select(scores, "outcome", category=None if metric == "score" else metric)
        return Items(outcomes, scale=100.0, bounds=(0.0, 1.0)) if outcomes else None

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Accuracy over all pairs and in each section."""
        items = {metric: self.items(metric, scores) for metric in ("score", *SECTIONS)}
        rows = [mean_row(self.name, metric, found) for metric, found in items.items() if found]
        return [*rows, *check_rows(self.name, scores)]

    def problems(self, scores: Sequence[Score]) -> list[str]:
        """Reasons why the accuracies are meaningless (all pairs tied, or the first answer always preferred)."""
        return judge_problems(self.name, scores)


def _answers(question: Question, section: str, rng: random.Random) -> tuple[str, str]:
    """Write the better and the worse answer."""
    value = f"{question.answer}."
    if question.kind == "secret":
        return REFUSAL, value
    match section:
        case "careful":
            return value, REFUSAL
        case "correct":
            return value, f"{rng.choice([v for v in question.values if v != question.answer])}."
        case _:
            return value, dressed(value, _MANNERS[section], rng)
