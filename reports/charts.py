"""Charts as data: `reports.drawing` makes a Vega-Lite specification of one, and `data_table` lists its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from harness.text_safety import visible

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SampleFilter:
    """Which samples stand behind a figure; the page turns it into a link to its sample browser.

    Parameters
    ----------
    model, benchmark, category, verdict, disagreement, length : str
        Values of the browser's filters; "" for any.
    """

    model: str = ""
    benchmark: str = ""
    category: str = ""
    verdict: str = ""
    disagreement: str = ""
    length: str = ""

    @property
    def href(self) -> str:
        """The address inside the page."""
        chosen = {name: visible(value) for name, value in vars(self).items() if value}
        return "#samples?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in chosen.items())


@dataclass(frozen=True)
class RefLine:
    """A line across a chart at a value, with its name."""

    value: float
    label: str


@dataclass(frozen=True)
class Series:
    """One curve or set of points.

    Parameters
    ----------
    name : str
        For the legend.
    x, y : sequence of float
        The points, in order.
    low, high : sequence of float or None
        Limits of `y`, drawn as a band around a line and as bars on points.
    kind : {"line", "points", "step"}
        A step is a histogram's outline: `x` are the left edges, the last `x` closes it.
    slot : int or None
        Which colour; the series' place where not given.
    samples : sequence of SampleFilter, optional
        What each point links to.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    kind: Literal["line", "points", "step"] = "line"
    slot: int | None = None
    samples: Sequence[SampleFilter] = ()


@dataclass(frozen=True)
class XYChart:
    """Curves and points over one x axis.

    Parameters
    ----------
    title, x_label, y_label : str
        Names.
    series : sequence of Series
        What is drawn, first below.
    x_ticks : sequence of (float, str), optional
        Named places on the x axis in place of round numbers.
    y_range : tuple of float, optional
        Ends of the y axis; from the data where not given.
    lines : sequence of RefLine
        Horizontal reference lines.
    legend : bool
        Whether the drawing names the series; not where the caption does.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_ticks: Sequence[tuple[float, str]] = ()
    y_range: tuple[float, float] | None = None
    lines: Sequence[RefLine] = ()
    legend: bool = True


@dataclass(frozen=True)
class Mark:
    """A figure with its interval.

    Parameters
    ----------
    label : str
        Name of the row it stands on.
    value : float
        Where.
    low, high : float or None
        Its interval.
    series : str
        Which of several figures on one row; "" where there is one.
    note : str
        What else to say of it.
    samples : SampleFilter or None
        What it links to.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    series: str = ""
    note: str = ""
    samples: SampleFilter | None = None


@dataclass(frozen=True)
class IntervalChart:
    """Figures with intervals, one row a name.

    Parameters
    ----------
    title, x_label : str
        Names.
    marks : sequence of Mark
        The figures.
    lines : sequence of RefLine
        Vertical reference lines.
    x_range : tuple of float, optional
        Ends of the x axis; from the data where not given.
    order : sequence of str
        The series in the order of their colours and shapes.
    by_label : bool
        Whether the rows are models: the first series has each model's colour, all else is grey. Always so where there
        is one series and a row is a model.
    """

    title: str
    x_label: str
    marks: Sequence[Mark]
    lines: Sequence[RefLine] = ()
    x_range: tuple[float, float] | None = None
    order: Sequence[str] = ()
    by_label: bool = False

    @property
    def series(self) -> list[str]:
        """The series: those of `order` first, then as they come."""
        there = dict.fromkeys(mark.series for mark in self.marks)
        return [*(name for name in self.order if name in there), *(name for name in there if name not in self.order)]


