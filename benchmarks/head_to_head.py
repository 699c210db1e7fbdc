"""Two runs' answers judged against each other: the prompts of any judged benchmark, both orders, ties kept.

Against a third model, two checkpoints are compared by the difference of two win rates; judged directly, by one figure:
the candidate's share of the preference, averaged over both orders of presentation. A judge that follows the position
gives every prompt one half.

Deviations       a benchmark that rates answers one by one (MT-Bench) is judged with FastChat's pairwise prompts, turn
                 by turn, own prompts with ours; the others with their own prompts, each pair in both orders
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import SpecError, UsageError
from harness.gate.head_to_head import head_to_head_shares
from harness.gate.policy import HEAD_TO_HEAD
from harness.messages import Sampling
from harness.protocols import Benchmark, DataSource, Items, JudgeTask, NotAvailable, ScoreKind
from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.run.figures import mean_row, missing_reason, prompt_score, select
from harness.run.plan import compares, load_benchmark
from harness.store.run_directory import RunDirectory

_PAIRWISE, _OWN_PAIRWISE = "pairwise", "own:pairwise"


@dataclass(frozen=True)
class HeadToHead:
    """A benchmark's prompts, with another run's answers as the baseline.

    Parameters
    ----------
    inner : Benchmark
        The benchmark whose prompts are used.
    form : str
        The judge form: the benchmark's own where it compares two answers, else FastChat's pairwise one.
    baseline : Path or None
        The run whose answers are the baseline (option ``baseline``).
    """

    inner: Benchmark
    form: str = _PAIRWISE
    baseline: Path | None = None
    headlines: ClassVar[tuple[str, ...]] = ("head_to_head",)
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = {
        "preference": ScoreKind("preference", "share", (0.0, 1.0)),
        "length": ScoreKind("length", "characters"),
    }

    @classmethod
    def of_version(cls, version: str | None) -> HeadToHead:
        """Make it of "head_to_head:BENCHMARK"."""
        if not version:
            raise UsageError(
                "head_to_head needs a benchmark", "head_to_head:BENCHMARK, for example head_to_head:mt_bench"
            )
        inner = load_benchmark(version)
        if not inner.judge_forms:
            raise UsageError(f"head_to_head:{version}: {version} has no judge", "a benchmark with a judge")
        own = any(form.startswith("own:") for form in inner.judge_forms)
        return cls(inner, next(filter(compares, inner.judge_forms), _OWN_PAIRWISE if own else _PAIRWISE))

    def with_options(self, options: Mapping[str, Any]) -> HeadToHead:
        """Set the baseline's run directory.

        Raises
        ------
        SpecError
            An unknown option, or none.
        """
        unknown = sorted(set(options) - {"baseline"})
        if unknown:
            raise SpecError(f"head_to_head has no option {', '.join(unknown)}", "baseline: a run directory")
        return replace(self, baseline=Path(str(options["baseline"])))

    @property
    def name(self) -> str:
        """Name in tables: the benchmark's own."""
        return self.inner.name

    @property
    def version(self) -> str:
        """Version of the questions."""
        return self.inner.version

    @property
    def judge_forms(self) -> tuple[str, ...]:
        """The one form."""
        return (self.form,)

    def _run(self) -> RunDirectory:
        if self.baseline is None:
            raise UsageError(
                f"head_to_head:{self.name} needs the run it compares with",
                "the option baseline=DIR",
                f"--benchmark-option head_to_head:{self.name}.baseline=DIR",
            )
        return RunDirectory(self.baseline)

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """The prompts in the baseline's run.

        Raises
        ------
        UsageError
            No baseline is given, or its run does not include the benchmark.
        """
        run = self._run()
        run.header()
        found = [prompt for prompt in run.each_prompt() if prompt.benchmark == self.name]
        if not found:
            raise UsageError(f"{run.path} holds no prompts of {self.name}", "a run of the same benchmark")
        return found, []

    def sampling(self, prompt: Prompt) -> Sampling:
        """As in the benchmark."""
        return self.inner.sampling(prompt)

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """The answers in the baseline's run."""
        wanted = {prompt.id for prompt in prompts}
        return [
            answer.model_copy(update={"role": "baseline", "id": f"{answer.id}:baseline"})
            for answer in self._run().responses().values()
            if answer.role == "candidate" and answer.sample == 0 and answer.prompt_id in wanted
        ]

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """Both orders of every turn."""
        if baseline is None or not baseline.ok:
            return []
        return [
            JudgeTask(prompt, self.form, pair, turn=turn + 1, game=game + 1)
            for turn in range(len(prompt.turns))
            for game, pair in enumerate([(baseline, candidate), (candidate, baseline)])
        ]

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """The candidate's share on the prompt, and both lengths in characters."""
        found = head_to_head_shares(judgments)
        if prompt.id in found.shares:
            scores = [prompt_score(prompt, "preference", value=found.shares[prompt.id])]
        else:
            missing = missing_reason(candidate, baseline, needs_baseline=True)
            scores = [prompt_score(prompt, "preference", reason=next(iter(found.unscored), missing))]
        for response in (candidate, baseline):
            if response is not None and response.ok:
                length = float(sum(len(turn) for turn in response.turns))
                scores.append(prompt_score(prompt, "length", response.role, value=length))
        return scores

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say which shares (or lengths) a metric averages."""
        match metric:
            case "head_to_head":
                return Items(select(scores, "preference"), scale=100.0, bounds=(0.0, 1.0))
            case "avg_length":
                return Items(select(scores, "length", "candidate"))
            case "baseline_avg_length":
                return Items(select(scores, "length", "baseline"))
            case _:
                return None

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """The share with its interval (50: no difference), and the average lengths."""
        items = {metric: self.items(metric, scores) for metric in (HEAD_TO_HEAD, "avg_length", "baseline_avg_length")}
        return [mean_row(self.name, metric, found) for metric, found in items.items() if found and found.scores]
