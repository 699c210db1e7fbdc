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
      - equivalent: {benchmark: alpaca_eval, metric: avg_length, margin: 20%}
      - limit: {benchmark: safety, metric: unsafe, at_most: 5}
      - keep: {benchmark: mmlu, metric: acc, margin: 1.0, tier: supporting}   # or critical (the default), advisory
      - any:                   # at least one must hold, with Holm's correction
          - improve: {benchmark: mt_bench, metric: score}
          - improve: {benchmark: arena_hard, metric: win_rate}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from harness.errors import UnknownNameError
from harness.gate.look_fields import LookFields
from harness.gate.rule_fields import Better, FrozenModel, Labels, Margin, OnUndecided, ReadMargin, RuleFields, Tier
from harness.hashing import content_hash
from harness.spec import read_yaml, validated

Kind = Literal["improve", "keep", "limit"]

HEAD_TO_HEAD = "head_to_head"
"""Metric of a rule that is decided by judging candidate and baseline against each other."""

_SHIPPED = Path(__file__).parent / "policies"


class Rule(RuleFields):
    """A claim about the difference between candidate and baseline in one metric.

    Parameters
    ----------
    margin : Margin
        `improve`: the gain must exceed it. `keep`: the loss must be shown to be smaller.
    better : {"higher", "lower", "neither"}
        Direction in which the metric is better; with "neither" (only for `keep`) it must stay within the margin on
        both sides.
    labels : "human" or None
        Whose labels it is about: people's votes on some prompts, with the judge's verdicts on all as predictions. None:
        the judge's.
    """

    written_if_set = RuleFields.written_if_set | {"labels"}

    margin: ReadMargin = Margin(value=0.0)
    better: Better = "higher"
    labels: Labels | None = None

    @model_validator(mode="after")
    def _with_labels(self) -> Self:
        if self.labels is not None and self.categories is not None:
            raise ValueError(f"{self.metric}: labels over categories are not offered; leave one of the two out")
        if self.labels is not None and self.margin.relative:
            raise ValueError(f"{self.metric} with labels: a margin in the metric's unit, not a share")
        return self

    @model_validator(mode="after")
    def _over_categories(self) -> Self:
        if self.categories is not None and self.margin.relative:
            raise ValueError(f"{self.metric} over categories: a margin in the metric's unit, not a share")
        if self.categories == "worst" and self.better == "neither":
            raise ValueError(f"{self.metric} of the worst category: better must be higher or lower")
        if self.categories == "worst" and self.metric == HEAD_TO_HEAD:
            raise ValueError("head_to_head of the worst category: the baseline has half in each; write `each`")
        return self


class Equivalent(RuleFields):
    """Another way to write `keep` with ``better: neither``: the metric must stay within the margin on both sides.

    Parameters
    ----------
    margin : Margin
        The largest change allowed.
    """

    margin: ReadMargin

    def as_keep(self) -> Rule:
        """Return the `keep` rule."""
        return Rule(**{name: getattr(self, name) for name in type(self).model_fields}, better="neither")


class Limit(RuleFields):
    """A claim about the candidate alone: a metric lies below, or above, a number.

    Parameters
    ----------
    at_most, at_least : float or None
        The number, in the metric's unit; exactly one of them.
    """

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        given = [name for name in ("at_most", "at_least") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"limit {self.metric}: exactly one of at_most and at_least is expected, not "
                f"{' and '.join(given) or 'none'}{'; write two limits for a range' if given else ''}"
            )
        if self.categories == "worst":
            raise ValueError(
                f"limit {self.metric} of the worst category: it is on the right side if each category is; "
                "write categories: each"
            )
        if self.metric == HEAD_TO_HEAD:
            raise ValueError("limit head_to_head: it compares two runs; use improve or keep")
        return self

    @property
    def number(self) -> float:
        """The number the metric is held against."""
        return self.at_most if self.at_most is not None else float(self.at_least or 0.0)

    @property
    def words(self) -> str:
        """The limit in words, such as "at most 5"."""
        return f"at {'least' if self.at_most is None else 'most'} {self.number:g}"

    def as_improve(self) -> Rule:
        """Return the rule that tests it on paired values, those of the candidate and the number."""
        shared = {name: getattr(self, name) for name in RuleFields.model_fields}
        return Rule(**shared, better="higher" if self.at_most is None else "lower")


AnyRule = Rule | Limit


