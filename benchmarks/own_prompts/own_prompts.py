"""`prompts:NAME`: prompts from the user's files, or one of the sets that come with assay.

Answers are rated (`form: rating` or `rubric`), compared with a baseline's in both orders (`pairwise`, `five_way`), or
measured against references without a judge (`metric`). Of several turns each is judged, and the last is measured.

Identity         the prompts, by content: `Prompt.key` is the row's id or the hash of its text, and run.json holds the
                 hash of all (`prompts_hash`); where the file lies, and other prompts in it, do not matter
Decisive labels  A>>B and B>>A of `five_way` count three times, as in Arena-Hard
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.equal_length import compare_controlled, controlled_ratings, controlled_win_rate
from benchmarks.own_prompts.answer_metrics import PYTHON, PythonMetric, best, checked_pattern
from benchmarks.own_prompts.baseline_answers import baseline_answers
from benchmarks.own_prompts.own_options import OwnOptions
from benchmarks.own_prompts.prompt_rows import VERSION, read_prompts
from harness import registry
from harness.data.file_rows import Row, each_row
from harness.data.row_sources import source_rows
from harness.errors import DataError, MissingDataError, SpecError, UsageError
from harness.hashing import content_hash, file_sha256
from harness.messages import Sampling
from harness.protocols import DataSource, FittedComparison, GradedForm, Items, JudgeTask, NotAvailable, ScoreKind
from harness.records import Judgment, Preference, Prompt, Rating, Response, Score, SummaryRow
from harness.run.figures import (
    missing_reason,
    prompt_score,
    reason_row,
    select,
    verdict_of,
    verdict_score,
    weighted_row,
)
from harness.spec import validated

_DECISIVE_WEIGHT = 3.0
_SEED = 20251114  # of the bootstraps; fixed, so that the same verdicts always give the same figures
_SHOWN = 5
_MAX_TOKENS = 2048


@dataclass(frozen=True)
class OwnPrompts:
    """One set of prompts.

    Parameters
    ----------
    task : str
        Its name.
    options : OwnOptions
        The files, and how answers are judged or measured.
    """

    task: str
    options: OwnOptions = field(default_factory=OwnOptions)
    version: ClassVar[str] = VERSION

    @classmethod
    def of_version(cls, version: str | None) -> OwnPrompts:
        """Make it of "prompts:NAME".

        Raises
        ------
        UsageError
            No name is given, or one with other characters than letters, digits, dots, hyphens and underscores.
        """
        if version and not re.fullmatch(r"[\w.-]+", version):
            raise UsageError(f"the prompts' name {version!r}", "letters, digits, dots, hyphens and underscores")
        if not version:
            raise UsageError(
                "prompts needs a name",
                f"--prompts FILE, or a set that comes with assay: {', '.join(f'prompts:{n}' for n in shipped_sets())}",
            )
        return cls(version)

    def with_options(self, options: Mapping[str, Any]) -> OwnPrompts:
        """Set the files, the form or the metric.

        Raises
        ------
        SpecError
            An option is unknown or contradicts another.
        """
        return replace(self, options=validated(OwnOptions, options, self.name))

    @property
    def name(self) -> str:
        """Name in tables and on the command line."""
        return f"prompts:{self.task}"

    @property
    def _figure(self) -> str:
        """The first figure."""
        match self.options.kind:
            case "rating":
                return "score"
            case "pair":
                return "win_rate"
            case "metric":
                return self._metric_name

    @property
    def _score(self) -> str:
        """The score the first figure averages."""
        return {"rating": "rating", "pair": "preference"}.get(self.options.kind, self._figure)

    @property
    def _metric_name(self) -> str:
        return (self.options.metric or "").rpartition(":")[2]

    @property
    def _scale(self) -> tuple[float, float] | None:
        """Ends of the scale of the first figure's scores; None if unknown."""
        if self.options.kind == "pair":
            return (0.0, 1.0)
        if self.options.kind == "metric" and not (self.options.metric or "").startswith(PYTHON):
            return (0.0, 1.0)
        return self.options.scale

    @property
    def judge_forms(self) -> tuple[str, ...]:
        """The form, if answers are judged."""
        return () if self.options.kind == "metric" else (self.options.form_reference,)

    @property
    def headlines(self) -> tuple[str, ...]:
        """The first figure, and the one at equal length."""
        return (self._figure, *self.controlled)

    @property
    def controlled(self) -> Mapping[str, str]:
        """The figure at equal length."""
        return {} if self.options.kind == "metric" else {f"length_controlled_{self._figure}": self._figure}

    @property
    def score_kinds(self) -> Mapping[str, ScoreKind]:
        """The rating, preference or outcome; the length; the dimensions of a rubric."""
        first = {
            "rating": ScoreKind("rating", "points", self._scale),
            "pair": ScoreKind("preference", "share", (0.0, 1.0)),
            "metric": ScoreKind("outcome", "share" if self._scale == (0.0, 1.0) else "", self._scale),
        }[self.options.kind]
        rubric = {
            f"rubric_{name}": ScoreKind("measurement", "points", scale)
            for name, scale in self.options.dimensions.items()
        }
        return {self._score: first, "length": ScoreKind("length", "characters"), **rubric}

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Read the prompts.

        Raises
        ------
        MissingDataError, FileFormatError
            A file cannot be read, or a row is no prompt.
        DataError
            There is no prompt, or a prompt lacks the references the metric or the judge needs.
        SpecError
            The python metric cannot be imported.
        """
        self._check_form()
        found = list(read_prompts(self._rows(), self.name, self.options.columns))
        if not found:
            raise DataError(f"{self._source} holds no prompts", "at least one row")
        self._check_references(found)
        return found, []

    @property
    def _source(self) -> str:
        return self.options.files.prompts or self.name

    def _rows(self) -> Sequence[Row] | Any:
        source = self.options.files.prompts
        if source is not None:
            if not (source.startswith("hub:") or Path(source).exists() or Path(source.partition("?")[0]).is_dir()):
                raise MissingDataError(
                    f"no such file: {source}",
                    "a file or directory of prompts, or hub:OWNER/NAME",
                    "check the path; a finished run is scored, compared and reported without its files",
                )
            return source_rows(source.removeprefix("hub:"))
        if self.task not in shipped_sets():
            raise UsageError(
                f"{self.name}: no file is given, and no set of that name comes with assay",
                ", ".join(f"prompts:{name}" for name in shipped_sets()),
                "give the file: --prompts FILE",
            )
        with resources.as_file(_sets() / f"{self.task}.jsonl") as path:
            return list(each_row(path))

    def _check_form(self) -> None:
        """Check that the judge prompt gives verdicts of the kind the form says."""
        if self.options.kind == "metric":
            _ = self._python  # imported, so that what is wrong with it is said first
            return
        form = registry.judge_form(self.options.form_reference)
        if (form.n_answers == 2) != (self.options.kind == "pair"):
            raise SpecError(
                f"{self.name}: {self.options.files.judge_prompt or self.options.form_reference} gives a "
                f"{form.verdict}, and the form is {self.options.chosen_form}",
                "a judge prompt whose verdict fits the form",
                f"--judge-form {'pairwise' if form.n_answers == 2 else 'rating'}",
            )
        if self.options.kind == "pair" and self.options.files.baseline is None:
            raise SpecError(
                f"{self.name}: {self.options.chosen_form} compares answers, and there is no baseline",
                "a file of answers or a run directory",
                "give --baseline FILE or --baseline RUN_DIR, or --judge-form rating",
            )

    def _check_references(self, prompts: Sequence[Prompt]) -> None:
        metric = self.options.metric
        if metric is None:
            wrong = [p.key for p in prompts if p.reference is not None and len(p.reference) != len(p.turns)]
            if wrong:
                raise DataError(
                    f"{self._source}: {len(wrong)} prompts do not have as many references as turns: {_some(wrong)}",
                    "one reference for each turn when a judge sees them",
                )
        elif not metric.startswith(PYTHON):
            self._check_measurable(metric, prompts)

    def _check_measurable(self, metric: str, prompts: Sequence[Prompt]) -> None:
        lacking = [p.key for p in prompts if p.reference is None]
        if lacking:
            raise DataError(
                f"{self._source}: {len(lacking)} of {len(prompts)} prompts have no reference, which the metric "
                f"{metric} compares answers with: {_some(lacking)}",
                "a reference in every row",
                "add them (--columns reference=COLUMN names another column), or use a judge: --judge KIND:MODEL",
            )
        patterns = [(p.key, pattern) for p in prompts for pattern in p.reference or ()] if metric == "regex" else []
        for key, pattern in patterns:
            if fault := checked_pattern(pattern):
                raise DataError(
                    f"{self._source}: reference {pattern!r:.60} of {key!r}: {fault}", "a regular expression"
                )

    def sampling(self, prompt: Prompt) -> Sampling:
        """Greedy, at most 2,048 tokens."""
        return Sampling(temperature=0.0, max_tokens=_MAX_TOKENS)

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """The baseline's answers; errors as of `benchmarks.own_prompts.baseline_answers.baseline_answers`."""
        source = self.options.files.baseline
        return [] if source is None else baseline_answers(source, prompts)

    def pinned(self, prompts: Sequence[Prompt], baselines: Sequence[Response]) -> dict[str, Any]:
        """Return the options with what only the files tell: scale and dimensions of the form, a hash of the content."""
        options = self.options
        found: dict[str, Any] = {"files": options.files.absolute()}
        if options.kind == "rating":
            form: Any = registry.judge_form(options.form_reference)
            if isinstance(form, GradedForm):
                found |= {"scale": list(form.scale), "dimensions": {n: list(s) for n, s in form.dimensions.items()}}
        judge_prompt = options.files.judge_prompt
        found["content"] = content_hash(
            "own prompts",
            sorted(prompt.to_line() for prompt in prompts),
            sorted([answer.prompt_id, list(answer.turns), answer.error] for answer in baselines),
            file_sha256(Path(judge_prompt)) if judge_prompt else "",
        )
        given = options.model_dump(mode="json", exclude_defaults=True)
        return {name: value for name, value in (given | found).items() if value}

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """Each turn rated, or each turn compared in both orders."""
        turns = range(1, len(prompt.turns) + 1)
        form = self.options.form_reference
        match self.options.kind:
            case "rating":
                return [JudgeTask(prompt, form, (candidate,), turn=turn) for turn in turns]
            case "pair" if baseline is not None and baseline.ok:
                orders = ((baseline, candidate), (candidate, baseline))
                return [
                    JudgeTask(prompt, form, pair, turn, game) for turn in turns for game, pair in enumerate(orders, 1)
                ]
            case _:
                return []

    def annotate(self, prompt: Prompt, response: Response) -> dict[str, Any] | None:
        """Measure an answer with the python metric; None if there is none, or it has been measured by the same code."""
        metric = self._python
        kept = response.meta.get("metric") or {}
        if metric is None or not response.ok or kept.get("code") == metric.code:
            return None
        return {"metric": metric.measure(prompt.turns[-1], response.turns[-1], prompt.reference)}

    @cached_property
    def _python(self) -> PythonMetric | None:
        reference = self.options.metric or ""
        return PythonMetric.load(reference) if reference.startswith(PYTHON) else None

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """The verdicts or the figure of the metric, and the lengths in characters."""
        match self.options.kind:
            case "rating":
                scores = self._ratings(prompt, candidate, judgments)
            case "pair":
                scores = _preferences(prompt, candidate, baseline, judgments)
            case "metric":
                scores = [self._measured(prompt, candidate), *_lengths(prompt, candidate)]
        weight = float(prompt.meta.get("weight", 1.0))
        return scores if weight == 1.0 else [replace(s, weight=weight * s.weight) for s in scores]

    def _ratings(self, prompt: Prompt, candidate: Response, judgments: Sequence[Judgment]) -> list[Score]:
        missing = missing_reason(candidate, None, needs_baseline=False)
        scores = []
        for turn in range(1, len(prompt.turns) + 1):
            part, found = f"turn_{turn}", verdict_of(judgments, turn, 1)
            rating = verdict_score(prompt, "rating", found, missing, part=part, expected=Rating)
            scores.append(rating)
            grades = (found.meta.get("rubric") or {}) if found is not None else {}
            for name in self.options.dimensions:
                reason = rating.reason or "missing: the dimension was not graded"
                value = grades.get(name)
                kept = {"value": float(value)} if value is not None else {"reason": reason}
                scores.append(prompt_score(prompt, f"rubric_{name}", part, **kept))
            if candidate.ok:
                scores.append(prompt_score(prompt, "length", part, value=float(len(candidate.turns[turn - 1]))))
        return scores

    def _measured(self, prompt: Prompt, candidate: Response) -> Score:
        metric = self.options.metric or ""
        if not candidate.ok:
            return prompt_score(prompt, self._score, reason=missing_reason(candidate, None, needs_baseline=False))
        if not metric.startswith(PYTHON):
            return prompt_score(prompt, self._score, value=best(metric, candidate.turns[-1], prompt.reference or ("",)))
        kept = candidate.meta.get("metric") or {}
        if "error" in kept:
            return prompt_score(prompt, self._score, reason=f"metric_failed: {kept['error']}")
        if "value" not in kept:
            return prompt_score(prompt, self._score, reason="missing: not measured; `assay resume` does it")
        scale, value = self._scale, float(kept["value"])
        if scale is not None and not scale[0] <= value <= scale[1]:
            return prompt_score(
                prompt, self._score, reason=f"out_of_scale: {value:g}, scale {scale[0]:g} to {scale[1]:g}"
            )
        return prompt_score(prompt, self._score, value=value)

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say which scores a metric averages: all of a name, or those of a turn or category ("win_rate_CATEGORY")."""
        if metric == "avg_length":
            part = None if self.options.kind == "rating" else "candidate"
            return Items(select(scores, "length", part))
        if metric.removeprefix("rubric_") in self.options.dimensions:
            return Items(select(scores, metric), bounds=self.options.dimensions[metric.removeprefix("rubric_")])
        if f"{metric}_".startswith(f"{self._figure}_"):
            return self._figure_items(metric.removeprefix(self._figure).removeprefix("_"), select(scores, self._score))
        return None

    def _figure_items(self, group: str, scores: Sequence[Score]) -> Items | None:
        """The scores of the first figure: of a turn or category, or all for ""."""
        found = [s for s in scores if not group or group in (s.category, s.part)]
        percent = self.options.kind != "rating" and self._scale == (0.0, 1.0)
        return Items(found, 100.0 if percent else 1.0, self._scale) if found else None

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """The first figure over all, by turn and by category; the same at equal length; the average length."""
        figure, groups = self._figure, self._groups(select(scores, self._score))
        rubric = [f"rubric_{name}" for name in self.options.dimensions]
        metrics = [figure, *(f"{figure}_{group}" for group in groups), *rubric, "avg_length"]
        items = {metric: self.items(metric, scores) for metric in metrics}
        rows = [weighted_row(self.name, metric, found) for metric, found in items.items() if found and found.scores]
        if self.options.kind == "pair":
            rows.insert(1, controlled_win_rate(self.name, f"length_controlled_{figure}", scores, _SEED))
        if self.options.kind == "rating":
            alone = "length is held equal between models: `assay leaderboard` gives it for the models it compares"
            rows.append(reason_row(self.name, f"length_controlled_{figure}", alone))
        return rows

    def _groups(self, scores: Sequence[Score]) -> list[str]:
        """The turns, if there are several, and the categories by which the first figure is given."""
        turns = sorted({s.part for s in scores}) if self.options.kind == "rating" else []
        return [*(turns if len(turns) > 1 else ()), *dict.fromkeys(s.category for s in scores if s.category)]

    def panel(self, scores: Mapping[str, Sequence[Score]]) -> dict[str, SummaryRow]:
        """Rate several models as if their answers were equally long; empty where answers are not rated."""
        if self.options.kind != "rating" or self._scale is None:
            return {}
        return controlled_ratings(self.name, f"length_controlled_{self._figure}", scores, (self._scale, _SEED))

    def compare_fitted(
        self,
        metric: str,
        scores: tuple[Sequence[Score], Sequence[Score]],
        data: DataSource,
        rng: np.random.Generator,
        level: float,
    ) -> FittedComparison | None:
        """Compare two runs' win rates at equal length."""
        if self.options.kind != "pair" or metric not in self.controlled:
            return None
        return compare_controlled(scores, rng, level)


