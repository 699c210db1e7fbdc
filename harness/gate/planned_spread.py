"""The spread by prompt that a plan starts from: of two runs, of one run alone, or of a standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from harness.errors import StatisticsError, UsageError
from harness.gate.evidence import PairedUnits, limit_units, paired_units
from harness.gate.planned_rule import Spread
from harness.gate.policy import AnyRule, Kind, Limit
from harness.gate.rule import tested_as
from harness.gate.sequential import obstacle
from harness.gate.validity import judge_problem
from harness.protocols import Benchmark, DataSource, FittedBenchmark, Items
from harness.records import Score, SummaryRow
from harness.run.figures import deciding
from harness.run.stored_run import StoredRun
from harness.stats.bootstrap import Floats
from harness.stats.mean_test import decisiveness

_SEED = 20240917
_COPIES = 20
_QUANTILES = 2000
_FITTED = "the metric is fitted to all prompts"


@dataclass(frozen=True)
class RunsToPlanFrom:
    """The runs a plan starts from.

    Parameters
    ----------
    candidate, baseline : StoredRun or None
        The candidate's run may be a pilot of few prompts.
    data : DataSource
        Upstream files that fits need.
    correlation : float
        Of two runs' values of one prompt, where only one run is there.
    """

    candidate: StoredRun | None
    baseline: StoredRun | None
    data: DataSource
    correlation: float

    @property
    def whole(self) -> StoredRun:
        """The run whose prompts a decision would use: the baseline's, or the only one."""
        found = self.baseline or self.candidate
        if found is None:
            raise UsageError("there is no run to plan from", "--baseline DIR, --candidate DIR, or --sd S")
        return found

    def name(self, benchmark: str) -> str:
        """Return a benchmark's name in the runs."""
        return str((self.whole.entry(benchmark) or {"name": benchmark})["name"])

    def n_prompts(self, benchmark: str) -> int:
        """Return the number of independent prompts of a benchmark in the whole run."""
        return len({p.cluster for p in self.whole.prompts_of(self.name(benchmark)).values()})


def spread_of_sd(sd: float) -> Spread:
    """Make normal differences of a standard deviation, on an open scale."""
    quantiles = sd * stats.norm.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    words = f"normal differences with the given standard deviation of {sd:g}"
    why_not = "the scale is not known without a run, which betting needs"
    return Spread(quantiles, np.zeros(_QUANTILES), None, test="t", no_betting=why_not, words=words)


def spread_of_runs(kind: Kind, rule: AnyRule, runs: RunsToPlanFrom) -> Spread:
    """Take the spread of a rule's differences from the runs.

    Raises
    ------
    UsageError
        The runs do not hold the metric, or were judged by different judges.
    StatisticsError
        There is no spread to plan from.
    """
    name, present = runs.name(rule.benchmark), _holding(rule, runs)
    benchmark = present[0].benchmark(name)
    scores = [run.scores_of(name) for run in present]
    if not isinstance(rule, Limit):
        _check_judges(name, benchmark, present)
    items = [benchmark.items(rule.metric, side) for side in scores]
    known = [found for found in items if found is not None and found.scores]
    spread = _of_means(kind, rule, known, runs) if known else _of_fit(rule, benchmark, scores, runs)
    if spread.differences.size < 2 or not spread.differences.std():
        raise StatisticsError(
            f"{rule.title(kind)}: the runs differ alike on every prompt, so that there is no spread to plan from",
            "differences that vary", "plan from other runs, or give --sd",
        )  # fmt: skip
    return spread


def _holding(rule: AnyRule, runs: RunsToPlanFrom) -> list[StoredRun]:
    """Return the runs that hold the rule's benchmark, the candidate's first."""
    name = runs.name(rule.benchmark)
    if runs.whole.entry(name) is None:
        held = sorted({str(e["name"]) for e in runs.whole.header.get("benchmarks", ())})
        raise UsageError(f"the runs do not hold {rule.benchmark}", f"a benchmark they hold: {', '.join(held)}")
    return [run for run in (runs.candidate, runs.baseline) if run is not None and run.entry(name) is not None]


def _check_judges(name: str, benchmark: Benchmark, present: Sequence[StoredRun]) -> None:
    """Refuse two runs of a judged benchmark that were judged differently."""
    if len(present) < 2 or not deciding(benchmark, present[0].scores_of(name)):
        return
    problem = judge_problem(name, present[0], present[1])
    if problem:
        raise UsageError(f"{name}: {problem}")


