"""Rubrics: dimensions with a question, a scale and a weight, in a YAML file.

The idea of judging by stated principles and one dimension at a time is of SALMON [1]_, LongReward [2]_ and
CodeUltraFeedback [3]_; the shipped rubrics are our own.

References
----------
.. [1] Sun et al., "SALMON: Self-Alignment with Instructable Reward Models", arXiv 2310.05910.
.. [2] Zhang et al., "LongReward: Improving Long-context Large Language Models with AI Feedback", arXiv 2410.21252.
.. [3] Weyssow et al., "CodeUltraFeedback: An LLM-as-a-Judge Dataset for Aligning Large Language Models to Coding
   Preferences", arXiv 2403.09032.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from harness.errors import MissingDataError, SpecError, UnknownNameError
from harness.spec import Options, read_yaml, validated


class Dimension(Options):
    """One question of a rubric.

    Parameters
    ----------
    name : str
        Name in tables: the score is ``rubric_<name>``.
    question : str
        The question to the judge, where the top of the scale is the best grade.
    negated : str
        The question of the opposite principle, for `judges.steerability`; "" if there is none.
    scale : (float, float) or None
        Ends of its scale; by default the rubric's.
    weight : float
        Weight in the verdict.
    needs_reference : bool
        Whether it cannot be asked without a reference.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    question: str = Field(min_length=1)
    negated: str = ""
    scale: tuple[float, float] | None = Field(default=None, strict=False)
    weight: float = Field(default=1.0, gt=0, strict=False)
    needs_reference: bool = False

    @field_validator("scale")
    @classmethod
    def _upwards(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return upwards(value)


class Rubric(Options):
    """Dimensions and how they are asked.

    Parameters
    ----------
    name : str
        Name in tables.
    dimensions : tuple of Dimension
        The dimensions.
    scale : (float, float)
        Ends of the verdict's scale, and of dimensions without one.
    ask : {"each", "together"}
        One request per dimension, or one for all.
    own_answer : bool
        Whether the judge first writes an answer of its own, which it then sees.
    """

    name: str = Field(min_length=1)
    dimensions: tuple[Dimension, ...] = Field(min_length=1, strict=False)
    scale: tuple[float, float] = Field(default=(1.0, 5.0), strict=False)
    ask: Literal["each", "together"] = "each"
    own_answer: bool = False

    @field_validator("scale")
    @classmethod
    def _upwards(cls, value: tuple[float, float]) -> tuple[float, float]:
        return upwards(value) or value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [dimension.name for dimension in self.dimensions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"dimension named twice: {', '.join(twice)}")
        return self

    def scale_of(self, dimension: Dimension) -> tuple[float, float]:
        """Return the scale of a dimension."""
        return dimension.scale or self.scale

    def combined(self, grades: Mapping[str, float]) -> float:
        """Return the weighted mean of all dimensions' grades, each as a share of its scale, on the rubric's scale."""
        weighted = 0.0
        for dimension in self.dimensions:
            low, high = self.scale_of(dimension)
            weighted += dimension.weight * (grades[dimension.name] - low) / (high - low)
        share = weighted / sum(dimension.weight for dimension in self.dimensions)
        low, high = self.scale
        return min(max(low + share * (high - low), low), high)  # rounding can leave the scale by 1e-16

    def negated(self, name: str) -> Rubric:
        """Return the rubric with the opposite of one principle only.

        Raises
        ------
        UnknownNameError, SpecError
            There is no such dimension, or its opposite is not given.
        """
        (dimension,) = self.alone(name).dimensions
        if not dimension.negated:
            raise SpecError(f"dimension {name} of the rubric {self.name} has no `negated` principle")
        opposite = dimension.model_copy(update={"question": dimension.negated, "negated": dimension.question})
        return self.model_copy(update={"dimensions": (opposite,)})

    def alone(self, name: str) -> Rubric:
        """Return the rubric with one dimension only.

        Raises
        ------
        UnknownNameError
            There is no such dimension.
        """
        found = tuple(d for d in self.dimensions if d.name == name)
        if not found:
            raise UnknownNameError("dimension", name, [d.name for d in self.dimensions], "name one of these")
        return self.model_copy(update={"dimensions": found})


def upwards(value: tuple[float, float] | None) -> tuple[float, float] | None:
    """Check that a scale goes from low to high."""
    if value is not None and not value[0] < value[1]:
        raise ValueError(f"the scale goes from {value[0]:g} to {value[1]:g}, but the first end must be the lower one")
    return value


def shipped_rubrics() -> list[str]:
    """Return the names of the rubrics that come with the package."""
    return sorted(f.name.removesuffix(".yaml") for f in _folder().iterdir() if f.name.endswith(".yaml"))


def load_rubric(name: str) -> Rubric:
    """Return a shipped rubric, or one from a YAML file.

    Raises
    ------
    UnknownNameError
        There is neither.
    MissingDataError, SpecError
        The file cannot be read, or a field is wrong.
    """
    if name in shipped_rubrics():
        text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        return validated(Rubric, yaml.safe_load(text), f"the rubric {name}")
    if Path(name).suffix not in (".yaml", ".yml"):
        raise UnknownNameError("rubric", name, shipped_rubrics(), "name one of these, or a .yaml file")
    return validated(Rubric, read_yaml(Path(name)), name)


def question_text() -> str:
    """Return the template in which dimensions are asked."""
    try:
        return str((_folder() / "prompt.txt").read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingDataError(f"the rubric prompt is missing: {error}", remedy="reinstall assay") from error


def _folder() -> Any:
    return resources.files("judges") / "rubrics"