def _preferences(
    prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
) -> list[Score]:
    """One share a turn and order, a decisive label three times; both lengths."""
    missing = missing_reason(candidate, baseline, needs_baseline=True)
    scores = []
    for turn in range(1, len(prompt.turns) + 1):
        for game in (1, 2):
            found = verdict_of(judgments, turn, game)
            score = verdict_score(prompt, "preference", found, missing, part=f"turn_{turn}_game_{game}")
            decisive = found is not None and isinstance(found.verdict, Preference) and ">>" in found.verdict.label
            scores.append(replace(score, weight=_DECISIVE_WEIGHT) if decisive else score)
    return [*scores, *_lengths(prompt, candidate), *_lengths(prompt, baseline)]


def _lengths(prompt: Prompt, response: Response | None) -> list[Score]:
    """Length of all turns in characters, if there is an answer."""
    if response is None or not response.ok:
        return []
    return [prompt_score(prompt, "length", response.role, value=float(sum(map(len, response.turns))))]


def _some(keys: Sequence[str]) -> str:
    return ", ".join(map(repr, keys[:_SHOWN])) + (", ..." if len(keys) > _SHOWN else "")


def shipped_sets() -> list[str]:
    """Return the names of the prompt sets that come with assay."""
    return sorted(f.name.removesuffix(".jsonl") for f in _sets().iterdir() if f.name.endswith(".jsonl"))


def _sets() -> Any:
    return resources.files("benchmarks.own_prompts") / "sets"
