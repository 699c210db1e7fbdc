"""demo_pairs: every held-out question, the answer compared with a fixed baseline's, in the form of AlpacaEval.

Paper            none: the demo's own; the form is AlpacaEval's (Dubois et al., arXiv 2404.04475)
Upstream         none: prompts and baseline follow from the seed in the version ("demo_pairs@3")
Published number none
Deviations       temperature 0.7, at most 40 tokens; no length control, because difficulties are published only for
                 AlpacaEval's own prompts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.alpaca_eval.benchmark import AlpacaEval
from harness.messages import Sampling
from harness.protocols import DataSource, NotAvailable
from harness.records import Prompt, Response, Score, SummaryRow
from harness.run.figures import mean_row
from training.demo.prompts import SAMPLED, baseline_answers, single_prompts
from training.demo.world import InWorld


@dataclass(frozen=True)
class DemoPairs(InWorld, AlpacaEval):
    """Comparisons with the baseline in one order."""

    name: str = "demo_pairs"
    difficulties_of: ClassVar[str | None] = None

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Make the prompts."""
        return single_prompts(self.world, self.name), []

    def sampling(self, prompt: Prompt) -> Sampling:
        """Sampled, to measure the policy's distribution and not only its mode."""
        return SAMPLED

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """Answers with the quality of the demonstrations."""
        return baseline_answers(self.world, prompts)

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Win rate and average length."""
        items = {metric: self.items(metric, scores) for metric in ("win_rate", "avg_length")}
        return [mean_row(self.name, metric, found) for metric, found in items.items() if found and found.scores]