def _of_means(kind: Kind, rule: AnyRule, known: Sequence[Items], runs: RunsToPlanFrom) -> Spread:
    if isinstance(rule, Limit):
        whole = limit_units(known[0], rule.number)
        return _spread(kind, rule, whole, f"the values of {whole.first.size} prompts")
    if len(known) == 2:
        shared = {s.prompt_id for s in known[0].scores} & {s.prompt_id for s in known[1].scores}
        parts = [replace(side, scores=[s for s in side.scores if s.prompt_id in shared]) for side in known]
        units = paired_units(parts[0], parts[1])
        return _spread(kind, rule, units, f"the paired differences of {units.first.size} prompts")
    units = paired_units(known[0], known[0])
    first, second = _as_if_paired(units.second, runs.correlation)
    units = replace(units, first=first, second=second)
    words = (
        f"the values of {len(units.keys)} prompts of one run; a second run is supposed to have the same values "
        f"with a correlation of {runs.correlation:g}"
    )
    return _spread(kind, rule, units, words)


def _as_if_paired(values: Floats, correlation: float) -> tuple[Floats, Floats]:
    """Pair values with others of the same law: their own with the probability `correlation`, else any prompt's."""
    rng = np.random.default_rng(_SEED)
    second = np.tile(values, max(2, _COPIES * 100 // values.size))
    other = rng.choice(values, second.size)
    return np.where(rng.random(second.size) < correlation, second, other), second


def _spread(kind: Kind, rule: AnyRule, units: PairedUnits, words: str) -> Spread:
    decisive = 1.0
    if units.bounds is not None:
        sides = (units.first,) if isinstance(rule, Limit) else (units.first, units.second)
        decisive = max(decisiveness(side, units.bounds) for side in sides)
    return Spread(
        units.first - units.second,
        units.second,
        units.value_span,
        decisive,
        _binary_unit(units),
        no_betting=obstacle(tested_as(kind, rule)[1], units),
        words=words,
    )


def _binary_unit(units: PairedUnits) -> float | None:
    """Size of a success, where the gate uses the test of proportions: all values are 0 or that."""
    values = np.concatenate([units.first, units.second])
    unit = float(values.max()) or units.reach
    if unit not in (1.0, 100.0, units.reach):
        return None
    return unit if bool(np.all((values == 0.0) | (values == unit))) else None


def _of_fit(rule: AnyRule, benchmark: Benchmark, scores: Sequence[Sequence[Score]], runs: RunsToPlanFrom) -> Spread:
    """Take the spread of a fit from its standard error: that of the paired refits, or the one a run stored."""
    paired = None if isinstance(rule, Limit) else _of_both_fits(rule, benchmark, scores, runs)
    if paired is not None:
        return paired
    row = _stored_row(benchmark.name, rule.metric, runs.whole)
    sd = float(row.stderr or 0.0) * math.sqrt(row.n_clusters)
    if isinstance(rule, Limit):
        words = f"the standard error on {row.n_clusters} prompts"
        return _normal(sd, float(row.value or 0.0) - rule.number, rule.number, _FITTED, words)
    words = (
        f"the standard error of one run on {row.n_clusters} prompts; a second run is supposed to have the same one, "
        f"with a correlation of {runs.correlation:g}"
    )
    return _normal(sd * math.sqrt(2.0 * (1.0 - runs.correlation)), 0.0, float(row.value or 0.0), _FITTED, words)


def _of_both_fits(
    rule: AnyRule, benchmark: Benchmark, scores: Sequence[Sequence[Score]], runs: RunsToPlanFrom
) -> Spread | None:
    """Refit both runs on the prompts they share; None with one run, or without a standard error."""
    if len(scores) < 2 or not isinstance(benchmark, FittedBenchmark):
        return None
    shared = {s.prompt_id for s in scores[0]} & {s.prompt_id for s in scores[1]}
    sides = [[s for s in side if s.prompt_id in shared] for side in scores]
    rng = np.random.default_rng(_SEED)
    found = benchmark.compare_fitted(rule.metric, (sides[0], sides[1]), runs.data, rng, 0.9)
    if found is None or not found.difference.stderr:
        return None
    n = found.difference.n_clusters
    words = f"the standard error of both fits on {n} prompts"
    return _normal(found.difference.stderr * math.sqrt(n), found.difference.value, found.second, _FITTED, words)


def _normal(sd: float, mean: float, baseline: float, why_not: str, words: str) -> Spread:
    made = spread_of_sd(sd)
    return replace(
        made,
        differences=made.differences + mean,
        baseline=np.full(_QUANTILES, baseline),
        no_betting=why_not,
        words=words,
    )


def _stored_row(benchmark: str, metric: str, run: StoredRun) -> SummaryRow:
    rows = [r for r in run.summary["rows"] if r["benchmark"] == benchmark]
    found = next((SummaryRow.model_validate(r) for r in rows if r["metric"] == metric), None)
    if found is None:
        raise UsageError(
            f"the runs do not hold {benchmark} {metric}", f"a metric they hold: {', '.join(r['metric'] for r in rows)}"
        )
    if found.value is None or not found.stderr:
        raise StatisticsError(
            f"{benchmark} {metric} has no standard error in {run.path}", found.reason or "an interval"
        )
    return found
