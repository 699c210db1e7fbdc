"""The options of own prompts: where the rows are, and how answers to them are judged or measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmarks.own_prompts.answer_metrics import PYTHON, checked_metric
from benchmarks.own_prompts.prompt_rows import chosen_columns
from harness.run.plan import compares
from harness.spec import Options

_FORMS = ("rating", "pairwise", "five_way")
Kind = Literal["rating", "pair", "metric"]


class OwnFiles(Options):
    """The files behind own prompts; only their content counts, not where they lie.

    Parameters
    ----------
    prompts : str or None
        Rows of prompts: a file, a directory, or ``hub:OWNER/NAME?split=SPLIT``; None for a set that comes with assay.
    baseline : str or None
        Answers to compare with: a file or a run directory.
    judge_prompt : str or None
        A judge form, or with the form "rubric" a rubric.
    """

    prompts: str | None = None
    baseline: str | None = None
    judge_prompt: str | None = None

    def absolute(self) -> dict[str, str]:
        """Return the files with full paths."""
        return {name: _absolute(place) for name, place in self.model_dump(exclude_none=True).items()}


def _absolute(source: str) -> str:
    """Return a source of rows with its full path; one that is no path as it is."""
    path, mark, options = (source, "", "") if Path(source).exists() else source.partition("?")
    return f"{Path(path).resolve()}{mark}{options}" if Path(path).exists() else source


class OwnOptions(Options):
    """The options of ``prompts:NAME``.

    Parameters
    ----------
    files : OwnFiles
        Where the prompts, the baseline and the judge's prompt are.
    form : str or None
        "rating", "pairwise", "five_way", "rubric" or "rubric:NAME", or the name of another judge form. By default
        "pairwise" with a baseline and "rating" without.
    scale : (float, float) or None
        Ends of the scale of a rating, or of the figures of a python metric.
    metric : str or None
        The figure without a judge (`benchmarks.own_prompts.answer_metrics`).
    columns : mapping of str to str
        Column of a field, where it does not have the field's name.
    dimensions : mapping of str to (float, float)
        The dimensions of the rubric with their scales; a run fills it in.
    content : str or None
        Hash of the prompts, baseline answers and judge prompt; a run fills it in.
    """

    files: OwnFiles = OwnFiles()
    form: str | None = None
    scale: tuple[float, float] | None = Field(default=None, strict=False)
    metric: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    dimensions: dict[str, Annotated[tuple[float, float], Field(strict=False)]] = Field(default_factory=dict)
    content: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        needs_judge = {
            "a form": self.form,
            "a judge prompt": self.files.judge_prompt,
            "a baseline": self.files.baseline,
        }
        given = next((what for what, value in needs_judge.items() if value), None)
        if self.metric is not None and given is not None:
            raise ValueError(f"metric measures answers without a judge, and {given} needs one; give one of them")
        if self.kind != "pair" and self.files.baseline is not None:
            raise ValueError(f"baseline: the form {self.form} does not compare answers; use pairwise or five_way")
        self._check_scale()
        chosen_columns(self.columns)
        if self.metric is not None:
            checked_metric(self.metric)
        return self

    def _check_scale(self) -> None:
        if self.scale is None:
            return
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale: {self.scale[0]:g} is not below {self.scale[1]:g}")
        if self.kind != "rating" and not (self.metric or "").startswith(PYTHON):
            raise ValueError("scale: only a rating or a python metric has a scale")

    @property
    def kind(self) -> Kind:
        """Whether answers are rated, compared, or measured without a judge."""
        if self.metric is not None:
            return "metric"
        if self.chosen_form in _FORMS or self.chosen_form.partition(":")[0] == "rubric":
            return "pair" if self.chosen_form in ("pairwise", "five_way") else "rating"
        return "pair" if compares(self.chosen_form) else "rating"

    @property
    def chosen_form(self) -> str:
        """The form, or the default one."""
        return self.form or ("pairwise" if self.files.baseline is not None else "rating")

    @property
    def form_reference(self) -> str:
        """The name that `harness.registry` knows the judge form by."""
        scale = f"[{self.scale[0]:g}..{self.scale[1]:g}]" if self.scale is not None else ""
        name, _, argument = self.chosen_form.partition(":")
        file = self.files.judge_prompt
        if name == "rubric":
            return f"rubric:{file or argument or 'helpful-harmless'}"
        if file is not None:
            return f"own:{file}{scale}"
        return f"own:{name}{scale}" if self.chosen_form in _FORMS else self.chosen_form
