"""demo_mt: dialogues of two turns about a made-up world, each turn rated 1 to 10, in the form of MT-Bench.

Paper            none: the demo's own; the form is MT-Bench's (Zheng et al., arXiv 2306.05685)
Upstream         none: the prompts follow from the seed in the version ("demo_mt@3")
Published number none
Deviations       temperature 0.7 throughout, at most 40 tokens
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.mt_bench.benchmark import MTBench
from harness.messages import Sampling
from harness.protocols import DataSource, NotAvailable
from harness.records import Prompt
from training.demo.prompts import SAMPLED, dialogues
from training.demo.world import InWorld

_N_DIALOGUES = 80


@dataclass(frozen=True)
class DemoMT(InWorld, MTBench):
    """Ratings of two turns."""

    name: str = "demo_mt"

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Make the dialogues."""
        return dialogues(self.world, self.name, _N_DIALOGUES), []

    def sampling(self, prompt: Prompt) -> Sampling:
        """Sampled, to measure the policy's distribution and not only its mode."""
        return SAMPLED
