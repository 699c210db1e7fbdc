"""A rule tested at planned looks, by the same test as without them.

At a look the rule's test is made on the first prompts of the random order, and its two one-sided p-values are compared
with the look's nominal levels, one for passing and one for failing. Means, weighted verdicts, ratings, lengths, head to
head and fits are all tested this way, because only their p-values are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from scipy import optimize, stats

from harness.gate.decision import RuleDecision, Verdict
from harness.gate.look_plan import LEAST_LEVEL, LookPlan, nominal
from harness.gate.policy import Policy
from harness.gate.rule import tested_as
from harness.gate.testing import TestedRule
from harness.stats.group_sequential import Bounds
from harness.stats.group_sequential_estimates import stage_wise_estimate, stage_wise_p

RuleAt = Callable[[int, float], RuleDecision]
"""Decides a rule on the first n prompts of the random order at a level."""

_LARGEST_Z = 37.0


@dataclass(frozen=True)
class RuleLook:
    """One look at a rule.

    Parameters
    ----------
    index : int
        Place among the planned looks, from 0.
    n : int
        Prompts.
    levels : tuple of float
        Nominal one-sided levels of passing and of failing.
    decided : RuleDecision
        By the rule's test, its interval at the level of failing.
    """

    index: int
    n: int
    levels: tuple[float, float]
    decided: RuleDecision

    @property
    def tested(self) -> TestedRule:
        """The test's figures."""
        assert self.decided.tested is not None, "looks at invalid rules are left out"
        return self.decided.tested

    @property
    def verdict(self) -> Verdict:
        """The decision at this look."""
        if self.tested.p_pass <= self.levels[0]:
            return "pass"
        return "fail" if self.tested.p_fail <= self.levels[1] else "undecided"

    def as_json(self, n_all: int) -> dict[str, Any]:
        """Return the look for ``--json``."""
        return {
            "n": self.n,
            "information": self.n / n_all,
            "level_pass": self.levels[0],
            "level_fail": self.levels[1],
            "p_pass": self.tested.p_pass,
            "p_fail": self.tested.p_fail,
            "effect": self.tested.difference.value,
        }


