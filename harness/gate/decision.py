"""What the gate decides, and what it shows of how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.gate.policy import Kind, Rule
from harness.gate.testing import TestedRule

Verdict = Literal["pass", "fail", "undecided", "invalid"]

EXIT_STATUS: dict[Verdict, int] = {"pass": 0, "fail": 1, "undecided": 3, "invalid": 4}


_FIGURES = (
    "candidate", "baseline", "effect", "stderr", "ci_low", "ci_high", "level", "method", "thresholds",
    "p_value", "p_fail", "minimum_detectable_effect",
)  # fmt: skip


@dataclass(frozen=True)
class RuleDecision:
    """One rule's outcome.

    Parameters
    ----------
    kind : {"improve", "keep"}
    rule : Rule
    decision : {"pass", "fail", "undecided", "invalid"}
    reason : str
        Why, in words a person can act on.
    group : str
        Name of the any-of group; "" for a rule that must hold by itself.
    tested : TestedRule or None
        The figures; None where the rule is invalid.
    p_adjusted : float or None
        After Holm within an any-of group; the p-value itself elsewhere (intersection-union).
    n, n_items, n_unscored : int
        Prompts and items compared, and items not scored in at least one run.
    unscored : dict of str to int
        The latter by reason.
    sequential : dict or None
        What a sequential look adds: prompts used, calls saved.
    """

    kind: Kind
    rule: Rule
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

    @property
    def name(self) -> str:
        """The rule in words: "improve alpaca_eval win_rate"."""
        return f"{self.kind} {self.rule.benchmark} {self.rule.metric}"

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        figures = dict.fromkeys(_FIGURES) | {"method": "", "thresholds": []}
        if self.tested is not None:
            figures = _figures_of(self.tested)
        n_needed = self.tested.n_further if self.tested and self.decision == "undecided" else None
        return {
            "benchmark": self.rule.benchmark,
            "metric": self.rule.metric,
            "kind": self.kind,
            "margin": self.rule.margin.value,
            "margin_is_relative": self.rule.margin.relative,
            "better": self.rule.better,
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
        }


def _figures_of(tested: TestedRule) -> dict[str, Any]:
    """What ``--json`` says of a test."""
    d = tested.difference
    values = (
        tested.value_candidate, tested.value_baseline, d.value, d.stderr, d.ci_low, d.ci_high, d.level, d.method,
        list(tested.thresholds), tested.p_pass, tested.p_fail, tested.detectable,
    )  # fmt: skip
    return dict(zip(_FIGURES, values, strict=True))


@dataclass(frozen=True)
class Decision:
    """The gate's outcome.

    Parameters
    ----------
    decision : {"pass", "fail", "undecided", "invalid"}
    message : str
        In words.
    rules : tuple of RuleDecision
        Every rule, those of groups included.
    groups : dict of str to str
        Outcome of each any-of group.
    problems : tuple of str
        Why the runs cannot be compared at all; empty where they can.
    left_out : tuple of str
        Rules that were not required and whose benchmark neither run holds.
    alpha : float
        The policy's.
    policy, candidate, baseline : str
        Names, for messages.
    notes : tuple of str
        What else to know (looks at a locked set, calls saved).
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

    @property
    def exit_status(self) -> int:
        """0 pass, 1 fail, 3 undecided, 4 invalid."""
        return EXIT_STATUS[self.decision]

    def as_json(self) -> dict[str, Any]:
        """What `assay gate --json` prints."""
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
        }
