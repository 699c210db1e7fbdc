"""What a policy's decision takes: prompts, judge calls, money and time of every design, and how the tests may end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.errors import AssayError, UsageError
from harness.gate.head_to_head import head_to_head_units
from harness.gate.planned_costs import PromptCost, estimated_cost, stored_cost
from harness.gate.planned_designs import Designs, Needed, Outcome
from harness.gate.planned_rule import Spread, SupposedRule, moved
from harness.gate.planned_spread import RunsToPlanFrom, spread_of_runs, spread_of_sd
from harness.gate.policy import HEAD_TO_HEAD, AnyRule, Kind, Limit, Policy, Rule
from harness.gate.rule import tested_as
from harness.gate.testing import Claim, claims_of
from harness.protocols import DataSource
from harness.run.estimate import RunEstimate
from harness.run.stored_run import StoredRun
from harness.stats.mean_test import decisiveness
from harness.stats.power import PowerSpec, minimum_detectable_effect

EVERY = ""
"""Key of the effect, or standard deviation, of all rules that have none of their own."""
_HALF = 50.0


@dataclass(frozen=True)
class PlanRequest:
    """What is to be planned.

    Parameters
    ----------
    policy : Policy
    data : DataSource
        Upstream files that fits need.
    candidate, baseline, direct : StoredRun or None
        Runs to take the spread and the cost from; `direct` judged candidate against baseline.
    power : float
        Wanted chance of passing.
    width : float or None
        Wanted width of the interval instead of a power.
    effects, sds : mapping of str to float
        By "BENCHMARK:METRIC", or `EVERY`. An effect is candidate minus baseline (or minus a limit's number).
    correlation : float
        Of two runs' values of one prompt, where one run is there.
    estimate : RunEstimate or None
        Calls and money where no run stores them.
    seconds : float or None
        Wall time of one prompt.
    """

    policy: Policy
    data: DataSource
    candidate: StoredRun | None = None
    baseline: StoredRun | None = None
    direct: StoredRun | None = None
    power: float = 0.8
    width: float | None = None
    effects: Mapping[str, float] = field(default_factory=dict)
    sds: Mapping[str, float] = field(default_factory=dict)
    correlation: float = 0.5
    estimate: RunEstimate | None = None
    seconds: float | None = None

    @property
    def has_runs(self) -> bool:
        """Whether there is a run to plan from."""
        return self.candidate is not None or self.baseline is not None

    @property
    def runs(self) -> RunsToPlanFrom:
        """The runs to plan from."""
        return RunsToPlanFrom(self.candidate, self.baseline, self.data, self.correlation)


@dataclass(frozen=True)
class PlannedRule:
    """The plan of one rule.

    Parameters
    ----------
    kind, rule : str, Rule or Limit
    effect : float or None
        Supposed.
    sd : float or None
        Standard deviation of one prompt's difference.
    n_runs, n_pilot : int or None
        Prompts of the benchmark in the runs, and those both runs hold.
    cost : PromptCost
    designs : tuple of Needed
    direct : tuple of Needed
        The designs with candidate and baseline judged against each other.
    direct_cost : PromptCost
    notes : tuple of str
        What was supposed.
    reason : str
        Why the rule is not planned; "" if it is.
    """

    kind: Kind
    rule: AnyRule
    effect: float | None = None
    sd: float | None = None
    n_runs: int | None = None
    cost: PromptCost = field(default_factory=PromptCost)
    designs: tuple[Needed, ...] = ()
    direct: tuple[Needed, ...] = ()
    direct_cost: PromptCost = field(default_factory=PromptCost)
    notes: tuple[str, ...] = ()
    reason: str = ""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the designs for ``--json``."""
        for against, cost, found in (("third", self.cost, self.designs), ("each_other", self.direct_cost, self.direct)):
            for needed in found:
                yield {"judged": "as in the runs" if against == "third" else "head_to_head", **self._row(needed, cost)}

    def _row(self, needed: Needed, cost: PromptCost) -> dict[str, Any]:
        expected = needed.outcome.expected if needed.outcome is not None else needed.n
        return {
            "design": needed.design,
            "n_prompts": needed.n,
            "expected_prompts": expected,
            "power": None if needed.outcome is None else needed.outcome.passes,
            "most": None if needed.n is None else self._costs(needed.n, cost),
            "expected": None if expected is None else self._costs(expected, cost),
            "here": None if needed.here is None else _chances(needed.here, cost),
            "reason": needed.reason or None,
        }

    def _costs(self, n: float, cost: PromptCost) -> dict[str, float | None]:
        """Return the cost; prompts beyond those of the runs are measured for the baseline too."""
        twice = not isinstance(self.rule, Limit) and cost is self.cost and self.n_runs is not None
        return cost.times(n + max(0.0, n - (self.n_runs or 0)) if twice else n)

    def as_json(self) -> dict[str, Any]:
        """Return the rule's entry in the output of `assay plan --json`."""
        return {
            "benchmark": self.rule.benchmark,
            "metric": self.rule.metric,
            "kind": self.kind,
            "effect": self.effect,
            "sd": self.sd,
            "n_runs": self.n_runs,
            "currency": self.cost.currency,
            "designs": list(self.rows()),
            "fewest_calls": self.fewest_calls(),
            "notes": list(self.notes),
            "reason": self.reason or None,
        }

    def fewest_calls(self) -> str | None:
        """Return the design expected to need the fewest judge calls (or prompts, if calls are unknown), in words."""
        known = []
        for row in self.rows():
            if row["expected"] is not None:
                calls = row["expected"]["judge_calls"]
                known.append((row["expected_prompts"] if calls is None else calls, row["expected_prompts"], row))
        if not known:
            return None
        best = min(known, key=lambda item: item[:2])[2]
        return str(best["design"]) + (", head to head" if best["judged"] == "head_to_head" else "")


def _chances(found: Outcome, cost: PromptCost) -> dict[str, Any]:
    chances = {"pass": found.passes, "undecided": found.undecided, "fail": found.fails}
    return {**chances, "expected_prompts": found.expected, **cost.times(found.expected)}


@dataclass(frozen=True)
class PolicyPlan:
    """The plan of a policy."""

    policy: Policy
    rules: tuple[PlannedRule, ...]
    left_out: tuple[str, ...]
    power: float
    width: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the output of `assay plan --json`."""
        return {
            "policy": self.policy.name,
            "alpha": self.policy.alpha,
            "power": None if self.width is not None else self.power,
            "width": self.width,
            "rules": [rule.as_json() for rule in self.rules],
            "left_out": list(self.left_out),
        }


def plan_policy(request: PlanRequest) -> PolicyPlan:
    """Plan every rule of a policy.

    Returns
    -------
    PolicyPlan
        A rule that cannot be planned has a reason; optional rules on benchmarks that no run holds are left out.

    Raises
    ------
    UsageError
        A wrong power, width, effect or correlation; no rule can be planned.
    """
    _check(request)
    rules, left_out = [], []
    for kind, rule in request.policy.each_rule():
        if not rule.required and not _is_there(rule, request):
            left_out.append(rule.title(kind))
            continue
        rules.append(_planned(kind, rule, request))
    if not any(rule.designs for rule in rules):
        reasons = list(dict.fromkeys(rule.reason for rule in rules)) or [
            "the runs hold none of the benchmarks of its optional rules"
        ]
        raise UsageError(f"no rule of the policy {request.policy.name} can be planned: {'; '.join(reasons)}")
    return PolicyPlan(request.policy, tuple(rules), tuple(left_out), request.power, request.width)


def _check(request: PlanRequest) -> None:
    if not request.policy.alpha < request.power < 1.0:
        raise UsageError(f"a power of {request.power:g}", f"above alpha ({request.policy.alpha:g}) and below 1")
    if request.width is not None and not (math.isfinite(request.width) and request.width > 0.0):
        raise UsageError(f"a width of {request.width:g}", "a positive number in the metric's unit")
    if not 0.0 <= request.correlation < 1.0:
        raise UsageError(f"a correlation of {request.correlation:g}", "from 0 to below 1")
    _check_numbers(request)
    if not request.has_runs and not request.sds:
        raise UsageError("there is no run to plan from", "--baseline DIR, --candidate DIR, or --sd S")


def _check_numbers(request: PlanRequest) -> None:
    for value in request.effects.values():
        if not math.isfinite(value):
            raise UsageError(f"an effect of {value:g}", "a finite number")
    for value in request.sds.values():
        if not (math.isfinite(value) and value > 0.0):
            raise UsageError(f"a standard deviation of {value:g}", "a finite number above 0")
    known = {f"{rule.benchmark}:{rule.metric}" for _, rule in request.policy.each_rule()} | {EVERY}
    unknown = [key for key in (*request.effects, *request.sds) if key not in known]
    if unknown:
        raise UsageError(f"no rule of the policy is about {unknown[0]}", ", ".join(sorted(known - {EVERY})))


def _is_there(rule: AnyRule, request: PlanRequest) -> bool:
    if rule.metric == HEAD_TO_HEAD and request.direct is None:
        return not request.has_runs and _named(request.sds, rule) is not None
    if not request.has_runs:
        return _named(request.sds, rule) is not None
    return any(
        run is not None and run.entry(rule.benchmark) is not None for run in (request.candidate, request.baseline)
    )


def _named(values: Mapping[str, float], rule: AnyRule) -> float | None:
    return values.get(f"{rule.benchmark}:{rule.metric}", values.get(EVERY))


def _planned(kind: Kind, rule: AnyRule, request: PlanRequest) -> PlannedRule:
    try:
        if rule.categories is not None:
            raise UsageError("rules over categories are not planned: what they need depends on the smallest category")
        return _RuleToPlan.of(kind, rule, request).planned()
    except AssayError as error:
        if isinstance(error, RefusedPlanError):
            raise
        return PlannedRule(kind, rule, reason=" ".join(str(error).split()))


class RefusedPlanError(UsageError):
    """What was asked for is wrong, whatever the runs hold."""


@dataclass(frozen=True)
class _RuleToPlan:
    kind: Kind
    rule: AnyRule
    request: PlanRequest
    spread: Spread
    n_runs: int | None

    @classmethod
    def of(cls, kind: Kind, rule: AnyRule, request: PlanRequest) -> _RuleToPlan:
        sd = _named(request.sds, rule)
        if rule.metric == HEAD_TO_HEAD and request.direct is not None:
            return cls(kind, rule, request, _direct_spread(request.direct, rule.benchmark), _n_of(request, rule))
        n_runs = _n_of(request, rule) if request.has_runs else None
        spread = spread_of_sd(sd) if sd is not None else spread_of_runs(kind, rule, request.runs)
        return cls(kind, rule, request, spread, n_runs)

    def planned(self) -> PlannedRule:
        self._check_width()
        effect, words = self._effect()
        supposed = self._supposed(self.spread, effect, self._claims())
        found = self._designs(supposed)
        cost = self._cost()
        direct, direct_cost, direct_words = self._directly(effect)
        notes = [self.spread.words, words, cost.words, *direct_words]
        least = self.request.policy.min_n
        here = self.spread.differences.size
        if self.request.has_runs and self.request.candidate is not None and here < least:
            notes.append(
                f"a pilot of {here} prompts, fewer than the policy's min_n of {least}: the spread is uncertain"
            )
        return PlannedRule(
            self.kind, self.rule, effect, supposed.sd, self.n_runs, cost, tuple(found), tuple(direct), direct_cost,
            tuple(filter(None, notes)),
        )  # fmt: skip

    def _check_width(self) -> None:
        span, width = self.spread.span, self.request.width
        if width is not None and span is not None and width >= span[1] - span[0]:
            raise RefusedPlanError(
                f"a width of {width:g} for {self.rule.title(self.kind)}, whose differences lie between {span[0]:g} and "
                f"{span[1]:g}", f"less than {span[1] - span[0]:g}",
            )  # fmt: skip

    def _claims(self) -> tuple[Claim, ...]:
        """Return the claims; with a relative margin their threshold is 0, and the share is subtracted by prompt."""
        kind, rule = tested_as(self.kind, self.rule)
        if self._share() is not None:
            return tuple(Claim(claim.sign, 0.0) for claim in claims_of(kind, rule, 0.0))
        return tuple(claims_of(kind, rule, float(self.spread.baseline.mean())))

    def _share(self) -> float | None:
        if isinstance(self.rule, Limit) or not self.rule.margin.relative:
            return None
        if not self.spread.baseline.any():
            raise UsageError(
                f"{self.rule.title(self.kind)}: the margin is a share of the baseline's value, which is not known",
                "a run to plan from", "give --baseline DIR",
            )  # fmt: skip
        if self.spread.test == "t":
            return None
        return self.rule.margin.value if self.kind == "improve" else -self.rule.margin.value

    def _supposed(self, spread: Spread, effect: float | None, claims: tuple[Claim, ...]) -> SupposedRule:
        size = spread.differences.size
        at, weights = (spread, np.full(size, 1.0 / size)) if effect is None else moved(spread, effect)
        policy, rule = self.request.policy, self.rule
        min_n = policy.min_n if rule.min_n is None else rule.min_n
        levels = policy.alpha / self._group_size(), policy.alpha
        return SupposedRule(at, weights, claims, self._share() if spread is self.spread else None, levels, min_n)

    def _group_size(self) -> int:
        """Return the number of rules in the rule's any-of group that the plan is about."""
        for entry in self.request.policy.rules:
            members = [member.rule for member in entry.any or () if member.rule is not None]
            if any(rule is self.rule for _, rule in members):
                there = [rule for _, rule in members if rule.required or _is_there(rule, self.request)]
                return max(1, len(there))
        return 1

    def _effect(self) -> tuple[float | None, str]:
        """Return the effect supposed and what it is.

        Raises
        ------
        RefusedPlanError
            It is exactly on the rule's threshold.
        """
        given = self._given_effect()
        if given is None and self.request.width is not None:
            return None, ""
        if given is None and self.kind == "keep":
            return 0.0, "supposed effect: unchanged (0)"
        if given is None:
            return self._least_effect()
        for claim in self._claims():
            if self._share() is None and claim.sign * given == claim.threshold:
                raise RefusedPlanError(
                    f"an effect of {given:g} for {self.rule.title(self.kind)}, exactly on its threshold: no number of "
                    "prompts decides it", "an effect on the side where the rule holds",
                    f"give --effect {self.rule.benchmark}:{self.rule.metric}=D with another D",
                )  # fmt: skip
        return given, f"supposed effect: {given:+g}"

    def _given_effect(self) -> float | None:
        """Return the rule's own effect; that of all rules is for a `keep` only if the policy has nothing else."""
        own = self.request.effects.get(f"{self.rule.benchmark}:{self.rule.metric}")
        only_keeps = all(kind == "keep" for kind, _ in self.request.policy.each_rule())
        if own is None and (self.kind != "keep" or only_keeps):
            return self.request.effects.get(EVERY)
        return own

    def _least_effect(self) -> tuple[float, str]:
        if self.n_runs is None or self.n_runs < 2:
            raise UsageError("an effect is needed, as there is no run with all prompts", "--effect D")
        claim, sd = self._claims()[0], float(self.spread.differences.std())
        if self._share() is not None:
            raise UsageError("an effect is needed for a relative margin", "--effect BENCHMARK:METRIC=D")
        alpha = self.request.policy.alpha / self._group_size()
        design = PowerSpec(alpha, self.request.power, sides=1, threshold=claim.threshold)
        least = claim.sign * minimum_detectable_effect(sd, self.n_runs, design)
        return least, f"supposed effect: {least:+.3g}, the least that the runs' {self.n_runs} prompts show"

    def _designs(self, supposed: SupposedRule) -> list[Needed]:
        designs = Designs(supposed, self.request.policy)
        if self.request.width is not None:
            return designs.for_width(self.request.width, self.n_runs)
        return designs.for_power(self.request.power, self.n_runs)

    def _cost(self) -> PromptCost:
        request, name = self.request, self.rule.benchmark
        if self.rule.metric == HEAD_TO_HEAD and request.direct is not None:
            return stored_cost(request.direct, _name_in(request.direct, name), request.seconds)
        found = None if request.estimate is None else estimated_cost(request.estimate, name, request.seconds)
        if found is not None or not request.has_runs:
            return found or PromptCost(seconds=request.seconds)
        holders = [run for run in (request.candidate, request.baseline) if run is not None and run.entry(name)]
        return stored_cost(holders[0], request.runs.name(name), request.seconds)

    # ---- head to head

    def _directly(self, effect: float | None) -> tuple[list[Needed], PromptCost, list[str]]:
        """Plan the same rule with candidate and baseline judged against each other, if its metric is a preference."""
        found = None if effect is None or self.request.width is not None else self._direct_rule(effect)
        if found is None:
            return [], PromptCost(), []
        supposed, shift, words = found
        cost = self._direct_cost()
        return self._designs(supposed), cost, [f"head to head: {shift:+.1f} points from one half supposed; {words}"]

    def _direct_rule(self, effect: float) -> tuple[SupposedRule, float, str] | None:
        value = self._baseline_rate()
        if value is None or not isinstance(self.rule, Rule):
            return None
        margin = self.rule.margin.value
        threshold = _against_each_other(value, margin if self.kind == "improve" else -margin)
        shift = _against_each_other(value, effect)
        if threshold is None or shift is None:
            return None
        direct = self._direct_run()
        spread = _decisive_spread() if direct is None else _direct_spread(direct, self.rule.benchmark)
        return self._supposed(spread, shift, (Claim(1.0, threshold),)), shift, spread.words

    def _direct_run(self) -> StoredRun | None:
        """Return the head-to-head run if it holds the benchmark."""
        direct = self.request.direct
        return None if direct is None or direct.entry(self.rule.benchmark) is None else direct

    def _goes_up(self) -> bool:
        """Whether the rule asks for a higher figure than the baseline's, by a margin in the metric's unit."""
        rule = self.rule
        return isinstance(rule, Rule) and rule.better == "higher" and not rule.margin.relative

    def _baseline_rate(self) -> float | None:
        """Return the win rate of the baseline in percent; None if the rule is not about a judge's preferences."""
        run = self.request.baseline
        if run is None or run.entry(self.rule.benchmark) is None or not self._goes_up():
            return None
        name = self.request.runs.name(self.rule.benchmark)
        benchmark = run.benchmark(name)
        items = benchmark.items(self.rule.metric, run.scores_of(name))
        if items is None or not items.scores or items.scale != 100.0 or items.bounds != (0.0, 1.0):
            return None
        kinds = {benchmark.score_kinds[name].role for name in {s.metric for s in items.scores}}
        if kinds != {"preference"}:
            return None
        return float(self.spread.baseline.mean())

    def _direct_cost(self) -> PromptCost:
        request = self.request
        direct = self._direct_run()
        if direct is not None:
            return stored_cost(direct, _name_in(direct, self.rule.benchmark), request.seconds)
        own, turns = self._cost(), self._turns()
        money = None if own.money is None or not own.calls else own.money / own.calls * 2.0 * turns
        return replace(own, calls=2.0 * turns, money=money, words="two verdicts a turn, one in each order")

    def _turns(self) -> float:
        prompts = self.request.runs.whole.prompts_of(self.request.runs.name(self.rule.benchmark)).values()
        return float(np.mean([len(prompt.turns) for prompt in prompts])) if prompts else 1.0


def _n_of(request: PlanRequest, rule: AnyRule) -> int | None:
    return request.runs.n_prompts(rule.benchmark) or None if request.has_runs else None


def _name_in(run: StoredRun, benchmark: str) -> str:
    return str((run.entry(benchmark) or {"name": benchmark})["name"])


def _decisive_spread() -> Spread:
    words = "strengths supposed to add up as in Bradley and Terry's model, all verdicts decisive"
    return Spread(np.array([-_HALF, _HALF]), np.full(2, _HALF), (-_HALF, _HALF), words=words)


def _direct_spread(direct: StoredRun, benchmark: str) -> Spread:
    name = _name_in(direct, benchmark)
    prompts = direct.prompts_of(name)
    verdicts = (j for j in direct.directory.slim_judgments() if j.prompt_id in prompts)
    units = head_to_head_units(verdicts, prompts)
    words = f"{len(units.keys)} prompts judged head to head in {direct.path}"
    decisive = decisiveness(units.first, (0.0, 100.0))
    return Spread(units.first - units.second, units.second, (-_HALF, _HALF), decisive, words=words)


def _against_each_other(rate: float, difference: float) -> float | None:
    """Turn a difference of win rates against a third into points from one half in a direct comparison.

    If both rates follow Bradley and Terry's model, the direct odds are the quotient of the two odds.
    """
    higher = rate + difference
    if not (0.0 < rate < 100.0 and 0.0 < higher < 100.0):
        return None
    odds = higher / (100.0 - higher) * (100.0 - rate) / rate
    return 100.0 * odds / (1.0 + odds) - _HALF
