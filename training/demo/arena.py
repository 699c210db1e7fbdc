"""demo_arena: a hundred held-out questions, five verdicts, two games, in the form of Arena-Hard.

Paper            none: the demo's own; the form is Arena-Hard's (Li et al., arXiv 2406.11939)
Upstream         none: prompts and baseline follow from the seed in the version ("demo_arena@3")
Published number none
Deviations       at most 40 tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks.arena_hard.benchmark import ArenaHard
from harness.messages import Sampling
from harness.protocols import DataSource, NotAvailable
from harness.records import Prompt, Response
from training.demo.prompts import BASELINE, GREEDY, baseline_answers, single_prompts
from training.demo.world import World

_N_PROMPTS = 100


@dataclass(frozen=True)
class DemoArena(ArenaHard):
    """Comparisons with the baseline in both orders, greedy answers."""

    world: World = field(default_factory=lambda: World(0))

    @classmethod
    def of_version(cls, version: str | None) -> DemoArena:
        """Make the benchmark of a world ("SEED" or "SEED-PEOPLE")."""
        world = World.of_version(version)
        of_v01 = ArenaHard.of_version("v0.1").parts[0]
        part = replace(of_v01, category="demo", baseline_model=BASELINE, baseline_file="", n_prompts=_N_PROMPTS)
        return cls("demo_arena", world.version, "five_way", (part,), world)

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Make the prompts."""
        return single_prompts(self.world, self.name, _N_PROMPTS), []

    def sampling(self, prompt: Prompt) -> Sampling:
        """Greedy, as Arena-Hard."""
        return GREEDY

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """Answers with the quality of the demonstrations."""
        return baseline_answers(self.world, prompts)
