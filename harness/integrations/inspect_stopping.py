"""Inspect's early stopping, decided by a policy: ``Task(..., early_stopping=GateStopping("gate.yaml", "base.eval"))``.

Inspect (UK AI Security Institute) ships the protocol ``inspect_ai.util.EarlyStopping`` without a statistical manager.
This one compares the scores of the samples with a stored baseline, or with a number, by the betting test of
`harness.gate.sequential`, and stops the samples that are left once every rule passes or one fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import MissingDataError, UsageError
from harness.gate.policy import AnyRule, Kind, Limit, Policy, Rule, find_policy
from harness.gate.testing import claims_of
from harness.integrations.inspect_scores import Values, baseline_values, number_of
from harness.integrations.watched_rule import Bounds, WatchedRule, WatchedVerdict, verdict_of_all
from harness.stats.confidence_sequence import Scale

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.log import EvalSpec
    from inspect_ai.scorer import SampleScore
    from inspect_ai.util import EarlyStop

_MOST_LOOKS = 1000


class GateStopping:
    """An early stopping manager for `inspect_ai.Task`.

    Parameters
    ----------
    policy : Policy, Path or str
        A policy, its file, or the name of a shipped one. Its rules about the task are watched: ``benchmark`` is the
        task's name, ``metric`` a scorer's name (``SCORER/KEY`` where the value is a mapping), and margins are in the
        score's own unit (0.02 for two points of accuracy).
    baseline : Path or str, optional
        An Inspect log of the same samples, or the directory of an assay run whose prompts' keys are the sample ids.
        Not needed where all rules are limits.
    scales : mapping of str to (float, float), optional
        Ends of the scale of each metric; (0, 1) where missing.
    baseline_metrics : mapping of str to str, optional
        The baseline's name of a metric, where it differs from Inspect's.
    in_random_order : bool
        Whether the samples of an unshuffled data set are in random order all the same. The error bound needs a random
        order, so that a data set in any other order is refused; ``eval(..., sample_shuffle=SEED)`` shuffles it.

    Raises
    ------
    MissingDataError
        inspect-ai is not installed, or there is no baseline.
    UsageError, SpecError
        The policy cannot be watched.

    Notes
    -----
    The order of the test is that in which Inspect schedules the samples. Samples that have no score, because they are
    not finished or failed, count as the worst possible value, so neither the speed of a sample nor a failure can bias
    the decision (`harness.integrations.watched_rule.anytime_p_values`). A sample has a value once all its epochs are
    scored.
    """

    def __init__(
        self,
        policy: Policy | Path | str,
        baseline: Path | str | None = None,
        *,
        scales: Mapping[str, tuple[float, float]] | None = None,
        baseline_metrics: Mapping[str, str] | None = None,
        in_random_order: bool = False,
    ) -> None:
        try:
            from inspect_ai.util import EarlyStop
        except ImportError as error:
            raise MissingDataError(
                "the package inspect-ai is not installed", remedy="pip install 'assay[inspect]'"
            ) from error
        self._early_stop = EarlyStop
        self.policy = policy if isinstance(policy, Policy) else find_policy(str(policy))
        self.baseline = None if baseline is None else Path(baseline)
        self.scales = dict(scales or {})
        self.baseline_metrics = dict(baseline_metrics or {})
        self.in_random_order = in_random_order
        self.rules: list[WatchedRule] = []
        self._theirs: dict[str, Values] = {}
        self._order: list[str] = []
        self._values: dict[str, dict[str, dict[int, float | None]]] = {}
        self._epochs = 1
        self._order_words = ""
        self._n_complete = 0
        self._stopped_after: int | None = None

    async def start_task(self, task: EvalSpec, samples: list[Sample], epochs: int) -> str:
        """Take the samples in the order they are scheduled; called by Inspect.

        Raises
        ------
        UsageError
            The order is not random, no rule is about the task, or the baseline lacks samples or a metric.
        """
        rules = _rules_about(self.policy, task.task)
        self._order_words = self._checked_order(bool(task.dataset.shuffled or task.config.sample_shuffle))
        names = {scorer.name for scorer in task.scorers or ()}
        unknown = [rule.metric for _, rule in rules if rule.metric.partition("/")[0] not in names]
        if names and unknown:
            raise UsageError(f"{task.task} has no scorer {unknown[0]}", ", ".join(sorted(names)), "correct the metric")
        self._order, self._epochs = [str(sample.id) for sample in samples], epochs
        self._values, self._n_complete, self._stopped_after = {}, 0, None
        self._theirs = self._baseline_of(rules)
        self.rules = [self._watched(kind, rule) for kind, rule in rules]
        return f"assay gate: {self.policy.name}"

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:  # noqa: A002 - Inspect's name
        """Say whether a sample is not needed any more; called by Inspect."""
        verdict = self.verdict()
        if verdict == "undecided":
            return None
        reason = f"the gate's decision is {verdict} after {self._stopped_after} of {len(self._order)} samples"
        return self._early_stop(id=id, epoch=epoch, reason=reason)

    async def complete_sample(self, id: str | int, epoch: int, scores: dict[str, SampleScore]) -> None:  # noqa: A002
        """Take the scores of a sample; called by Inspect."""
        by_scorer = {name: scored.score for name, scored in scores.items()}
        of_sample = self._values.setdefault(str(id), {})
        for rule in self.rules:
            of_sample.setdefault(rule.metric, {})[epoch] = number_of(by_scorer, rule.metric)
        if all(len(of_epochs) >= self._epochs for of_epochs in of_sample.values()):
            self._n_complete += 1
            if self._n_complete % (1 + len(self._order) // _MOST_LOOKS) == 0 or self._n_complete == len(self._order):
                self._look()

    async def complete_task(self) -> dict[str, Any]:
        """Return the decision and its figures, which Inspect stores in the log."""
        self._look()
        return {
            "decision": self.verdict(),
            "policy": self.policy.name,
            "alpha": self.policy.alpha,
            "baseline": None if self.baseline is None else str(self.baseline),
            "order": self._order_words,
            "n_samples": len(self._order),
            "n_scored": self._n_complete,
            "stopped_after": self._stopped_after,
            "rules": [
                {
                    "kind": rule.kind,
                    "metric": rule.metric,
                    "decision": rule.verdict,
                    "effect": rule.effect,
                    "p_pass": rule.p_pass,
                    "p_fail": rule.p_fail,
                    "n": rule.n_known,
                }
                for rule in self.rules
            ],
        }

    def verdict(self) -> WatchedVerdict:
        """The decision so far."""
        return verdict_of_all(self.rules) if self.rules else "undecided"

    def _checked_order(self, shuffled: bool) -> str:
        """What the order is, in words; refused unless it is random."""
        if not shuffled and not self.in_random_order:
            raise UsageError(
                "the samples are in the order of the data set; the test needs a random one",
                "a shuffled data set",
                "give sample_shuffle=SEED to eval, or in_random_order=True if the data set's own order is random",
            )
        return "shuffled by Inspect" if shuffled else "the data set's own, said to be random"

    def _look(self) -> None:
        if self.verdict() != "undecided":
            return
        last = max((place for place, key in enumerate(self._order) if key in self._values), default=-1)
        for rule in self.rules:
            rule.look(self._bounds(rule, self._order[: last + 1]))
        if self.verdict() != "undecided":
            self._stopped_after = self._n_complete

    def _bounds(self, rule: WatchedRule, keys: Sequence[str]) -> Bounds:
        low, high = self._scale(rule.metric)
        values = [self._value(key, rule.metric) for key in keys]
        if rule.number is None:
            theirs = np.array([self._theirs[rule.metric][key] for key in keys])
        else:
            theirs = np.full(len(keys), rule.number)
        least = np.array([low if value is None else value for value in values])
        most = np.array([high if value is None else value for value in values])
        return Bounds(least - theirs, most - theirs)

    def _value(self, key: str, metric: str) -> float | None:
        """The mean of a sample's epochs; None unless all are scored."""
        of_epochs = self._values.get(key, {}).get(metric, {})
        values = [value for value in of_epochs.values() if value is not None]
        if len(values) < self._epochs:
            return None
        low, high = self._scale(metric)
        value = sum(values) / len(values)
        if not low <= value <= high:
            raise UsageError(
                f"sample {key} has the value {value:g} of {metric}",
                f"{low:g} to {high:g}",
                "give the metric's scale: scales={METRIC: (LOW, HIGH)}",
            )
        return value

    def _scale(self, metric: str) -> tuple[float, float]:
        return self.scales.get(metric, (0.0, 1.0))

    def _baseline_of(self, rules: Sequence[tuple[Kind, AnyRule]]) -> dict[str, Values]:
        compared = [rule for _, rule in rules if isinstance(rule, Rule)]
        if not compared:
            return {}
        if self.baseline is None:
            first = compared[0]
            raise UsageError(
                f"the rule about {first.metric} compares with a baseline, and there is none",
                "an Inspect log or a run directory",
                "give baseline=PATH, or use limit rules alone",
            )
        metrics = {rule.metric: self.baseline_metrics.get(rule.metric, rule.metric) for rule in compared}
        found = baseline_values(self.baseline, compared[0].benchmark, metrics)
        for metric, values in found.items():
            missing = [key for key in self._order if key not in values]
            if missing:
                raise UsageError(
                    f"the baseline {self.baseline} has no {metric} of {len(missing)} of {len(self._order)} samples, "
                    f"for example {missing[0]}",
                    "the same samples, scored",
                    "measure the baseline on these samples",
                )
        return found

    def _watched(self, kind: Kind, rule: AnyRule) -> WatchedRule:
        low, high = self._scale(rule.metric)
        min_n = self.policy.min_n if rule.min_n is None else rule.min_n
        number, tested, scale = None, rule, Scale(low - high, high - low)
        if isinstance(rule, Limit):
            number, tested, scale = rule.number, rule.as_improve(), Scale(low - rule.number, high - rule.number)
        assert isinstance(tested, Rule)
        claims = claims_of("improve" if number is not None else kind, tested, 0.0)
        return WatchedRule(kind, rule.metric, claims, number, rule.tier, scale, self.policy.alpha, min_n)


def _rules_about(policy: Policy, task: str) -> list[tuple[Kind, AnyRule]]:
    """The rules about a task, which Inspect may name with its package in front.

    Raises
    ------
    UsageError
        There is none, one is in a group, or one has a relative margin.
    """
    names = {task, task.rpartition("/")[2]}
    rules = [(kind, rule) for kind, rule in policy.each_rule() if rule.benchmark in names]
    if not rules:
        there = ", ".join(dict.fromkeys(rule.benchmark for _, rule in policy.each_rule()))
        raise UsageError(f"no rule of {policy.name} is about the task {task}", there, "name the task as `benchmark`")
    grouped = [member.rule for entry in policy.rules for member in entry.any or ()]
    for found in rules:
        _refuse_unwatchable(*found, in_group=found in grouped)
    return rules


def _refuse_unwatchable(kind: Kind, rule: AnyRule, *, in_group: bool) -> None:
    is_relative = isinstance(rule, Rule) and rule.margin.relative
    what = "a relative margin" if is_relative else "a group (any)"
    if is_relative or in_group:
        raise UsageError(
            f"{kind} {rule.metric} has {what}, which cannot be watched",
            "rules outside groups, with margins in the metric's unit",
        )