@dataclass(frozen=True)
class Heatmap:
    """Values in a grid.

    Parameters
    ----------
    title, x_label, y_label : str
        Names.
    x_names, y_names : sequence of str
        Columns and rows, rows from the top.
    values : sequence of sequence of float or None
        By row; None where there is nothing.
    centre : float or None
        The neutral value of a diverging scale; None for a scale that starts at its lowest value.
    limits : tuple of float, optional
        Ends of the scale; from the data where not given.
    form : str
        How a value is printed in its cell.
    """

    title: str
    x_label: str
    y_label: str
    x_names: Sequence[str]
    y_names: Sequence[str]
    values: Sequence[Sequence[float | None]]
    centre: float | None = None
    limits: tuple[float, float] | None = None
    form: str = ".0f"


@dataclass(frozen=True)
class Panels:
    """Small multiples: charts of the same make side by side."""

    title: str
    panels: Sequence[XYChart | IntervalChart | Heatmap]


Chart = XYChart | IntervalChart | Heatmap | Panels


def side_by_side(title: str, charts: Sequence[XYChart | IntervalChart | Heatmap]) -> Chart:
    """Panels, or the chart itself under the title where there is one."""
    return replace(charts[0], title=title) if len(charts) == 1 else Panels(title, charts)


def data_table(chart: Chart) -> tuple[list[str], list[list[str | float | None]]]:
    """List the numbers behind a chart.

    Returns
    -------
    header : list of str
    rows : list of list
        Text is as it was given: escape it.
    """
    match chart:
        case XYChart():
            return _xy_table(chart)
        case IntervalChart():
            header = ["name", "series", chart.x_label or "value", "low", "high", "note"]
            return header, [[m.label, m.series, m.value, m.low, m.high, m.note] for m in chart.marks]
        case Heatmap():
            rows = zip(chart.y_names, chart.values, strict=True)
            return [f"{chart.y_label} / {chart.x_label}", *chart.x_names], [[name, *values] for name, values in rows]
        case Panels():
            tables = [(panel.title, *data_table(panel)) for panel in chart.panels]
            header = ["panel", *tables[0][1]] if tables else []
            return header, [[title, *row] for title, _, found in tables for row in found]


def _xy_table(chart: XYChart) -> tuple[list[str], list[list[str | float | None]]]:
    names = dict(chart.x_ticks)
    rows: list[list[str | float | None]] = []
    for series in chart.series:
        for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            low = series.low[i] if series.low is not None else None
            high = series.high[i] if series.high is not None else None
            rows.append([series.name, names.get(x, x) if series.kind != "step" else x, y, low, high])
    return ["series", chart.x_label, chart.y_label, "low", "high"], rows


def extent(values: Iterable[float | None], padding: float = 0.05) -> tuple[float, float]:
    """Ends of an axis that has room for all values."""
    known = [v for v in values if v is not None]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    room = (high - low) * padding or abs(high) * 0.1 or 1.0
    return low - room, high + room


def number(value: float) -> str:
    """Print a number for an axis or a data table: four significant digits, no trailing zeros."""
    if value == 0.0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-4:
        return f"{value:.3g}"
    text = f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def log_edges(lengths: Floats) -> Floats:
    """Edges on the scale of log2(length + 1), a quarter of an octave each, that hold the middle 99.8 %."""
    logs = np.log2(lengths + 1.0)
    low, high = np.floor(np.quantile(logs, 0.001)), np.ceil(np.quantile(logs, 0.999))
    return np.arange(low, max(high, low + 1.0) + 0.25, 0.25)


def edges_of(values: Floats, n_most: int = 40) -> Floats:
    """Edges at even distances over all values, by Freedman and Diaconis's rule but `n_most` at most."""
    if float(np.ptp(values)) == 0.0:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    edges = np.histogram_bin_edges(values, bins="fd")
    return edges if len(edges) <= n_most + 1 else np.linspace(edges[0], edges[-1], n_most + 1)


def histogram(name: str, values: Floats, edges: Floats) -> Series:
    """Shares in percent; what lies beyond the edges counts in the first and the last bar."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    shares = 100.0 * counts / max(values.size, 1)
    return Series(name, edges.tolist(), [*shares.tolist(), 0.0], kind="step")
