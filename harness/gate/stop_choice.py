"""Choose how a run stops early, before it starts: at planned looks or after waves by betting, whichever ends sooner.

What decides is the effect. Betting is quick if it is large; planned looks are quicker near the least effect that the
whole benchmark can show, and test every metric. The effect is supposed beforehand and never taken from the candidate's
answers, which would bias the decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.errors import UsageError
from harness.gate.early_stop import EarlyStop
from harness.gate.look_plan import LookPlan
from harness.gate.look_stop import LookStop
from harness.gate.policy import AnyRule, Kind, Limit, Policy
from harness.gate.rule import tested_as
from harness.gate.testing import Claim, claims_of
from harness.protocols import DataSource
from harness.run.compare import unit_values
from harness.run.stored_run import StoredRun
from harness.stats.bootstrap import Floats
from harness.stats.confidence_sequence import Scale, betting_log_capital
from harness.stats.group_sequential import Bounds, exits

_SEED = 20240917  # of the simulated paths; fixed so that the same choice is made again
_PATHS = 200
_MOST_VALUES = 400_000  # of all simulated paths together

Stop = LookStop | EarlyStop


@dataclass(frozen=True)
class Expected:
    """What a method is expected to use under a supposed effect.

    Parameters
    ----------
    share : float
        Share of the prompts.
    power : float
        Chance of passing.
    """

    share: float
    power: float

    def in_words(self, n_all: int) -> str:
        """Describe it."""
        return f"{self.share:.0%} of the prompts ({round(self.share * n_all)} of {n_all}), passing in {self.power:.0%}"


@dataclass(frozen=True)
class StopChoice:
    """How a run stops early, and why.

    Parameters
    ----------
    stop : LookStop or EarlyStop
        Decides when.
    reasons : tuple of str
        What to say before the run starts.
    """

    stop: Stop
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class StopRequest:
    """What is asked of early stopping.

    Parameters
    ----------
    policy : Policy
    baseline : StoredRun
        A complete run.
    benchmark : str
        The benchmark to be measured.
    data : DataSource
        Upstream files that fitted metrics need.
    seed : int
        Random seed of the prompt order.
    wave : int
        Prompts between looks of betting.
    effect : float or None
        The difference supposed, in the metric of the first critical rule; by default the least that all prompts show
        with the policy's power.
    """

    policy: Policy
    baseline: StoredRun
    benchmark: str
    data: DataSource
    seed: int = 0
    wave: int = 32
    effect: float | None = None

    @property
    def name(self) -> str:
        """Name of the benchmark in the baseline's run."""
        entry = self.baseline.entry(self.benchmark)
        if entry is None:
            raise UsageError(f"the baseline's run does not hold {self.benchmark}", "the same benchmark in both runs")
        return str(entry["name"])

    def in_looks(self) -> LookStop:
        """Return early stopping at the policy's looks."""
        prompts = self.baseline.prompts_of(self.name)
        n_all = len({prompt.cluster for prompt in prompts.values()})
        plan = LookPlan.of(self.policy, prompts, n_all, self.seed)
        return LookStop(self.policy, self.baseline, self.benchmark, plan, self.data)

    def by_betting(self) -> EarlyStop:
        """Return early stopping by betting, after every wave."""
        return EarlyStop(self.policy, self.baseline, self.benchmark, self.seed, self.wave)


def resumed_stop(request: StopRequest, candidate: StoredRun) -> Stop | None:
    """Return how a run that has begun stops; None if it was not begun with early stopping."""
    if candidate.stopped_seed is None:
        return None
    recorded = LookPlan.recorded(candidate)
    if recorded is not None:
        return LookStop(request.policy, request.baseline, request.benchmark, recorded, request.data)
    return EarlyStop(request.policy, request.baseline, request.benchmark, candidate.stopped_seed, request.wave)


def choose_stop(request: StopRequest) -> StopChoice:
    """Choose planned looks or betting.

    Returns
    -------
    StopChoice
        The policy's method if it names one. Else betting if it can test every critical rule and is expected to end
        sooner under the supposed effect, and planned looks otherwise.

    Raises
    ------
    UsageError
        The policy has no rule that can be tested before the run is complete.
    """
    if request.policy.method == "betting":
        return StopChoice(request.by_betting(), ("early stop by betting, as the policy says: a look after every wave",))
    looks = request.in_looks()
    n_all = looks.plan.n_all
    head = f"early stop by group_sequential: {looks.plan.in_words()}"
    why_not = _betting_obstacle(request, looks)
    first = looks.first_rule()
    if first is None:
        return StopChoice(looks, tuple(filter(None, (head, why_not))))
    supposed = _Supposed.of(request, *first)
    expected = _expected_looks(looks.plan, request.policy, supposed.drift)
    said = f"{supposed.words}, it is expected to use {expected.in_words(n_all)}"
    if why_not or request.policy.method == "group_sequential":
        return StopChoice(looks, tuple(filter(None, (head, said, why_not))))
    rival = supposed.by_betting(request.policy, request.wave)
    if rival.share >= expected.share or rival.power < expected.power - 0.02:
        return StopChoice(looks, (head, f"{said}; betting {rival.in_words(n_all)}"))
    head = f"early stop by betting: a look after every wave of {request.wave} prompts"
    said = f"{supposed.words}, it is expected to use {rival.in_words(n_all)}"
    return StopChoice(request.by_betting(), (head, f"{said}; group_sequential {expected.in_words(n_all)}"))


