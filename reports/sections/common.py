"""What several sections share: figures as cells and marks, and the metric that represents a benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from harness.records import Judgment, SummaryRow
from harness.run.figures import mean_row
from reports.blocks import Cell, limits
from reports.charts import Mark, SampleFilter
from reports.inputs import RunInput


def figure_cell(row: SummaryRow, samples: SampleFilter | None = None) -> Cell:
    """A figure with its interval below, or the reason why there is none."""
    if row.value is None:
        return Cell("-", row.reason or "", tone="muted")
    return Cell(f"{row.value:.2f}", limits(row.ci_low, row.ci_high), samples)


def unscored_cell(row: SummaryRow) -> Cell:
    """How many were not scored, and why."""
    listed = ", ".join(f"{reason} {count}" for reason, count in row.unscored.items())
    return Cell(str(row.n_unscored), listed)


class Measured(Protocol):
    """A figure with its interval: a row of a table, an estimate, a measure of a training loop."""

    @property
    def value(self) -> float | None:
        """The figure."""

    @property
    def ci_low(self) -> float | None:
        """The interval's lower limit."""

    @property
    def ci_high(self) -> float | None:
        """The interval's upper limit."""


def mark_of(label: str, figure: Measured, samples: SampleFilter | None, series: str = "", note: str = "") -> Mark:
    """A figure as a mark of a chart."""
    return Mark(label, figure.value or 0.0, figure.ci_low, figure.ci_high, series, note, samples)


def ends(figures: Iterable[Measured]) -> tuple[list[float], list[float]]:
    """Limits of figures, the figure itself where it has none."""
    found = [(f.value or 0.0, f.ci_low, f.ci_high) for f in figures]
    low = [value if low is None else low for value, low, _ in found]
    return low, [value if high is None else high for value, _, high in found]


def optional(value: float | None, form: str) -> Cell:
    """A number, or a dash."""
    return Cell("-", tone="muted") if value is None else Cell(format(value, form))


def recorded(text: str, missing: str = "not recorded") -> Cell:
    """A recorded value, or a note that it is missing."""
    return Cell(text) if text else Cell(missing, tone="muted")


def cost_of(judgments: Iterable[Judgment]) -> str:
    """What judging cost; "" where no price is recorded."""
    priced = [j for j in judgments if j.cost is not None]
    return f"{sum(j.cost or 0.0 for j in priced):.2f} {priced[0].currency}" if priced else ""


def percent(share: float) -> str:
    """A share as "12.3 %"."""
    return f"{100.0 * share:.1f} %"


def words_of(row: SummaryRow) -> str:
    """A figure in a sentence: "alpaca_eval win_rate 22.92 (20.40 to 25.50)"."""
    if row.value is None:
        return f"{row.benchmark} {row.metric}: no figure, {row.reason}"
    interval = limits(row.ci_low, row.ci_high)
    return f"{row.benchmark} {row.metric} {row.value:.2f}" + (f" ({interval})" if interval else "")


def headline(run: RunInput, benchmark: str) -> SummaryRow | None:
    """The figure that represents a benchmark: its first headline that has a value, else its first figure."""
    known = run.benchmark(benchmark)
    for metric in known.headlines if known is not None else ():
        if row := run.row(benchmark, metric):
            return row
    return next((row for row in run.rows(benchmark) if row.value is not None), None)


def mean_metric(run: RunInput, name: str) -> str | None:
    """A metric of a benchmark that averages how good answers are, a headline if possible; None if it has none."""
    benchmark = run.benchmark(name)
    if benchmark is None:
        return None
    reported = [row.metric for row in run.rows(name) if row.value is not None]
    ordered = dict.fromkeys([*(m for m in benchmark.headlines if m in reported), *reported])
    return next((metric for metric in ordered if averages_quality(run, name, metric)), None)


def averages_quality(run: RunInput, name: str, metric: str) -> bool:
    """Whether a metric is a mean of scores that say how good answers are, and not of their lengths."""
    benchmark = run.benchmark(name)
    items = benchmark.items(metric, run.scores.scores_of(name)) if benchmark is not None else None
    if benchmark is None or items is None or not items.scores:
        return False
    kind = benchmark.score_kinds.get(items.scores[0].metric)
    return kind is not None and kind.decides


def category_row(run: RunInput, name: str, metric: str, category: str) -> SummaryRow | None:
    """A mean metric over a category of a benchmark; None where there is nothing to average."""
    benchmark, scores = run.benchmark(name), [s for s in run.scores.scores_of(name) if s.category == category]
    items = benchmark.items(metric, scores) if benchmark is not None else None
    return mean_row(name, metric, items) if items is not None and items.scores else None


def slug(*parts: str) -> str:
    """A name as a file name and HTML id."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:80] or "figure"