@dataclass(frozen=True)
class RuleInLooks:
    """A rule with its looks.

    Parameters
    ----------
    plan : LookPlan
        When it is looked at.
    policy : Policy
        For alpha, the least number of prompts and the target power.
    group_size : int
        Number of rules in its any-of group; each passes at alpha divided by it.
    """

    plan: LookPlan
    policy: Policy
    group_size: int = 1

    @property
    def alphas(self) -> tuple[float, float]:
        """One-sided errors of passing and of failing."""
        return self.policy.alpha / self.group_size, self.policy.alpha

    def decide(self, n_here: int, at: RuleAt) -> RuleDecision:
        """Decide the rule at the first look at which it passes or fails.

        Parameters
        ----------
        n_here : int
            Prompts that are there; fewer than planned if the run stopped early.
        at : callable
            The rule's decision on the first n prompts at a level.

        Returns
        -------
        RuleDecision
            Undecided after the last look that could be taken; invalid if the rule is invalid on all prompts.
        """
        whole = at(n_here, self.policy.alpha)
        if whole.tested is None:
            return whole
        looks = self._looks(n_here, at, whole)
        if not looks:
            reason = f"{n_here} prompts, but the first look is at {self.plan.at[0]}; run more"
            return replace(whole, decision="invalid", reason=reason, tested=None, p_adjusted=None)
        return self._concluded(looks, whole)

    def _looks(self, n_here: int, at: RuleAt, whole: RuleDecision) -> list[RuleLook]:
        """Look until the rule is decided. A look at which it cannot be tested is left out and spends nothing."""
        least = self.policy.min_n if whole.rule.min_n is None else whole.rule.min_n
        due = [k for k, n in enumerate(self.plan.at) if n <= n_here and (n >= least or n == self.plan.n_all)]
        found: list[RuleLook] = []
        for index in due:
            look = self._look([*(look.index for look in found), index], at)
            if look is None:
                continue
            found.append(look)
            if look.verdict != "undecided":
                break
        return found

    def _look(self, taken: list[int], at: RuleAt) -> RuleLook | None:
        """Take the last of some looks; None if the rule cannot be tested there."""
        n = self.plan.at[taken[-1]]
        levels = [nominal(self.plan.bounds(taken, alpha).upper[-1]) for alpha in self.alphas]
        decided = at(n, levels[1]) if levels[1] else None
        if decided is None or decided.tested is None:
            return None
        return RuleLook(taken[-1], n, (levels[0], levels[1]), decided)

    def _concluded(self, looks: list[RuleLook], whole: RuleDecision) -> RuleDecision:
        last, tested = looks[-1], looks[-1].tested
        at_end = last.n == self.plan.n_all
        taken = [look.index for look in looks]
        p_values = [
            self._p(taken, p, alpha, decided=at_end or last.verdict == side)
            for p, alpha, side in zip((tested.p_pass, tested.p_fail), self.alphas, ("pass", "fail"), strict=True)
        ]
        shown = replace(
            tested.difference,
            level=1.0 - 2.0 * self.policy.alpha,
            method=f"{tested.difference.method}; repeated confidence interval at look {last.index + 1}",
            note="valid at any look; the estimate at a stop is biased away from the threshold",
        )
        concluded = replace(tested, difference=shown, p_pass=p_values[0], p_fail=p_values[1])
        verdict = self._verdict(last, concluded, at_end)
        return replace(
            whole,
            decision=verdict,
            reason="",
            tested=concluded,
            p_adjusted=concluded.p_pass,
            sequential=self._block(looks, verdict),
        )

    def _verdict(self, last: RuleLook, concluded: TestedRule, at_end: bool) -> Verdict:
        """Return the decision; in a group a rule may pass at the end by Holm's correction, which is made later."""
        if last.verdict == "undecided" and at_end and self.group_size > 1 and concluded.p_pass <= self.policy.alpha:
            return "pass"
        return last.verdict

    def _p(self, taken: list[int], p: float, alpha: float, decided: bool) -> float:
        """P-value over all looks: stage-wise where the test ended, else the least alpha that would have ended it."""
        z = _statistic(p)
        if decided:
            return stage_wise_p(self.plan.bounds(taken, alpha), z)

        def excess(level: float) -> float:
            return self.plan.bounds(taken, level).upper[-1] - z

        if excess(0.499) >= 0.0:
            return 1.0

        return float(optimize.brentq(excess, LEAST_LEVEL, 0.499, xtol=1e-6))

    # ---- what is said of the stop

    def _block(self, looks: list[RuleLook], verdict: Verdict) -> dict[str, Any]:
        last, plan = looks[-1], self.plan
        futile = self._futile_from(looks)
        found: dict[str, Any] = {
            "looked_at": f"look {last.index + 1} of {len(plan.at)}",
            "method": "group_sequential",
            "spending": plan.spending.kind,
            "gamma": plan.spending.gamma if plan.spending.kind == "hwang_shih_decani" else None,
            "seed": plan.seed,
            "n_used": last.n,
            "n_all": plan.n_all,
            "share_used": last.n / plan.n_all,
            "looks": [look.as_json(plan.n_all) for look in looks],
            "repeated_interval": [last.tested.difference.ci_low, last.tested.difference.ci_high],
            **self._estimates(looks),
        }
        if plan.futility is not None:
            found["futile_from"] = futile
            found["futile"] = futile == last.n and verdict == "undecided"
        return found

    def _futile_from(self, looks: list[RuleLook]) -> int | None:
        """Return the number of prompts at the first look below a futility bound."""
        bounds = self.plan.futility_bounds(self.alphas[0], self.policy.target_power)
        low = (look.n for look in looks if bounds and look.n < self.plan.n_all and self._is_futile(look, bounds))
        return next(low, None)

    def _is_futile(self, look: RuleLook, bounds: tuple[float, ...]) -> bool:
        return _statistic(look.tested.p_pass) <= bounds[look.index]

    def _estimates(self, looks: list[RuleLook]) -> dict[str, Any]:
        """Return the median-unbiased estimate and its interval, or why there are none."""
        last = looks[-1]
        difference, thresholds = last.tested.difference, last.tested.thresholds
        why_not = _no_estimate(last)
        if why_not or not difference.stderr:
            return {"median_unbiased": None, "interval": None, "no_estimate": why_not}
        sign = -1.0 if tested_as(last.decided.kind, last.decided.rule)[1].better == "lower" else 1.0
        unit = sign * difference.stderr * math.sqrt(last.n / self.plan.n_all)
        bounds = Bounds(
            tuple(look.n / self.plan.n_all for look in looks),
            tuple(float(stats.norm.isf(look.levels[0])) for look in looks),
            tuple(-float(stats.norm.isf(look.levels[1])) for look in looks),
        )
        z = sign * (difference.value - thresholds[0]) / difference.stderr
        found = stage_wise_estimate(bounds, z, self.policy.alpha)
        limits = sorted(thresholds[0] + unit * drift for drift in (found.low, found.high))
        return {"median_unbiased": thresholds[0] + unit * found.median_unbiased, "interval": limits}


def _statistic(p: float) -> float:
    """Return the normal statistic of a one-sided p-value."""
    return float(min(max(stats.norm.isf(p), -_LARGEST_Z), _LARGEST_Z))


def _no_estimate(last: RuleLook) -> str:
    """Return why the outcomes have no stage-wise ordering by the effect; "" if they have."""
    if len(last.tested.thresholds) != 1:
        return "the rule passes between two thresholds"
    if tested_as(last.decided.kind, last.decided.rule)[1].margin.relative:
        return "the margin is a share of the baseline's value"
    return "" if last.tested.difference.stderr else "the differences have no spread"


def look_words(sequential: dict[str, Any]) -> str:
    """Describe at which look a rule ended, and the estimate there."""
    words = f"after {sequential['looked_at']}, {sequential['n_used']} of {sequential['n_all']} prompts"
    if sequential["median_unbiased"] is not None:
        low, high = sequential["interval"]
        words += f"; median-unbiased estimate {sequential['median_unbiased']:+.2f} ({low:+.2f} to {high:+.2f})"
    if sequential.get("futile"):
        words += "; below the futility bound: passing is unlikely"
    return words
