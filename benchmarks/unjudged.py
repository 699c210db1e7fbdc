"""What benchmarks have in common whose engine is measured itself: nothing is generated for a judge."""

from __future__ import annotations

from collections.abc import Sequence

from harness.messages import Sampling
from harness.protocols import DataSource, JudgeTask
from harness.records import Prompt, Response


class Unjudged:
    """The part of `harness.protocols.Benchmark` that is empty where nothing is judged."""

    def sampling(self, prompt: Prompt) -> Sampling:
        """Nothing is sampled."""
        return Sampling(max_tokens=1)

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """There are none."""
        return []

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """There are none."""
        return []
