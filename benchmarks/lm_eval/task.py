"""A task of lm-eval, measured on the loaded engine or imported: accuracies in percent, clustered by document.

Upstream         EleutherAI/lm-evaluation-harness 0.4.13, MIT; each task's own paper and licence are in its task folder
Deviations       accuracies in percent; the standard error over documents is lm-eval's, the interval stays on the scale;
                 code the model wrote runs in a sandbox; `docs/design/031-academic-suites.md` has the rest
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.lm_eval.task_figures import SCORE_KINDS, metric_items, scores_of, summary_rows
from benchmarks.lm_eval.task_options import TaskOptions
from benchmarks.unjudged import Unjudged
from harness.errors import UsageError
from harness.messages import Sampling
from harness.protocols import DataSource, Items, MeasureContext, NotAvailable, ScoreKind
from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.spec import validated

if TYPE_CHECKING:
    from benchmarks.lm_eval.task_loading import LoadedTask


@dataclass(frozen=True)
class LMEvalTask(Unjudged):
    """One task or group of tasks, named as lm-eval names it.

    Parameters
    ----------
    name : str
        lm-eval's name.
    options : TaskOptions
        Changes to the task's own settings.
    """

    name: str
    options: TaskOptions = field(default_factory=TaskOptions)
    judge_forms: tuple[str, ...] = ()
    headlines: ClassVar[tuple[str, ...]] = ("exact_match", "acc_norm", "acc", "pass@1")
    score_kinds: ClassVar[Mapping[str, ScoreKind]] = SCORE_KINDS
    _loaded: list[LoadedTask] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def of_version(cls, task: str | None) -> LMEvalTask:
        """Make the task of "lm_eval:TASK"."""
        if not task:
            raise UsageError("lm_eval needs a task", "lm_eval:TASK, for example lm_eval:gsm8k")
        return cls(task)

    def with_options(self, options: Mapping[str, Any]) -> LMEvalTask:
        """Return the task with these options (`TaskOptions`).

        Raises
        ------
        SpecError
            An option is unknown, or its value is wrong.
        """
        given = {**self.options.model_dump(exclude_unset=True), **options}
        return replace(self, options=validated(TaskOptions, given, f"options of {self.name}"), _loaded=[])

    @property
    def version(self) -> str:
        """The task's version and what else makes its prompts comparable, once its definition has been read."""
        return self._loaded[0].version if self._loaded else "lm_eval"

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """All documents, except those that are used as examples because a split is missing.

        Raises
        ------
        UnknownNameError
            lm-eval has no such task.
        DataError
            Its documents are unavailable, or lack a field.
        UsageError
            It needs a package that is not installed, or cannot be measured here.
        """
        from benchmarks.lm_eval.measure import prompts_of
        from benchmarks.lm_eval.task_loading import load_task

        loaded = load_task(self.name, self.options, data)
        self._loaded[:] = [loaded]
        left_out = [
            NotAvailable(
                "examples",
                count,
                f"the data directory has no {split} split, so the last {count} test documents are the examples",
            )
            for served in loaded.served
            for split, count in served.held_out.items()
        ]
        return prompts_of(loaded, self.name), left_out

    def sampling(self, prompt: Prompt) -> Sampling:
        """The most tokens a document takes; none if answers are scored, not generated."""
        return Sampling(max_tokens=int(prompt.meta.get("max_tokens", 0)))

    def measure(self, prompts: Sequence[Prompt], context: MeasureContext) -> Iterator[Response]:
        """Measure documents on the engine.

        Raises
        ------
        UsageError, ModelError
            See `benchmarks.lm_eval.measure.measure_task`.
        """
        from benchmarks.lm_eval.measure import measure_task

        (loaded,) = self._loaded
        if context.max_tokens is not None:
            loaded.limit_tokens(context.max_tokens)
        yield from measure_task(loaded, self.options, prompts, context)

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """The document's value of each metric, and what calibration needs."""
        return scores_of(prompt, candidate)

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say which values a metric averages."""
        return metric_items(self.name, metric, scores)

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Every metric, and the model's calibration if questions have one right choice."""
        return summary_rows(self.name, scores)