class Entry(FrozenModel):
    """One line of a policy: a rule, or a group of them.

    Parameters
    ----------
    improve, keep : Rule or None
    equivalent : Equivalent or None
    limit : Limit or None
    any, all : tuple of Entry or None
        Groups.
    tier : str or None
        Tier of an `any` group; that of a rule stands in the rule.
    """

    written_if_set = frozenset({"equivalent", "limit", "tier"})

    improve: Rule | None = None
    keep: Rule | None = None
    equivalent: Equivalent | None = None
    limit: Limit | None = None
    any: tuple[Entry, ...] | None = None
    all: tuple[Entry, ...] | None = None
    tier: Tier | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        names = ("improve", "keep", "equivalent", "limit", "any", "all")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(names)} is expected, not {' and '.join(given) or 'none'}")
        if self.any == () or self.all == ():
            raise ValueError("a group needs at least one rule")
        if any(member.rule is None for member in self.any or ()):
            raise ValueError("an `any` group cannot contain groups; list rules in it")
        return self

    @model_validator(mode="after")
    def _tier_in_its_place(self) -> Self:
        if self.tier is not None and self.any is None:
            raise ValueError("a tier stands in the rule itself, or beside `any` for a whole group")
        if any(member.rule is not None and member.rule[1].tier != "critical" for member in self.any or ()):
            raise ValueError("the rules of an `any` group have one tier; write it beside `any`")
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

    @model_validator(mode="after")
    def _undecided_agrees_with_tier(self) -> Self:
        found = self.rule
        if found is not None and found[1].tier != "critical" and found[1].on_undecided is not None:
            raise ValueError(
                f"{found[0]} {found[1].metric}: on_undecided has no effect on a rule of tier {found[1].tier}; "
                "leave it out, or make the rule critical"
            )
        return self

    @property
    def rule(self) -> tuple[Kind, AnyRule] | None:
        """Kind and rule; None for a group."""
        if self.improve is not None:
            return "improve", self.improve
        if self.limit is not None:
            return "limit", self.limit
        kept = self.equivalent.as_keep() if self.equivalent is not None else self.keep
        return None if kept is None else ("keep", kept)

    @property
    def own_tier(self) -> Tier:
        """Tier of the rule or of the group."""
        return self.tier or ("critical" if self.rule is None else self.rule[1].tier)


def _check_together(entries: tuple[Entry, ...]) -> None:
    """Refuse rules outside groups that can never all pass."""
    rules = [entry.rule for entry in entries if entry.rule is not None and entry.own_tier == "critical"]
    rules = [(kind, rule) for kind, rule in rules if rule.categories is None]
    _check_changes([(kind, r) for kind, r in rules if isinstance(r, Rule)])
    _check_ranges([r for _, r in rules if isinstance(r, Limit)])


def _check_changes(rules: Sequence[tuple[Kind, Rule]]) -> None:
    improved = {(r.benchmark, r.metric): r for kind, r in rules if kind == "improve"}
    for kind, kept in rules:
        wanted = improved.get((kept.benchmark, kept.metric)) if kind == "keep" else None
        if wanted is not None and _exclude_each_other(kept, wanted):
            raise ValueError(
                f"{kept.benchmark} {kept.metric}: keep within {kept.margin} and improve by more than "
                f"{wanted.margin} can never both pass"
            )


def _check_ranges(limits: Sequence[Limit]) -> None:
    lows = {(r.benchmark, r.metric): r for r in limits if r.at_most is None}
    for high in (r for r in limits if r.at_most is not None):
        low = lows.get((high.benchmark, high.metric))
        if low is not None and low.number >= high.number:
            raise ValueError(f"{high.benchmark} {high.metric}: {low.words} and {high.words} can never both pass")


def _exclude_each_other(kept: Rule, improved: Rule) -> bool:
    """Whether staying within one margin prevents an improvement by more than the other."""
    has_ceiling = kept.better == "neither" or {kept.better, improved.better} == {"higher", "lower"}
    same_unit = kept.margin.relative == improved.margin.relative
    return has_ceiling and same_unit and kept.margin.value <= improved.margin.value


class Policy(LookFields):
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
    def _something_must_be_shown(self) -> Self:
        if self.rules and all(entry.own_tier != "critical" for entry in self.rules):
            raise ValueError(
                "no rule is critical, so that a candidate passes without anything being shown; make one critical "
                "(with on_undecided: pass if it is to stop only what is shown to be worse)"
            )
        return self

    @model_validator(mode="after")
    def _can_pass(self) -> Self:
        if not self.rules:
            raise ValueError("a policy needs at least one rule")
        seen: set[tuple[str, str]] = set()
        for kind, rule in self.each_rule():
            key = (rule.title(kind), rule.words.rpartition(" ")[0] if isinstance(rule, Limit) else str(rule.labels))
            if key in seen:
                raise ValueError(f"{rule.title(kind)} occurs twice; keep one of them")
            seen.add(key)
        _check_together(self.rules)
        return self

    @property
    def identity(self) -> str:
        """Name and hash of the rules; loops change alpha from look to look, so that it is no part of them."""
        rules = self.model_dump(mode="json", exclude={"name", "alpha"})
        return f"{self.name} {content_hash('policy', rules)[:8]}".strip()

    @property
    def needs_baseline(self) -> bool:
        """Whether a rule compares the candidate with a baseline."""
        return any(kind != "limit" for kind, _ in self.each_rule())

    def each_rule(self) -> Iterator[tuple[Kind, AnyRule]]:
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
