"""What would have to be true for the other decision: the tipping points of a rule.

Two kinds of error of a judge are asked about. A *bias* favours one side by the same amount on every prompt: how large
would it have to be? And single *verdicts* may be wrong: on how few prompts would candidate and baseline have to
exchange their results? Neither is a probability; a decision that turns with two exchanged verdicts of 805 is fragile
whatever its p-value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import AssayError
from harness.gate.decision import Decision, RuleDecision, Verdict
from harness.gate.evidence import PairedUnits
from harness.gate.policy import Limit, Policy
from harness.gate.rule import tested_as, verdict_of
from harness.gate.testing import TestedRule, paired_test
from harness.gate.tipping_point import TippingPoint

_ORDER: tuple[Verdict, ...] = ("fail", "undecided", "pass")


def with_tipping(decision: Decision, policy: Policy) -> Decision:
    """Return a decision whose rules have their tipping points.

    Parameters
    ----------
    decision : Decision
        Of the fixed-sample test.
    policy : Policy
        At the level of the test.
    """
    return replace(decision, rules=tuple(replace(r, tipping=tipping_points(r, policy)) for r in decision.rules))


def explained(decision: Decision) -> Decision:
    """Return a decision with its tipping points in words among the notes."""
    notes = []
    for rule in decision.rules:
        if rule.tipping:
            said = "; ".join(point.words(rule.n) for point in rule.tipping)
            notes.append(f"what would turn {rule.name} ({rule.decision}) into {said}")
    return replace(decision, notes=(*decision.notes, *notes))


def tipping_points(rule: RuleDecision, policy: Policy) -> tuple[TippingPoint, ...]:
    """Return what turns a rule's own decision (before any correction within its group) into the other two.

    The bias follows from the interval, which the test's decision agrees with; the verdicts from testing again, with
    the results exchanged on the prompts that matter most.
    """
    tested, units = rule.tested, rule.units
    if tested is None or tested.difference.ci_low is None or tested.difference.ci_high is None:
        return ()
    now = verdict_of(tested, policy.alpha)
    shifts = _shifts(rule, tested)
    reason = _not_counted(rule, units)
    points = []
    for other in (verdict for verdict in _ORDER if verdict != now):
        shift = shifts[other]
        n_verdicts = None
        if not reason and units is not None:
            n_verdicts = _fewest(rule, policy, units, other)
        points.append(TippingPoint(other, None if shift is None else -shift, n_verdicts, reason))
    return tuple(points)


def _not_counted(rule: RuleDecision, units: PairedUnits | None) -> str:
    if units is None:
        return "the metric is a fit"
    if isinstance(rule.rule, Limit):
        return "a limit is about one run"
    if rule.rule.better == "neither":
        return "the metric must neither rise nor fall"
    if rule.sequential is not None:
        return "the test is sequential"
    return "" if units.sequential else "the verdicts have weights"


# ---- bias


def _shifts(rule: RuleDecision, tested: TestedRule) -> dict[Verdict, float | None]:
    """The smallest shift of the difference that leads to each decision; 0 for the present one, None if none does."""
    low, high = tested.difference.ci_low, tested.difference.ci_high
    assert low is not None and high is not None
    claim = tested_as(rule.kind, rule.rule)[1]
    if claim.margin.relative:
        return dict.fromkeys(_ORDER)
    better = claim.better
    floor, ceiling = -math.inf, math.inf  # between which the difference must lie
    if better in ("higher", "neither"):
        floor = tested.thresholds[0]
    if better in ("lower", "neither"):
        ceiling = tested.thresholds[-1]
    passes = floor - low, ceiling - high
    fails = floor - high, ceiling - low
    return {
        "pass": _nearest([passes]) if passes[0] <= passes[1] else None,
        "fail": _nearest([(-math.inf, fails[0]), (fails[1], math.inf)]),
        "undecided": _nearest([(fails[0], passes[0]), (passes[1], fails[1])]),
    }


def _nearest(ranges: Sequence[tuple[float, float]]) -> float | None:
    """The number nearest to zero in any of the ranges; None if they are empty."""
    found = [min(max(0.0, low), high) for low, high in ranges if low <= high]
    return min((shift for shift in found if math.isfinite(shift)), key=abs, default=None)


# ---- verdicts


def _fewest(rule: RuleDecision, policy: Policy, units: PairedUnits, other: Verdict) -> int | None:
    """The fewest exchanges that lead to a decision at least as far, by bisection; None if all together do not."""
    tested = rule.tested
    assert tested is not None and not isinstance(rule.rule, Limit)
    upwards = _ORDER.index(other) > _ORDER.index(verdict_of(tested, policy.alpha))
    gains = (units.first - units.second) * (-1.0 if rule.rule.better == "lower" else 1.0)
    order = np.argsort(gains, kind="stable") if upwards else np.argsort(-gains, kind="stable")
    useful = int((gains < 0.0).sum()) if upwards else int((gains > 0.0).sum())

    def reached(n_exchanged: int) -> bool:
        place = _ORDER.index(_verdict(rule, policy, _exchanged(units, order[:n_exchanged])))
        return place >= _ORDER.index(other) if upwards else place <= _ORDER.index(other)

    if not useful or not reached(useful):
        return None
    low, high = 0, useful
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _verdict(rule: RuleDecision, policy: Policy, units: PairedUnits) -> Verdict:
    try:
        return verdict_of(paired_test(*tested_as(rule.kind, rule.rule), policy, units), policy.alpha)
    except AssayError:
        return "undecided"  # the exchanged results cannot be tested: nothing is shown


def _exchanged(units: PairedUnits, places: NDArray[np.intp]) -> PairedUnits:
    first, second = units.first.copy(), units.second.copy()
    first[places], second[places] = units.second[places], units.first[places]
    return replace(units, first=first, second=second)