def _betting_obstacle(request: StopRequest, looks: LookStop) -> str:
    """Return why betting cannot decide the policy before the run is complete; "" if it can."""
    try:
        watched = [rule.title(kind) for kind, rule in request.by_betting().watched()]
    except UsageError:
        watched = []
    missing = [title for title in looks.critical_titles() if title not in watched]
    return f"betting cannot test {', '.join(missing)} before all prompts are judged" if missing else ""


def _expected_looks(plan: LookPlan, policy: Policy, drift: float) -> Expected:
    upper = plan.bounds(range(len(plan.at)), policy.alpha).upper
    futile = plan.futility_bounds(policy.alpha, policy.target_power) or (-math.inf,) * len(upper)
    lower = tuple(max(-bound, low) for bound, low in zip(upper, futile, strict=True))
    found = exits(Bounds(plan.information, upper, lower), drift)
    return Expected(found.expected_information, found.power)


@dataclass(frozen=True)
class _Supposed:
    """The effect supposed for a rule, and the differences that the baseline's values would give with it."""

    words: str
    drift: float
    claim: Claim
    values: Floats
    scale: Scale | None

    @classmethod
    def of(cls, request: StopRequest, kind: Kind, rule: AnyRule) -> _Supposed:
        """Suppose an effect; without values by prompt, from which its spread is judged, that of the design."""
        items = request.baseline.benchmark(request.name).items(rule.metric, request.baseline.scores_of(request.name))
        own = np.array(list(unit_values(items).values())) if items is not None and items.scores else np.zeros(0)
        if own.size < 2 or not own.std():
            return _Supposed._without_values(request, kind, rule)
        rng = np.random.default_rng(_SEED)
        n_paths = max(20, min(_PATHS, _MOST_VALUES // own.size))
        drawn = rng.choice(own, (n_paths, own.size))
        # answers to a prompt taken as independent, which at most overstates the spread of their difference
        differences = drawn - (own.mean() if isinstance(rule, Limit) else rng.choice(own, (n_paths, own.size)))
        claim = claims_of(*tested_as(kind, rule), float(own.mean()))[0]
        root = math.sqrt(own.size) / float(differences.std())
        drift = _target_drift(request.policy)
        if request.effect is not None:
            drift = (claim.sign * request.effect - claim.threshold) * root
        shifted = claim.sign * differences + claim.threshold + drift / root
        scale = None
        if items is not None and items.bounds is not None:
            reach = items.scale * (items.bounds[1] - items.bounds[0])
            scale = Scale(-reach, reach)
            shifted = np.clip(shifted, *scale)
        distance = drift / root
        least = f", the least that all {own.size} prompts show with {request.policy.target_power:.0%} power"
        words = f"if {rule.title(kind)} is truly {distance:.2f} beyond its threshold"
        return cls(words + ("" if request.effect is not None else least), drift, claim, shifted, scale)

    @classmethod
    def _without_values(cls, request: StopRequest, kind: Kind, rule: AnyRule) -> _Supposed:
        if request.effect is not None:
            raise UsageError(
                f"--effect for {rule.title(kind)}, whose spread by prompt is not known beforehand",
                "a metric that is a mean over prompts in the first critical rule",
                "omit --effect",
            )
        words = f"if {rule.title(kind)} is what all prompts show with {request.policy.target_power:.0%} power"
        return cls(words, _target_drift(request.policy), Claim(1.0, 0.0), np.zeros((0, 0)), None)

    def by_betting(self, policy: Policy, wave: int) -> Expected:
        """Simulate betting on the supposed differences."""
        if self.scale is None:
            return Expected(1.0, 0.0)
        n = self.values.shape[1]
        passes, fails = (
            _first_crossing(values, threshold, self.scale, policy.alpha)
            for values, threshold in ((self.values, self.claim.threshold), (-self.values, -self.claim.threshold))
        )
        stop = np.maximum(np.minimum(passes, fails) + 1, policy.min_n)
        used = np.minimum(np.ceil(stop / wave) * wave, n)
        return Expected(float(used.mean()) / n, float(np.mean((passes < fails) & (passes < n))))


def _target_drift(policy: Policy) -> float:
    return float(stats.norm.isf(policy.alpha) + stats.norm.ppf(policy.target_power))


def _first_crossing(values: Floats, threshold: float, scale: Scale, alpha: float) -> Floats:
    """Return how many differences each path takes to multiply its capital by 1/alpha; their number if it never does."""
    n = values.shape[1]
    if threshold <= scale.low:
        return np.zeros(len(values))
    hit = betting_log_capital(values, threshold, scale) >= -math.log(alpha)
    return np.asarray(np.where(hit.any(axis=1), hit.argmax(axis=1), n), dtype=np.float64)
