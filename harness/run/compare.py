"""Comparison of two runs: paired differences of every metric they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssayError, StatisticsError, UsageError
from harness.protocols import Benchmark, DataSource, FittedBenchmark, Items, PanelBenchmark
from harness.records import Score, SummaryRow
from harness.run.anchors import JudgeDrift, judge_drifts
from harness.run.comparability import Difference, Sides, differences, is_judged
from harness.run.score import RunScores, stored_or_scored
from harness.run.stored_run import StoredRun
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.multiplicity import holm_by_name
from harness.stats.paired import PairedComparison, PairedSpec, paired_difference
from harness.stats.power import units_needed
from harness.store.run_directory import RunDirectory

_SIDES = Sides("A", "B")
_SEED = 20241101  # of the sign flips and the bootstrap; fixed for reproducible results


_MISSING = dict.fromkeys(("value", "stderr", "ci_low", "ci_high", "level"))
_NO_DIFFERENCE = {**_MISSING, "method": "", "note": "", "n": 0, "n_clusters": 0}
"""The fields of an estimate in ``--json`` where there is none."""


@dataclass(frozen=True)
class ComparedMetric:
    """Comparison of two runs on one metric, first minus second.

    Parameters
    ----------
    benchmark, metric : str
        Its name.
    value_first, value_second : float or None
        The metric of each run over the prompts both scored.
    difference : Estimate or None
        Difference paired by prompt; None with a `reason`.
    p_value, p_adjusted : float or None
        Two-sided p-value, and the same after Holm's correction over all compared metrics.
    test : str
        The test behind the p-value.
    minimum_detectable_effect : float or None
        Difference detectable with 80 % power at this number of prompts.
    n_needed : int or None
        Prompts needed to detect the observed difference with 80 % power.
    n_only_first, n_only_second : int
        Items scored in one run only, which are excluded.
    reason : str or None
        Why there is no comparison.
    """

    benchmark: str
    metric: str
    value_first: float | None = None
    value_second: float | None = None
    difference: Estimate | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    test: str = ""
    minimum_detectable_effect: float | None = None
    n_needed: int | None = None
    n_only_first: int = 0
    n_only_second: int = 0
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields for ``--json``."""
        difference = {name: getattr(self.difference, name, absent) for name, absent in _NO_DIFFERENCE.items()}
        return {
            "benchmark": self.benchmark,
            "metric": self.metric,
            "value_a": self.value_first,
            "value_b": self.value_second,
            "difference": difference.pop("value"),
            **difference,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "test": self.test,
            "n_only_a": self.n_only_first,
            "n_only_b": self.n_only_second,
            "minimum_detectable_effect": self.minimum_detectable_effect,
            "n_needed": self.n_needed,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Comparison:
    """Comparison of two runs on all metrics they share."""

    first: RunScores
    second: RunScores
    metrics: list[ComparedMetric]
    differing: Mapping[str, Sequence[Difference]] = field(default_factory=dict)
    """What differs between the runs, by benchmark."""
    drifts: list[JudgeDrift] = field(default_factory=list)
    """How the judge changed between them, by benchmark, if both judged anchors."""

    @property
    def said(self) -> list[str]:
        """What readers must be told of the runs: what differs between them, and which prompts they hold."""
        sides = ("A", self.first), ("B", self.second)
        counts = [f"{name}: {side} has {count.words}" for side, run in sides for name, count in run.counts.items()]
        differing = [f"{name}: {difference.words}" for name, found in self.differing.items() for difference in found]
        return [*counts, *differing]

    def as_json(self) -> dict[str, Any]:
        """Return the output of `assay compare --json`."""
        return {
            "a": _side(self.first),
            "b": _side(self.second),
            "differences": [
                {"benchmark": name, "aspect": difference.aspect, "words": difference.words}
                for name, found in self.differing.items()
                for difference in found
            ],
            "problems": [f"a: {p}" for p in self.first.problems] + [f"b: {p}" for p in self.second.problems],
            "metrics": [metric.as_json() for metric in self.metrics],
            "drift": [drift.as_json() for drift in self.drifts],
        }


def _side(run: RunScores) -> dict[str, Any]:
    prompts = {name: count.as_json() for name, count in run.counts.items()}
    return {"run": run.run, "model": run.model, "valid": run.valid, "prompts": prompts}


def unit_values(items: Items) -> dict[str, float]:
    """Return one value per prompt such that their mean is the metric.

    A weighted mean over verdicts is a ratio R = T / M of totals over prompts; prompt g has the value
    ``R + G (t_g - R m_g) / M``. These average to R exactly, and their variance gives that of the ratio to first
    order [1]_. With equal weights, the value is the prompt's weighted mean.

    Parameters
    ----------
    items : Items
        Scored items of a metric.

    Returns
    -------
    dict of str to float
        Cluster to value, in the metric's unit.

    Raises
    ------
    StatisticsError
        No item has a value.

    References
    ----------
    .. [1] Cochran (1977), Sampling Techniques, section 6.4.
    """
    totals: dict[str, float] = defaultdict(float)
    weights: dict[str, float] = defaultdict(float)
    for score in items.scores:
        if score.value is not None:
            totals[score.cluster] += score.weight * score.value * items.scale
            weights[score.cluster] += score.weight
    if not totals:
        raise StatisticsError("no scored items", "at least one")
    if len(set(weights.values())) == 1:  # equal weights: exact values, without rounding error
        return {c: totals[c] / weights[c] for c in totals}
    mass = sum(weights.values())
    ratio = sum(totals.values()) / mass
    n_clusters = len(totals)
    return {c: ratio + n_clusters * (totals[c] - ratio * weights[c]) / mass for c in totals}


def heaviest(items: Items) -> float:
    """Largest weight of a prompt over the mean weight of all; 1 if prompts weigh alike."""
    weights: dict[str, float] = defaultdict(float)
    for score in items.scores:
        if score.value is not None:
            weights[score.cluster] += score.weight
    return len(weights) * max(weights.values()) / sum(weights.values())


def widest_difference(width: float, weight: float, difference: float) -> float:
    """Return the largest difference of two prompts' values (`unit_values`) on a scale of a width.

    A prompt of k times the mean weight has the value R + k (v - R), v on the scale and R the metric, so two of them
    differ by at most k width + (k - 1) |R_a - R_b|.
    """
    return weight * width + (weight - 1.0) * abs(difference)


def compare_runs(first: Path, second: Path, data: DataSource, level: float = 0.95) -> Comparison:
    """Compare two runs on the items scored in both.

    Parameters
    ----------
    first, second : Path
        Run directories; differences are first minus second.
    data : DataSource
        Upstream files some figures need.
    level : float
        Nominal coverage of the intervals.

    Returns
    -------
    Comparison
        A metric that cannot be compared has a reason: different judges or baselines, no shared item.
    """
    stored = StoredRun(RunDirectory(first)), StoredRun(RunDirectory(second))
    runs = stored_or_scored(stored[0].directory, data), stored_or_scored(stored[1].directory, data)
    metrics: list[ComparedMetric] = []
    differing: dict[str, list[Difference]] = {}
    for name in runs[0].benchmarks:
        if name in runs[1].benchmarks:
            differing[name] = differences(name, *stored, _SIDES)
            metrics += _compared_metrics(name, runs, differing[name], (data, level))
    if not metrics:
        raise UsageError(
            f"{first} and {second} share no metric; they hold "
            + " and ".join(", ".join(run.benchmarks) for run in runs),
            "runs of the same benchmark",
            "choose runs that share a benchmark",
        )
    drifts = judge_drifts(stored[0].directory, stored[1].directory)
    return Comparison(runs[0], runs[1], _adjusted(metrics), differing, drifts)


def _shared_metrics(name: str, runs: tuple[RunScores, RunScores]) -> list[str]:
    """Metrics of a benchmark that both runs hold, except published figures."""
    there = {row.metric for row in runs[1].rows if row.benchmark == name}
    held = [row.metric for row in runs[0].rows if row.benchmark == name]
    return [metric for metric in held if metric in there and not metric.startswith("published_")]


def _compared_metrics(
    name: str, runs: tuple[RunScores, RunScores], differing: Sequence[Difference], how: tuple[DataSource, float]
) -> list[ComparedMetric]:
    benchmark = runs[0].benchmark(name)
    scores = runs[0].scores_of(name), runs[1].scores_of(name)
    found: list[ComparedMetric | None] = []
    for metric in _shared_metrics(name, runs):
        judged = is_judged(benchmark, benchmark.items(metric, scores[0]))
        reason = "; ".join(difference.words for difference in differing if difference.forbids(judged))
        refused = ComparedMetric(name, metric, reason=reason)
        found.append(refused if reason else _compare(benchmark, metric, scores, *how))
    return [compared for compared in found if compared is not None]


def with_panels(runs: Sequence[RunScores]) -> list[RunScores]:
    """Add the figures that need several models (MT-Bench's length-controlled score), replacing their reason rows.

    See `harness.protocols.PanelBenchmark`.
    """
    for name in dict.fromkeys(name for run in runs for name in run.benchmarks):
        holders = [run for run in runs if name in run.benchmarks]
        benchmark = holders[0].benchmark(name)
        if len(holders) < 2 or not isinstance(benchmark, PanelBenchmark):
            continue
        rows = benchmark.panel({run.model: run.scores_of(name) for run in holders})
        runs = [_with_row(run, rows[run.model]) if run in holders and run.model in rows else run for run in runs]
    return list(runs)


def _with_row(run: RunScores, new: SummaryRow) -> RunScores:
    kept = [row for row in run.rows if (row.benchmark, row.metric) != (new.benchmark, new.metric)]
    return replace(run, rows=[*kept, new])


def metric_unit_values(run: RunScores, benchmark_name: str, metric: str) -> dict[str, float] | None:
    """Return a run's per-prompt values of a metric; None if it is not a mean or nothing was scored."""
    if benchmark_name not in run.asked_as:
        return None
    benchmark = run.benchmark(benchmark_name)
    items = benchmark.items(metric, run.scores_of(benchmark_name))
    if items is None or all(s.value is None for s in items.scores):
        return None
    return unit_values(items)


def _compare(
    benchmark: Benchmark, metric: str, scores: tuple[Sequence[Score], Sequence[Score]], data: DataSource, level: float
) -> ComparedMetric | None:
    """Compare one metric; None if the benchmark offers neither its items nor a fitted comparison."""
    name = benchmark.name
    items = benchmark.items(metric, scores[0]), benchmark.items(metric, scores[1])
    if items[0] is None or items[1] is None:
        return _compare_refitted(benchmark, metric, scores, data, level)
    shared, only_first, only_second = _shared(items[0], items[1])
    try:
        if not shared[0].scores:
            raise StatisticsError("the runs share no scored item", "runs of the same prompts")
        values = unit_values(shared[0]), unit_values(shared[1])
        clusters = sorted(values[0])
        first, second = (np.array([side[c] for c in clusters]) for side in values)
        compared = paired_difference(first, second, clusters, PairedSpec(level, **_scale(shared, first, second)))
    except AssayError as error:
        return ComparedMetric(
            name, metric, n_only_first=only_first, n_only_second=only_second, reason=" ".join(str(error).split())
        )
    return ComparedMetric(
        name,
        metric,
        value_first=float(first.mean()),
        value_second=float(second.mean()),
        difference=replace(compared.difference, n=len(shared[0].scores)),
        p_value=compared.p_value,
        test=compared.test,
        minimum_detectable_effect=compared.minimum_detectable_effect,
        n_needed=_needed(compared),
        n_only_first=only_first,
        n_only_second=only_second,
    )


def _scale(shared: tuple[Items, Items], first: Floats, second: Floats) -> dict[str, Any]:
    """Return the fields of `PairedSpec` about the scale, in the metric's unit; none on an open scale."""
    if shared[0].bounds is None:
        return {}
    low, high = (shared[0].scale * end for end in shared[0].bounds)
    weight = max(heaviest(side) for side in shared)
    widest = widest_difference(high - low, weight, float(first.mean() - second.mean()))
    return {"scale": widest, "bounds": (low, high)}


def _needed(compared: PairedComparison) -> int | None:
    if compared.sd is None or compared.sd == 0.0 or compared.difference.value == 0.0:
        return None
    return units_needed(compared.difference.value, compared.sd)


def _shared(first: Items, second: Items) -> tuple[tuple[Items, Items], int, int]:
    """Return the items scored in both runs, in the same order, and the numbers scored in only one run."""

    def keyed(items: Items) -> Mapping[tuple[str, str], Score]:
        return {(s.prompt_id, s.part): s for s in items.scores if s.value is not None}

    a, b = keyed(first), keyed(second)
    keys = [key for key in a if key in b]
    shared = (
        replace(first, scores=[a[key] for key in keys]),
        replace(second, scores=[b[key] for key in keys]),
    )
    return shared, len(a) - len(keys), len(b) - len(keys)


def _compare_refitted(
    benchmark: Benchmark, metric: str, scores: tuple[Sequence[Score], Sequence[Score]], data: DataSource, level: float
) -> ComparedMetric | None:
    """Compare a metric that is a fit: both refitted to the same resampled prompts."""
    if not isinstance(benchmark, FittedBenchmark):
        return None
    try:
        found = benchmark.compare_fitted(metric, (scores[0], scores[1]), data, np.random.default_rng(_SEED), level)
    except AssayError as error:
        return ComparedMetric(benchmark.name, metric, reason=" ".join(str(error).split()))
    if found is None:
        return None
    return ComparedMetric(
        benchmark.name,
        metric,
        value_first=found.first,
        value_second=found.second,
        difference=found.difference,
        p_value=found.p_value,
        test="paired bootstrap of the whole fit",
    )


def _adjusted(metrics: Sequence[ComparedMetric]) -> list[ComparedMetric]:
    adjusted = holm_by_name({f"{m.benchmark}:{m.metric}": m.p_value for m in metrics})
    return [replace(m, p_adjusted=adjusted[f"{m.benchmark}:{m.metric}"]) for m in metrics]
