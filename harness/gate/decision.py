"""The gate's decision, as a whole and per rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.gate.evidence import PairedUnits
from harness.gate.policy import AnyRule, Kind, Limit, Rule
from harness.gate.rule_fields import Tier
from harness.gate.testing import TestedRule
from harness.gate.tipping_point import TippingPoint

Verdict = Literal["pass", "fail", "undecided", "invalid"]

EXIT_STATUS: dict[Verdict, int] = {"pass": 0, "fail": 1, "undecided": 3, "invalid": 4}


_FIGURES = (
    "candidate", "baseline", "effect", "stderr", "ci_low", "ci_high", "level", "method", "thresholds",
    "p_value", "p_fail", "minimum_detectable_effect",
)  # fmt: skip


@dataclass(frozen=True)
class RuleDecision:
    """The outcome of one rule.

    Parameters
    ----------
    kind : {"improve", "keep", "limit"}
    rule : Rule or Limit
    decision : {"pass", "fail", "undecided", "invalid"}
    reason : str
        Explanation of the decision.
    group : str
        Name of the any-of group; "" for a rule outside a group.
    tested : TestedRule or None
        The figures; None if the rule is invalid.
    p_adjusted : float or None
        Holm-adjusted p-value within an any-of group; elsewhere the p-value itself (intersection-union).
    n, n_items, n_unscored : int
        Prompts and items compared, and items unscored in at least one run.
    unscored : dict of str to int
        Unscored items by reason.
    sequential : dict or None
        Details of the sequential test, such as the number of prompts used.
    tier : {"critical", "supporting", "advisory"}
        What it counts in the policy; for a rule in a group, that of the group.
    units : PairedUnits or None
        The values it was tested on; None for a fit.
    tipping : tuple of TippingPoint
        What would turn it into another decision; empty if that was not asked for.
    categories : tuple of dict or None
        Figures of each category, for a rule over categories.
    labels : dict or None
        What labels and predictions say by themselves, for a rule that uses both.
    """

    kind: Kind
    rule: AnyRule
    decision: Verdict
    reason: str
    group: str = ""
    tested: TestedRule | None = None
    p_adjusted: float | None = None
    n: int = 0
    n_items: int = 0
    n_unscored: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    sequential: dict[str, Any] | None = None
    tier: Tier = "critical"
    units: PairedUnits | None = field(default=None, repr=False, compare=False)
    tipping: tuple[TippingPoint, ...] = ()
    categories: tuple[dict[str, Any], ...] | None = None
    labels: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Name of the rule, such as "improve alpaca_eval win_rate"."""
        return self.rule.title(self.kind)

    def as_json(self) -> dict[str, Any]:
        """Return the rule's entry in the output of `assay gate --json`."""
        figures = dict.fromkeys(_FIGURES) | {"method": "", "thresholds": []}
        if self.tested is not None:
            figures = _figures_of(self.tested)
            figures["baseline"] = None if isinstance(self.rule, Limit) else figures["baseline"]
        n_needed = self.tested.n_further if self.tested and self.decision == "undecided" else None
        return {
            "benchmark": self.rule.benchmark,
            "metric": self.rule.metric,
            "kind": self.kind,
            **_terms_of(self.rule),
            "tier": self.tier,
            "group": self.group or None,
            **{name: figures[name] for name in _FIGURES[:9]},
            "p_value": figures["p_value"],
            "p_adjusted": self.p_adjusted,
            "p_fail": figures["p_fail"],
            "decision": self.decision,
            "reason": self.reason,
            "n": self.n,
            "n_items": self.n_items,
            "n_unscored": self.n_unscored,
            "unscored": self.unscored,
            "n_needed": n_needed,
            "minimum_detectable_effect": figures["minimum_detectable_effect"],
            "sequential": self.sequential,
            "tipping": [point.as_json() for point in self.tipping],
            "over_categories": self.rule.categories,
            "labels": self.labels,
            "categories": None if self.categories is None else list(self.categories),
        }


def _terms_of(rule: AnyRule) -> dict[str, Any]:
    """Return what a rule demands for ``--json``."""
    if isinstance(rule, Rule):
        demands: dict[str, Any] = {"margin": rule.margin.value, "margin_is_relative": rule.margin.relative}
        return {**demands, "better": rule.better, "at_most": None, "at_least": None}
    better = rule.as_improve().better
    demands = {"margin": None, "margin_is_relative": False, "better": better}
    return {**demands, "at_most": rule.at_most, "at_least": rule.at_least}


def _figures_of(tested: TestedRule) -> dict[str, Any]:
    """Return the figures of a test for ``--json``."""
    d = tested.difference
    values = (
        tested.value_candidate, tested.value_baseline, d.value, d.stderr, d.ci_low, d.ci_high, d.level, d.method,
        list(tested.thresholds), tested.p_pass, tested.p_fail, tested.detectable,
    )  # fmt: skip
    return dict(zip(_FIGURES, values, strict=True))


@dataclass(frozen=True)
class Decision:
    """The outcome of the gate.

    Parameters
    ----------
    decision : {"pass", "fail", "undecided", "invalid"}
    message : str
        Explanation of the decision.
    rules : tuple of RuleDecision
        Every rule, including those in groups.
    groups : dict of str to str
        Outcome of each any-of group.
    problems : tuple of str
        Why the runs cannot be compared; empty if they can.
    left_out : tuple of str
        Optional rules that do not apply because neither run holds their benchmark.
    alpha : float
        One-sided level of the policy.
    policy, candidate, baseline : str
        Names, for messages.
    notes : tuple of str
        Further remarks (looks at a locked test set, verdicts saved).
    selection : dict or None
        How many candidates this one was chosen from, and the level of its test (`harness.gate.selection`).
    drift : tuple of dict
        By benchmark, how the judge changed between the runs, if both judged anchors (`harness.run.anchors`).
    """

    decision: Verdict
    message: str
    rules: tuple[RuleDecision, ...]
    groups: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    alpha: float = 0.05
    policy: str = ""
    candidate: str = ""
    baseline: str = ""
    notes: tuple[str, ...] = ()
    selection: dict[str, Any] | None = None
    drift: tuple[dict[str, Any], ...] = ()

    @property
    def exit_status(self) -> int:
        """Exit status of the command: 0 pass, 1 fail, 3 undecided, 4 invalid."""
        return EXIT_STATUS[self.decision]

    def as_json(self) -> dict[str, Any]:
        """Return the output of `assay gate --json`."""
        return {
            "decision": self.decision,
            "message": self.message,
            "policy": self.policy,
            "alpha": self.alpha,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "problems": list(self.problems),
            "rules": [rule.as_json() for rule in self.rules],
            "groups": self.groups,
            "left_out": list(self.left_out),
            "notes": list(self.notes),
            "selection": self.selection,
            "drift": list(self.drift),
        }
