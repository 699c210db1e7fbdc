"""A candidate that was chosen from several by results on the prompts it is now tested on.

The best of T checkpoints that are all no better looks better, and passes more often than alpha. It is therefore tested
at the level at which any of the T passes wrongly with a chance of at most alpha, whichever was chosen and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssayError, StatisticsError, UsageError
from harness.gate.decision import Decision, RuleDecision
from harness.gate.policy import HEAD_TO_HEAD, AnyRule, Policy, Rule
from harness.run.compare import unit_values
from harness.run.stored_run import StoredRun
from harness.stats.bootstrap import Floats
from harness.stats.selected import selection_level


@dataclass(frozen=True)
class Selection:
    """How many candidates there were, and the level of the chosen one's test.

    Parameters
    ----------
    n_candidates : int
        Number of candidates, the chosen one included and the baseline not.
    alpha : float
        Level of the policy.
    level : float
        Level at which each rule is tested.
    method : {"max-t", "Bonferroni"}
        "max-t" where the candidates' runs tell how their differences are correlated.
    because : str
        Why it is Bonferroni's level; "" for max-t.
    candidates : tuple of str
        Their run directories, if given.
    """

    n_candidates: int
    alpha: float
    level: float
    method: str
    because: str = ""
    candidates: tuple[str, ...] = ()

    @classmethod
    def from_number(cls, n_candidates: int, policy: Policy) -> Selection:
        """Correct for a number of candidates, whose runs are not known.

        Raises
        ------
        UsageError
            The number is below one.
        """
        if n_candidates < 1:
            raise UsageError(f"--selected-from {n_candidates}", "the number of candidates, 1 or more")
        return _bonferroni(n_candidates, policy, "only the number of candidates is known")

    @classmethod
    def among(cls, runs: Iterable[Path], policy: Policy, sides: tuple[Path, Path | None]) -> Selection:
        """Correct for the candidates of these runs.

        Parameters
        ----------
        runs : iterable of Path
            Run directories of the candidates; the chosen one is added, the baseline is not counted.
        policy : Policy
            Its rules name the metrics.
        sides : (Path, Path or None)
            Runs of the chosen candidate and the baseline; a policy of limits needs none.

        Raises
        ------
        UsageError
            A directory holds no run.
        """
        distinct = _distinct(runs, sides)
        names = tuple(str(path) for path in distinct)
        try:
            baseline = None if sides[1] is None else StoredRun.open(sides[1])
            levels = _levels(policy, [StoredRun.open(path) for path in distinct], baseline)
        except AssayError as error:
            return replace(_bonferroni(len(names), policy, " ".join(str(error).split())), candidates=names)
        return cls(len(names), policy.alpha, min(levels), "max-t", candidates=names)

    def policy(self, policy: Policy) -> Policy:
        """Return the policy at the level of the test."""
        return policy.model_copy(update={"alpha": self.level})

    def applied(self, decision: Decision) -> Decision:
        """Return a decision at the level of the test as one at the policy's: with adjusted p-values and a note."""
        factor = self.alpha / self.level
        rules = tuple(_adjusted(rule, factor) for rule in decision.rules)
        notes = (*decision.notes, self.describe()) if self.n_candidates > 1 else decision.notes
        return replace(decision, rules=rules, alpha=self.alpha, notes=notes, selection=self.as_json())

    def describe(self) -> str:
        """Say what is corrected, and how."""
        how = self.method if not self.because else f"{self.method}: {self.because}"
        return (
            f"chosen from {self.n_candidates} candidates on these prompts: each rule is tested at {self.level:.3g} in "
            f"place of {self.alpha:g} ({how}), so that the chance of passing any of them that should not pass is at "
            f"most {self.alpha:g}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the entry in the output of `assay gate --json`."""
        return {
            "n_candidates": self.n_candidates,
            "level": self.level,
            "method": self.method,
            "because": self.because or None,
            "candidates": list(self.candidates),
        }


def _distinct(runs: Iterable[Path], sides: tuple[Path, Path | None]) -> list[Path]:
    """The candidates' runs, the chosen one last if it is not among them; without the baseline."""
    distinct = {path.resolve(): path for path in (*runs, sides[0])}
    if sides[1] is not None:
        distinct.pop(sides[1].resolve(), None)
    missing = next((p for p in distinct.values() if not (p / "run.json").is_file() and p != sides[0]), None)
    if missing is not None:
        raise UsageError(f"--among {missing}: no run (no run.json)", "directories made by `assay run` or `import`")
    return list(distinct.values())


def _bonferroni(n_candidates: int, policy: Policy, because: str) -> Selection:
    return Selection(n_candidates, policy.alpha, policy.alpha / n_candidates, "Bonferroni", because)


def _adjusted(rule: RuleDecision, factor: float) -> RuleDecision:
    return rule if rule.p_adjusted is None else replace(rule, p_adjusted=min(1.0, factor * rule.p_adjusted))


def _levels(policy: Policy, candidates: Sequence[StoredRun], baseline: StoredRun | None) -> list[float]:
    """Return the level each rule asks for.

    Raises
    ------
    StatisticsError
        The runs do not tell how the candidates' results on a rule are correlated.
    """
    levels = []
    for kind, rule in policy.each_rule():
        held = any(run.entry(rule.benchmark) is not None for run in candidates)
        if rule.required or held:
            values = _table(rule, candidates) if kind == "limit" else _compared(rule, candidates, baseline)
            levels.append(selection_level(values, policy.alpha))
    return levels or [policy.alpha]


def _compared(rule: AnyRule, candidates: Sequence[StoredRun], baseline: StoredRun | None) -> Floats:
    """Differences of each candidate from the baseline on the prompts all share, shape (prompts, candidates)."""
    if rule.metric == HEAD_TO_HEAD:
        raise StatisticsError("verdicts head to head are of one candidate")
    if isinstance(rule, Rule) and rule.margin.relative:
        raise StatisticsError(f"the margin of {rule.benchmark} {rule.metric} is a share of the baseline's value")
    if baseline is None:
        raise StatisticsError("there is no baseline")
    table = _table(rule, [*candidates, baseline])
    return np.asarray(table[:, :-1] - table[:, -1:])


def _table(rule: AnyRule, runs: Sequence[StoredRun]) -> Floats:
    """Values of each run on the prompts all share, shape (prompts, runs)."""
    values = [own for run in runs if (own := _values(run, rule)) is not None]
    if len(values) < len(runs):
        raise StatisticsError(f"{rule.benchmark} {rule.metric} is no mean over prompts in every run")
    shared = sorted(set.intersection(*map(set, values)))
    if len(shared) < 2:
        raise StatisticsError(f"the runs share {len(shared)} prompts of {rule.benchmark}")
    return np.array([[own[prompt] for own in values] for prompt in shared])


def _values(run: StoredRun, rule: AnyRule) -> dict[str, float] | None:
    """Values by prompt whose mean is the rule's metric; None if the run has none."""
    entry = run.entry(rule.benchmark)
    if entry is None:
        return None
    name = str(entry["name"])
    items = run.benchmark(name).items(rule.metric, run.scores_of(name))
    if items is None or all(score.value is None for score in items.scores):
        return None
    return unit_values(items)
