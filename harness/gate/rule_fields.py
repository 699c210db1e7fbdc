"""The fields that rules of all kinds share, and margins."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Better = Literal["higher", "lower", "neither"]
OnUndecided = Literal["undecided", "fail", "pass"]
Tier = Literal["critical", "supporting", "advisory"]
Categories = Literal["each", "worst"]
Labels = Literal["human"]


class FrozenModel(BaseModel):
    """A part of a policy: frozen, without unknown fields.

    The hashes of old decisions are made from a policy's fields, so fields that came later are written only if they are
    set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    written_if_set: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out of the serialised policy while they have their default."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        unset = {name for name in self.written_if_set if getattr(self, name) == fields[name].default}
        return {name: value for name, value in handler(self).items() if name not in unset}


class Margin(FrozenModel):
    """The gain a metric must exceed, or the loss it may have.

    Parameters
    ----------
    value : float
        In the metric's unit, or a share of the baseline's value if `relative`.
    relative : bool
        Whether it is a share of the baseline's value.
    """

    value: float = Field(ge=0.0)
    relative: bool = False

    def __str__(self) -> str:
        return f"{100 * self.value:g} %" if self.relative else f"{self.value:g}"


def _read_margin(given: Any) -> Any:
    """Parse a margin: 1.0 is in the metric's unit, "20%" is a share of the baseline's value."""
    if isinstance(given, Margin):
        return given
    if isinstance(given, str) and given.strip().endswith("%"):
        number, relative = given.strip()[:-1].strip(), True
    else:
        number, relative = given, False
    try:
        value = float(number)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(given, bool) or not math.isfinite(value) or value < 0.0:
        raise ValueError("a margin is a number in the metric's unit (1.0), or a share of the baseline's value (20%)")
    return {"value": value / 100.0 if relative else value, "relative": relative}


ReadMargin = Annotated[Margin, BeforeValidator(_read_margin)]


class RuleFields(FrozenModel):
    """What rules of all kinds have.

    Parameters
    ----------
    benchmark, metric : str
        The figure, as named by `assay score`.
    required : bool
        False leaves the rule out if neither run holds the benchmark, or if no head-to-head run is given.
    min_n : int or None
        Overrides the policy's.
    max_unscored : float or None
        Overrides the policy's.
    on_undecided : {"undecided", "fail", "pass"} or None
        Overrides the policy's.
    tier : {"critical", "supporting", "advisory"}
        "critical": the candidate passes only if the rule does. "supporting": the rule stops the candidate only if it is
        shown not to hold. "advisory": reported, without effect on the decision.
    categories : {"each", "worst"} or None
        "each": the rule must hold in every category of the prompts. "worst": it is about the figure of the category in
        which each run is worst. None: about all prompts together.
    """

    written_if_set = frozenset({"tier", "categories"})

    benchmark: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    required: bool = True
    min_n: int | None = Field(default=None, ge=2)
    max_unscored: float | None = Field(default=None, ge=0.0, le=1.0)
    on_undecided: OnUndecided | None = None
    tier: Tier = "critical"
    categories: Categories | None = None

    def title(self, kind: str) -> str:
        """Return the name of the rule, such as "improve alpaca_eval win_rate"."""
        of = {None: "", "each": " in each category", "worst": " of the worst category"}[self.categories]
        return f"{kind} {self.benchmark} {self.metric}{of}"
