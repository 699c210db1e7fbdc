"""Runs cut to the first prompts of the random order, so that a look sees what a run that stopped there would hold."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.gate.opened_runs import OpenedRuns
from harness.gate.policy import Policy
from harness.protocols import DataSource
from harness.records import Prompt, Response, Score
from harness.run.stored_run import StoredRun


@dataclass(frozen=True)
class PrefixRun(StoredRun):
    """A run without the prompts that a look does not see.

    Parameters
    ----------
    whole : StoredRun
        The run.
    asked : set of str
        Ids of the prompts it sees.
    data : DataSource
        Upstream files that figures of the prefix may need.
    """

    whole: StoredRun
    asked: AbstractSet[str]
    data: DataSource

    @cached_property
    def scores(self) -> list[Score]:
        """Scores of the prompts it sees."""
        return [s for s in self.whole.scores if s.prompt_id in self.asked]

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """The prompts it sees."""
        return {key: prompt for key, prompt in self.whole.prompts.items() if key in self.asked}

    @cached_property
    def responses(self) -> list[Response]:
        """Answers to the prompts it sees."""
        return [r for r in self.whole.responses if r.prompt_id in self.asked]

    @cached_property
    def judges(self) -> dict[str, set[str]]:
        """Judge ids by benchmark."""
        return self.whole.judges

    @cached_property
    def header(self) -> dict[str, Any]:
        """Content of run.json."""
        return self.whole.header

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Figures of the prompts it sees, computed anew."""
        rows = []
        for entry in self.header.get("benchmarks", ()):
            name = str(entry["name"])
            rows += self.benchmark(name).summarize(self.scores_of(name), self.data)
        return {"rows": [row.model_dump(mode="json") for row in rows]}

    @property
    def stopped_seed(self) -> int | None:
        """None: the looks take care of the stop."""
        return None

    def cheap_scores(self, benchmark: str) -> list[Score]:
        """Return the cheap judge's scores of the prompts it sees."""
        return [s for s in self.whole.cheap_scores(benchmark) if s.prompt_id in self.asked]

    def metrics(self, benchmark: str) -> list[str]:
        """Return the metrics of the whole run."""
        return self.whole.metrics(benchmark)


def on_prompts(runs: OpenedRuns, asked: AbstractSet[str], policy: Policy) -> OpenedRuns:
    """Cut all runs to some prompts, for a test under another policy (of another alpha)."""
    data = runs.comparison.data
    cut = [
        None if run is None else PrefixRun(run.directory, run, asked, data)
        for run in (runs.candidate, runs.against, runs.direct)
    ]
    assert cut[0] is not None, "there is always a candidate"
    return replace(runs, policy=policy, candidate=cut[0], against=cut[1], direct=cut[2], test=None)
