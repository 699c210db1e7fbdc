"""What several sections share: figures as cells, and which metric stands for a benchmark."""

from __future__ import annotations

import re

from harness.errors import AssayError
from harness.protocols import Benchmark
from harness.records import Score, SummaryRow
from harness.run.figures import mean_row
from harness.run.plan import load_benchmark
from reports.blocks import Cell, SampleFilter
from reports.inputs import RunInput
from reports.leaderboard import HEADLINES

__all__ = [
    "benchmark_of",
    "figure_cell",
    "headline",
    "interval",
    "mean_metric",
    "percent",
    "slug",
    "unscored_cell",
    "words_of",
]

_MEANS = ("win_rate", "score", "head_to_head", "exact_match", "acc_norm", "acc", "pass@1")
"""Metrics that are means over prompts, and so can be split by category; the first a benchmark has is taken."""


def interval(row: SummaryRow) -> str:
    """The interval in words; "" where there is none."""
    return "" if row.ci_low is None or row.ci_high is None else f"{row.ci_low:.2f} to {row.ci_high:.2f}"


def figure_cell(row: SummaryRow, samples: SampleFilter | None = None) -> Cell:
    """A figure with its interval below, or the reason why there is none."""
    if row.value is None:
        return Cell("-", row.reason or "", tone="muted")
    return Cell(f"{row.value:.2f}", interval(row), samples)


def unscored_cell(row: SummaryRow) -> Cell:
    """How many were not scored, and why."""
    listed = ", ".join(f"{reason} {count}" for reason, count in row.unscored.items())
    return Cell(str(row.n_unscored), listed)


def percent(share: float) -> str:
    """A share as "12.3 %"."""
    return f"{100.0 * share:.1f} %"


def words_of(row: SummaryRow) -> str:
    """A figure in a sentence: "alpaca_eval win_rate 22.92 (20.40 to 25.50)"."""
    if row.value is None:
        return f"{row.benchmark} {row.metric}: no figure, {row.reason}"
    limits = interval(row)
    return f"{row.benchmark} {row.metric} {row.value:.2f}" + (f" ({limits})" if limits else "")


def headline(run: RunInput, benchmark: str) -> SummaryRow | None:
    """The figure that stands for a benchmark: the leaderboard's, else the first that has a value."""
    for name, metric in HEADLINES:
        if name in (benchmark, f"{benchmark}@v2.0") and (row := run.row(benchmark, metric)):
            return row
    return next((row for row in run.rows(benchmark) if row.value is not None), None)


def benchmark_of(run: RunInput, name: str) -> Benchmark | None:
    """The benchmark as the run asked for it; None where this installation does not know it."""
    try:
        options = (run.stored.entry(name) or {}).get("options")
        return load_benchmark(run.scores.asked_as.get(name, name), options)
    except AssayError:
        return None


def mean_metric(run: RunInput, name: str) -> str | None:
    """A metric of a benchmark that is a mean over prompts; None where there is none."""
    benchmark = benchmark_of(run, name)
    if benchmark is None:
        return None
    metrics = [row.metric for row in run.rows(name) if row.value is not None]
    ordered = sorted(metrics, key=lambda m: _MEANS.index(m) if m in _MEANS else len(_MEANS))
    scores = run.scores_of(name)
    for metric in ordered:
        items = benchmark.items(metric, scores)
        if items is not None and items.scores and "length" not in metric and "tokens" not in metric:
            return metric
    return None


def category_row(run: RunInput, name: str, metric: str, scores: list[Score]) -> SummaryRow | None:
    """A mean metric over some of a benchmark's scores; None where there is nothing to average."""
    benchmark = benchmark_of(run, name)
    items = benchmark.items(metric, scores) if benchmark is not None else None
    return mean_row(name, metric, items) if items is not None and items.scores else None


def slug(*parts: str) -> str:
    """A file name and id of what is named."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:80] or "figure"
