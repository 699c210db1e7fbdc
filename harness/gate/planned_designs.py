"""What the designs of a test need: prompts for a power or an interval's width, and how they end on given prompts.

Power and expected prompts are simulated with the gate's own tests. Beyond `MOST_SIMULATED` prompts, where the skewness
of differences no longer matters, they are those of normal theory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import optimize, stats

from harness.errors import StatisticsError, UsageError
from harness.gate.look_plan import LookPlan, nominal
from harness.gate.planned_rule import Rows, SupposedRule
from harness.gate.policy import Policy
from harness.stats.bootstrap import Floats
from harness.stats.confidence_sequence import Scale, betting_limits, betting_log_capital
from harness.stats.group_sequential import Bounds, Exits, exits
from harness.stats.power import PowerSpec, units_needed

DesignName = Literal["fixed", "group_sequential", "betting"]
DESIGNS: tuple[DesignName, ...] = ("fixed", "group_sequential", "betting")

MOST_SIMULATED = 5000
_MOST_BETTING = 50_000
_SEED = 20240917  # fixed, so that a plan is the same each time it is made
_VALUES = 600_000  # of one simulation
_PATHS = (200, 1500)
_WIDTHS = 30
_STEPS = 10
_CLOSE = 0.01


class Outcome(NamedTuple):
    """How a design ends: chances of passing and of failing, and expected prompts."""

    passes: float
    fails: float
    expected: float

    @property
    def undecided(self) -> float:
        """Chance that the prompts do not suffice."""
        return max(0.0, 1.0 - self.passes - self.fails)


@dataclass(frozen=True)
class Needed:
    """What a design needs.

    Parameters
    ----------
    design : str
    n : int or None
        Most prompts; None with a reason.
    outcome : Outcome or None
        On that many prompts; None with a reason, or if a width was asked for.
    here : Outcome or None
        On the prompts the runs have; None if there are no runs.
    reason : str
        Why the design cannot be planned.
    """

    design: DesignName
    n: int | None = None
    outcome: Outcome | None = None
    here: Outcome | None = None
    reason: str = ""


@dataclass(frozen=True)
class Designs:
    """The designs of one rule.

    Parameters
    ----------
    rule : SupposedRule
    policy : Policy
        For its looks, spending and futility.
    """

    rule: SupposedRule
    policy: Policy

    def for_power(self, power: float, n_here: int | None) -> list[Needed]:
        """Plan every design for a power, and say how it ends on `n_here` prompts."""
        first = self._slope(power)
        return [self._planned(design, power, n_here, first) for design in DESIGNS]

    def for_width(self, width: float, n_here: int | None) -> list[Needed]:
        """Plan every design for an interval of a width, two-sided at 1 - 2 alpha."""
        return [self._wide(design, width, n_here) for design in DESIGNS]

    def obstacle(self, design: DesignName) -> str:
        """Return why a design cannot test the rule; "" if it can."""
        return self.rule.spread.no_betting if design == "betting" else ""

    # ---- power

    def _planned(self, design: DesignName, power: float, n_here: int | None, slope: float | None) -> Needed:
        reason = self.obstacle(design)
        if reason:
            return Needed(design, reason=reason)
        try:
            here = None if n_here is None or n_here < 2 else self.outcome(design, n_here)
            if slope is None:
                return Needed(design, here=here, reason="no number of prompts passes a rule that does not hold")
            n = self._needed(design, power, slope)
            if n is None:
                return Needed(design, here=here, reason=f"more than {_MOST_BETTING:,} prompts")
            return Needed(design, n, self.outcome(design, n), here)
        except (UsageError, StatisticsError) as error:
            return Needed(design, reason=" ".join(str(error).split()))

    def _slope(self, power: float) -> float | None:
        """Return by how much the statistic's mean grows with the root of the prompts; None if the rule does not hold.

        The power of the test at n prompts is taken as that of a normal statistic of mean slope * sqrt(n). The slope is
        fitted where the power is the one wanted, so that it makes up for skewness.
        """
        distance = self.rule.distance()
        if distance.mean <= 0.0 or not distance.sd:
            return None if distance.mean <= 0.0 else math.inf
        design = PowerSpec(self.rule.levels[0], power, sides=1)
        n = units_needed(distance.mean, distance.sd, design)
        normal = distance.mean / distance.sd
        if n is None or n > MOST_SIMULATED:
            return normal
        return self._fitted_slope(max(n, 2), power) or normal

    def _fitted_slope(self, n: int, power: float) -> float | None:
        """Fit the slope by simulation, from a first guess of n; None if it is not positive."""
        slope = 0.0
        for _ in range(_STEPS):
            rows = self._rows(n)
            passed = float(np.mean(self.rule.passing(rows) <= self.rule.levels[0]))
            edge = 0.5 / len(rows)
            slope = self._z(min(max(passed, edge), 1.0 - edge)) / math.sqrt(n)
            guess = math.ceil((self._z(power) / slope) ** 2) if slope > 0.0 else 2 * n
            following = min(max(2, guess, n // 3), 3 * n)
            if following > MOST_SIMULATED or abs(following - n) <= max(1.0, _CLOSE * n):
                break
            n = following
        return slope if slope > 0.0 else None

    def _z(self, power: float) -> float:
        return float(stats.norm.isf(self.rule.levels[0]) + stats.norm.ppf(power))

    def _needed(self, design: DesignName, power: float, slope: float) -> int | None:
        if math.isinf(slope):
            return self.rule.min_n
        fixed = math.ceil((self._z(power) / slope) ** 2)
        if design == "fixed":
            return max(fixed, self.rule.min_n)
        if design == "group_sequential":
            return self._needed_in_looks(power, slope, fixed)
        return self._needed_by_betting(power, fixed)

    def _needed_in_looks(self, power: float, slope: float, fixed: int) -> int:
        n = max(fixed, self.rule.min_n)
        for _ in range(3):
            bounds = self._bounds(self._plan(n))

            def short(drift: float, bounds: Bounds = bounds) -> float:
                return exits(bounds, drift).power - power

            drift = float(optimize.brentq(short, 0.0, 20.0, xtol=1e-6))
            n = max(math.ceil((drift / slope) ** 2), self.rule.min_n)
        return n

    def _needed_by_betting(self, power: float, fixed: int) -> int | None:
        horizon = max(4 * fixed, self.rule.min_n, 50)
        while horizon <= _MOST_BETTING:
            passes, fails = self._crossings(horizon)
            at = np.sort(np.where(passes < fails, passes, math.inf))[math.ceil(power * passes.size) - 1]
            if math.isfinite(at):
                return max(int(at), self.rule.min_n)
            horizon *= 2
        return None

    # ---- outcomes

    def outcome(self, design: DesignName, n: int) -> Outcome:
        """Return how a design ends on at most n prompts."""
        if design == "betting":
            return self._betting(n)
        if n > MOST_SIMULATED:
            return self._normal(design, n)
        if design == "fixed":
            rows = self._rows(n)
            passed = self.rule.passing(rows) <= self.rule.levels[0]
            failed = (self.rule.failing(rows) <= self.rule.levels[1]) & ~passed
            return Outcome(float(passed.mean()), float(failed.mean()), float(n))
        return self._in_looks(self._plan(n))

    def _in_looks(self, plan: LookPlan) -> Outcome:
        rows = self._rows(plan.n_all)
        levels = [self._levels(plan, alpha) for alpha in self.rule.levels]
        futile = plan.futility_bounds(self.rule.levels[0], self.policy.target_power)
        open_, used = np.ones(len(rows), dtype=bool), np.full(len(rows), float(plan.n_all))
        passes = fails = 0
        for k, n in enumerate(plan.at):
            if not levels[0][k] and not levels[1][k]:
                continue
            part = rows[open_, :n]
            if not len(part):
                break
            p = self.rule.passing(part)
            passed, failed = p <= levels[0][k], self.rule.failing(part) <= levels[1][k]
            passes, fails = passes + int(passed.sum()), fails + int((failed & ~passed).sum())
            ended = passed | failed
            if futile and n < plan.n_all:
                ended |= stats.norm.isf(p) <= futile[k]
            where = np.flatnonzero(open_)[ended]
            used[where], open_[where] = n, False
        return Outcome(passes / len(rows), fails / len(rows), float(used.mean()))

    def _levels(self, plan: LookPlan, alpha: float) -> list[float]:
        return [nominal(bound) for bound in plan.bounds(range(len(plan.at)), alpha).upper]

    def _betting(self, n: int) -> Outcome:
        passes, fails = self._crossings(n)
        stop = np.maximum(np.minimum(np.minimum(passes, fails), n), min(self.rule.min_n, n))
        passed = (passes < fails) & (passes <= n)
        return Outcome(float(passed.mean()), float(np.mean((fails < passes) & (fails <= n))), float(stop.mean()))

    def _normal(self, design: DesignName, n: int) -> Outcome:
        distance = self.rule.distance()
        drift = math.sqrt(n) * distance.mean / distance.sd if distance.sd else math.inf
        if design == "fixed":
            passes, fails = (float(stats.norm.sf(stats.norm.isf(a) - s * drift)) for a, s in self._sides())
            return Outcome(passes, fails, float(n))
        found: Exits = exits(self._bounds(self._plan(n)), drift)
        return Outcome(sum(found.upper), sum(found.lower), found.expected_information * n)

    def _sides(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (self.rule.levels[0], 1.0), (self.rule.levels[1], -1.0)

    def _crossings(self, n: int) -> tuple[Floats, Floats]:
        """Prompts after which each path shows the rule, and that it does not hold; infinite if it does not by n."""
        claims, values = self.rule.claims, self.rule.spread.differences
        rng, n_paths = np.random.default_rng(_SEED), max(100, min(400, _VALUES // n))
        found: tuple[list[Floats], list[Floats]] = ([], [])
        step = max(1, _VALUES // (4 * n))
        for start in range(0, n_paths, step):
            drawn = values[self.rule.draw((min(step, n_paths - start), n), rng)]
            shown = [self._capital(claim.sign, claim.threshold, drawn) for claim in claims]
            refuted = [self._capital(-claim.sign, -claim.threshold, drawn) for claim in claims]
            found[0].append(_first(np.min(shown, axis=0), self.rule.levels[0]))
            found[1].append(_first(np.max(refuted, axis=0), self.rule.levels[1]))
        return np.concatenate(found[0]), np.concatenate(found[1])

    def _capital(self, sign: float, threshold: float, drawn: Floats) -> Floats:
        """Largest log capital so far of a bet that the signed differences exceed the threshold."""
        scale = self._scale(sign)
        if threshold <= scale.low:
            return np.full(drawn.shape, math.inf if threshold < scale.low else 0.0)
        return np.maximum.accumulate(betting_log_capital(sign * drawn, threshold, scale), axis=1)

    def _scale(self, sign: float) -> Scale:
        low, high = self.rule.spread.span or (-math.inf, math.inf)
        return Scale(low, high) if sign > 0.0 else Scale(-high, -low)

    # ---- widths

    def _wide(self, design: DesignName, width: float, n_here: int | None) -> Needed:
        reason = self.obstacle(design)
        if reason:
            return Needed(design, reason=reason)
        try:
            here = None if n_here is None or n_here < 2 else self.outcome(design, n_here)
            n = self._n_for_width(self._width_at(design), width)
            return Needed(design, n, None, here, "" if n else f"more than {_MOST_BETTING:,} prompts")
        except (UsageError, StatisticsError) as error:
            return Needed(design, reason=" ".join(str(error).split()))

    def _width_at(self, design: DesignName) -> Callable[[int], float]:
        """Return the function from prompts to the interval's width when all of them are judged."""
        alpha = self.rule.levels[1]
        if design == "betting":
            scale = self._scale(1.0)

            def sequence(n: int) -> float:
                ends = [betting_limits(self.rule.spread.differences[row], alpha, scale) for row in self._rows(n)[:10]]
                return float(np.mean([high - low for low, high in ends]))

            return sequence

        def interval(n: int) -> float:
            tail = alpha if design == "fixed" else self._levels(self._plan(n), alpha)[-1]
            if n > MOST_SIMULATED:
                return 2.0 * float(stats.norm.isf(tail)) * self.rule.sd / math.sqrt(n)
            return self.rule.width(self._rows(n)[:_WIDTHS], tail)

        return interval

    def _n_for_width(self, width_at: Callable[[int], float], width: float) -> int | None:
        n = max(2, self.rule.min_n, math.ceil((2.0 * stats.norm.isf(self.rule.levels[1]) * self.rule.sd / width) ** 2))
        for _ in range(_STEPS):
            if n > 10**9:
                return None
            found = width_at(n)
            following = max(2, self.rule.min_n, math.ceil(n * min(max((found / width) ** 2, 0.3), 4.0)))
            if abs(following - n) <= max(1.0, _CLOSE * n):
                return following
            n = following
        return n

    # ---- shared

    def _rows(self, n: int) -> Rows:
        n_paths = max(_PATHS[0], min(_PATHS[1], _VALUES // n))
        return self.rule.draw((n_paths, n), np.random.default_rng(_SEED))

    def _plan(self, n: int) -> LookPlan:
        """Return the policy's looks on n prompts."""
        return LookPlan.of(self.policy, (), n)

    def _bounds(self, plan: LookPlan) -> Bounds:
        """Return the upper bounds of passing, and the lower ones of failing or of futility."""
        upper, failing = (plan.bounds(range(len(plan.at)), alpha).upper for alpha in self.rule.levels)
        futile = plan.futility_bounds(self.rule.levels[0], self.policy.target_power) or (-math.inf,) * len(upper)
        lower = tuple(min(high, max(-low, f)) for high, low, f in zip(upper, failing, futile, strict=True))
        return Bounds(plan.information, upper, lower)


def _first(capital: Floats, level: float) -> Floats:
    hit = capital >= -math.log(level)
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, math.inf)
