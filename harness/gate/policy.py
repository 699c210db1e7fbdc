"""Policies: what a checkpoint must show before it is promoted, as typed YAML.

::

    alpha: 0.05                # per rule, chance of a wrong pass if the true effect is at the threshold
    min_n: 30                  # least number of prompts
    max_unscored: 0.01         # largest share of unscored items
    on_undecided: undecided    # or fail, or pass
    method: fixed              # or betting, or group_sequential with looks (`harness.gate.look_fields`)
    rules:                     # all must hold
      - improve: {benchmark: alpaca_eval, metric: length_controlled_win_rate, margin: 0}
      - keep: {benchmark: gsm8k, metric: exact_match, margin: 1.0}
      - keep: {benchmark: alpaca_eval, metric: avg_length, margin: 20%, better: neither}
      - any:                   # at least one must hold, with Holm's correction
          - improve: {benchmark: mt_bench, metric: score}
          - improve: {benchmark: arena_hard, metric: win_rate}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from harness.errors import UnknownNameError
from harness.gate.look_fields import LookFields
from harness.spec import read_yaml, validated

Kind = Literal["improve", "keep"]
Better = Literal["higher", "lower", "neither"]
OnUndecided = Literal["undecided", "fail", "pass"]

HEAD_TO_HEAD = "head_to_head"
"""Metric of a rule that is decided by judging candidate and baseline against each other."""

_SHIPPED = Path(__file__).parent / "policies"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Margin(_Frozen):
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


class Rule(_Frozen):
    """One claim about one metric.

    Parameters
    ----------
    benchmark, metric : str
        The figure, as named by `assay score`.
    margin : Margin
        `improve`: the gain must exceed it. `keep`: the loss must be shown to be smaller.
    better : {"higher", "lower", "neither"}
        Direction in which the metric is better; with "neither" (only for `keep`) it must stay within the margin on
        both sides.
    required : bool
        False leaves the rule out if neither run holds the benchmark, or if no head-to-head run is given.
    min_n : int or None
        Overrides the policy's.
    max_unscored : float or None
        Overrides the policy's.
    on_undecided : {"undecided", "fail", "pass"} or None
        Overrides the policy's.
    """

    benchmark: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    margin: Annotated[Margin, BeforeValidator(_read_margin)] = Margin(value=0.0)
    better: Better = "higher"
    required: bool = True
    min_n: int | None = Field(default=None, ge=2)
    max_unscored: float | None = Field(default=None, ge=0.0, le=1.0)
    on_undecided: OnUndecided | None = None


class Entry(_Frozen):
    """One line of a policy: a rule, or a group of them."""

    improve: Rule | None = None
    keep: Rule | None = None
    any: tuple[Entry, ...] | None = None
    all: tuple[Entry, ...] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [name for name in ("improve", "keep", "any", "all") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of improve, keep, any, all is expected, not {' and '.join(given) or 'none'}")
        if self.any == () or self.all == ():
            raise ValueError("a group needs at least one rule")
        if any(member.rule is None for member in self.any or ()):
            raise ValueError("an `any` group cannot contain groups; list rules in it")
        return self

    @model_validator(mode="after")
    def _rule_can_pass(self) -> Self:
        if self.improve is not None and self.improve.better == "neither":
            raise ValueError(
                f"improve {self.improve.metric}: better must be higher or lower; with neither it can never pass"
            )
        if self.keep is not None and "margin" not in self.keep.model_fields_set:
            raise ValueError(f"keep {self.keep.metric}: a margin is required, the largest loss allowed")
        return self

    @property
    def rule(self) -> tuple[Kind, Rule] | None:
        """Kind and rule; None for a group."""
        if self.improve is not None:
            return "improve", self.improve
        return ("keep", self.keep) if self.keep is not None else None


def _exclude_each_other(kept: Rule, improved: Rule) -> bool:
    """Whether staying within one margin prevents an improvement by more than the other."""
    has_ceiling = kept.better == "neither" or {kept.better, improved.better} == {"higher", "lower"}
    same_unit = kept.margin.relative == improved.margin.relative
    return has_ceiling and same_unit and kept.margin.value <= improved.margin.value


class Policy(LookFields, _Frozen):
    """The rules a candidate must satisfy, and the error level.

    Parameters
    ----------
    rules : tuple of Entry
        All must hold.
    alpha : float
        One-sided level of every rule.
    min_n : int
        Least number of prompts; with fewer a rule is invalid.
    max_unscored : float
        Largest share of items unscored in either run; with more a rule is invalid.
    on_undecided : {"undecided", "fail", "pass"}
        How an undecided rule counts. With "pass", alpha does not bound the chance of a wrong pass.
    target_power : float
        Power behind "further prompts needed" and "detectable effect".
    method, looks, spending, gamma, futility
        When the rules are tested, see :class:`harness.gate.look_fields.LookFields`.
    name : str
        For messages.
    """

    rules: tuple[Entry, ...]
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    min_n: int = Field(default=30, ge=2)
    max_unscored: float = Field(default=0.01, ge=0.0, le=1.0)
    on_undecided: OnUndecided = "undecided"
    target_power: float = Field(default=0.8, gt=0.5, lt=1.0)
    name: str = ""

    @field_validator("rules", mode="after")
    @classmethod
    def _flatten(cls, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Expand `all` groups: the rules of a policy already form an all-of group."""
        flat: list[Entry] = []
        for entry in entries:
            flat += cls._flatten(entry.all) if entry.all is not None else [entry]
        return tuple(flat)

    @model_validator(mode="after")
    def _can_pass(self) -> Self:
        if not self.rules:
            raise ValueError("a policy needs at least one rule")
        seen: set[tuple[str, str, str]] = set()
        for kind, rule in self.each_rule():
            key = (kind, rule.benchmark, rule.metric)
            if key in seen:
                raise ValueError(f"{kind} {rule.benchmark} {rule.metric} occurs twice; keep one of them")
            seen.add(key)
        improved = {(r.benchmark, r.metric): r for e in self.rules if (r := e.improve) is not None}
        for kept in (entry.keep for entry in self.rules if entry.keep is not None):
            wanted = improved.get((kept.benchmark, kept.metric))
            if wanted is not None and _exclude_each_other(kept, wanted):
                raise ValueError(
                    f"{kept.benchmark} {kept.metric}: keep within {kept.margin} and improve by more than "
                    f"{wanted.margin} can never both pass"
                )
        return self

    def each_rule(self) -> Iterator[tuple[Kind, Rule]]:
        """Yield all rules in order, including those in groups."""
        for entry in self.rules:
            if entry.rule is not None:
                yield entry.rule
            for member in entry.any or ():
                if member.rule is not None:
                    yield member.rule


def load_policy(path: Path) -> Policy:
    """Read a policy from YAML.

    Raises
    ------
    MissingDataError
        The file does not exist.
    SpecError
        The file is not YAML, a field is wrong (the nearest known one is named), or a rule can never pass.
    """
    return make_policy(read_yaml(path), str(path), path.stem)


def make_policy(values: Mapping[str, Any], where: str = "policy", name: str = "policy") -> Policy:
    """Validate a policy given as values; errors as in :func:`load_policy`."""
    return validated(Policy, {"name": name, **values}, where)


def shipped_policies() -> dict[str, Path]:
    """Return the paths of the shipped policies by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def find_policy(name_or_path: str) -> Policy:
    """Load a policy file, or a shipped policy by its name.

    Raises
    ------
    UnknownNameError
        The argument is neither a file nor the name of a shipped policy.
    """
    path = Path(name_or_path)
    if path.is_file():
        return load_policy(path)
    shipped = shipped_policies()
    if name_or_path in shipped:
        return load_policy(shipped[name_or_path])
    raise UnknownNameError("policy", name_or_path, shipped, "give the path of a YAML file, or one of these names")
