"""The effect of the variant that was chosen, corrected for having chosen it (the winner's curse)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import AssayError, StatisticsError
from harness.run.compare import unit_values
from harness.run.stored_run import StoredRun
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.selected import selected_effect, simultaneous_interval
from harness.store.align_directory import AlignVariant, ChosenEffect, Figure
from training.align.evaluating import Evaluator
from training.align.measuring import prompt_means, shared_values
from training.align.recipe import ChooseBy

_REFERENCE = "sft"
_REWARDS = ("reward", "gold")


@dataclass(frozen=True)
class ChosenFrom:
    """The variants the loop chose from.

    Parameters
    ----------
    evaluator : Evaluator
        Holds their answers and figures.
    by : ChooseBy
        The figure that decided.
    """

    evaluator: Evaluator
    by: ChooseBy

    def effect(self, chosen: str, accepted: Collection[str]) -> ChosenEffect:
        """Estimate the chosen variant's effect against the SFT model.

        Parameters
        ----------
        chosen : str
            Its name.
        accepted : collection of str
            Names of the variants that were compared, the SFT model included.

        Returns
        -------
        ChosenEffect
            If the gate did not decide on the prompts of the choice, the correction is for the best of the accepted
            variants. If it did, which variants were accepted depends on these prompts too: then the interval is the
            simultaneous one of all variants that were trained.
        """
        metric = f"{self.by.benchmark} {self.by.metric}"
        try:
            shared = bool(self._chosen_on() & self._gated_on())
            variants = [v for v in self._measured() if (v.accepted is not None if shared else v.name in accepted)]
            return self._corrected(chosen, variants, metric, shared)
        except AssayError as error:
            reason = Figure(reason=" ".join(str(error).split()))
            return ChosenEffect(metric=metric, baseline=_REFERENCE, raw=reason, corrected=reason)

    def _corrected(self, chosen: str, variants: Sequence[AlignVariant], metric: str, shared: bool) -> ChosenEffect:
        if chosen == _REFERENCE:
            raise StatisticsError("the SFT model itself was chosen")
        names = [variant.name for variant in variants]
        values = shared_values(*(self._values(variant) for variant in variants))
        sign = 1.0 if self.by.better == "higher" else -1.0
        table = sign * (np.array(values) - np.array(values[names.index(_REFERENCE)])).T
        raw, corrected = _estimates(table, names.index(chosen), shared)
        return ChosenEffect(
            metric=metric,
            baseline=_REFERENCE,
            n_candidates=len(variants),
            raw=_figure(raw, sign),
            corrected=_figure(corrected, sign),
            method="; ".join(text for text in (corrected.method, corrected.note) if text),
            note=_ON_THE_SAME if shared else _ON_OTHERS,
        )

    def _measured(self) -> Sequence[AlignVariant]:
        return self.evaluator.book.state.variants

    def _values(self, variant: AlignVariant) -> dict[str, float]:
        """A variant's values by prompt, whose mean is the figure."""
        metric = self.by.metric
        if self.by.benchmark == "validation":
            if metric not in _REWARDS:
                raise StatisticsError(f"validation {metric} has no values by prompt", " or ".join(_REWARDS))
            return prompt_means(self.evaluator.answers(variant).values(metric))
        run = self._run(variant)
        entry = run.entry(self.by.benchmark) or {}
        name = str(entry.get("name", self.by.benchmark))
        items = run.benchmark(name).items(metric, run.scores_of(name))
        if items is None:
            raise StatisticsError(f"{name} {metric} is a fit, not a mean over prompts", "a mean")
        return unit_values(items)

    def _run(self, variant: AlignVariant) -> StoredRun:
        directory = self.evaluator.book.path(variant.run)
        if directory is None:
            raise StatisticsError(f"{variant.name} has no evaluation run")
        return StoredRun.open(directory)

    def _chosen_on(self) -> set[str]:
        """The first user message of every prompt that the choice rests on."""
        if self.by.benchmark == "validation":
            return {prompt.messages[0].content.strip() for prompt in self.evaluator.validation}
        return self._turns({self.by.benchmark})

    def _gated_on(self) -> set[str]:
        """The same of the prompts that the gate's rules are about; none without a gate."""
        policy = self.evaluator.recipe.policy()
        return set() if policy is None else self._turns({rule.benchmark for _, rule in policy.each_rule()})

    def _turns(self, benchmarks: set[str]) -> set[str]:
        run = self._run(next(v for v in self._measured() if v.name == _REFERENCE))
        names = {str(entry["name"]) for name in benchmarks if (entry := run.entry(name)) is not None}
        return {prompt.turns[0].strip() for prompt in run.prompts.values() if prompt.benchmark in names}


_ON_OTHERS = (
    "the variant was chosen and measured on the same prompts, so the raw figure is too good; the gate decided on other "
    "prompts, and its figures need no correction"
)
_ON_THE_SAME = (
    "the variant was accepted by the gate, chosen and measured on the same prompts, so the raw figure is too good; the "
    "interval holds for all variants at once. The gate tested every variant before the choice, each with its share of "
    "one alpha, and needs no further correction"
)


def _estimates(table: Floats, chosen: int, shared: bool) -> tuple[Estimate, Estimate]:
    """Raw and corrected estimate of a candidate's effect; `shared` where more than the best mean decided."""
    best = selected_effect(table)
    if not shared and best.selected == chosen:
        return best.raw, best.corrected
    raw = selected_effect(table[:, [chosen]]).raw
    return raw, simultaneous_interval(table, chosen)


def _figure(estimate: Estimate, sign: float) -> Figure:
    if estimate.ci_low is None or estimate.ci_high is None:
        return Figure(value=sign * estimate.value, n=estimate.n_clusters)
    low, high = sorted((sign * estimate.ci_low, sign * estimate.ci_high))
    return Figure(value=sign * estimate.value, stderr=estimate.stderr, ci_low=low, ci_high=high, n=estimate.n_clusters)
