"""Figures with intervals: one row a name, one mark a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from reports.charts import IntervalChart, Mark, RefLine, extent, number
from reports.palette import LIGHT, SHAPES
from reports.plot import (
    LINE,
    NEUTRAL,
    Align,
    Plot,
    Slots,
    axis,
    colour_of,
    colours_of,
    fitting,
    points,
    quantity,
    reference_lines,
    said,
    share_of,
    wide,
)

_MARK = 14.0
_MOST_BESIDE = 0.42  # of the width, for names beside their rows; longer ones stand above


def plot_intervals(chart: IntervalChart, width: int, slots: Slots) -> Plot:
    """Lay the chart out."""
    labels = list(dict.fromkeys(mark.label for mark in chart.marks))
    longest = wide(labels) + 20
    beside = longest <= width * _MOST_BESIDE
    left = longest if beside else 8.0
    plot = Plot(width - left - 16, 0.0, left=left, right=16.0)
    levels = _levels(plot, chart, labels, beside)
    colours = _colours(chart, slots)
    shapes = dict(zip(chart.series, SHAPES * len(chart.series), strict=False))
    domain = chart.x_range or extent(_values(chart))
    across = axis(plot, domain, chart.x_label)
    plot.layers += reference_lines(chart.lines, alt.X, across)
    _line_names(plot, chart.lines, domain)
    rows = [
        _row(m, colours[m.series, m.label], shapes[m.series]) | {"y": levels[m.label, m.series]} for m in chart.marks
    ]
    y = alt.Y(**quantity("y"))
    bars = [alt.X(**quantity("low", **across)), alt.X2(field="high"), y]
    plot.layers += points(rows, alt.X(**quantity("x", **across)), y, bars)
    if len(chart.series) > 1:
        plot.legend([(name, shapes[name], colours[name, ""]) for name in chart.series])
    return plot


def _levels(plot: Plot, chart: IntervalChart, labels: Sequence[str], beside: bool) -> dict[tuple[str, str], float]:
    """Write the names of the rows, and where each row's series lie: below its name where that stands above."""
    levels: dict[tuple[str, str], float] = {}
    for label in labels:
        there = {mark.series for mark in chart.marks if mark.label == label}
        series = [name for name in chart.series if name in there]
        top = plot.height + (0.0 if beside else LINE)
        bottom = top + _MARK * (len(series) + 1)
        if beside:
            plot.write(label, -10, (top + bottom) / 2, LIGHT["ink"], "right")
        else:
            plot.write(fitting(label, plot.width), 0, plot.height + 14, LIGHT["ink"])
        first = top + (_MARK if beside else 0.5 * _MARK)
        levels |= {(label, name): first + _MARK * i for i, name in enumerate(series)}
        plot.height = bottom
    return levels


def _values(chart: IntervalChart) -> list[float | None]:
    values = [v for mark in chart.marks for v in (mark.value, mark.low, mark.high)]
    return [*values, *(line.value for line in chart.lines)]


def _colours(chart: IntervalChart, slots: Slots) -> dict[tuple[str, str], str]:
    """The colour of a series in a row, and of the series by itself."""
    labels = {mark.label for mark in chart.marks}
    if slots.keys().isdisjoint(labels) or not (chart.by_label or len(chart.series) == 1):
        own = {name: colour_of(slot) for name, slot in colours_of(chart.series, slots).items()}
        return {(name, label): colour for name, colour in own.items() for label in (*labels, "")}
    grey = colour_of(NEUTRAL)
    chosen = {(name, label): grey for name in chart.series for label in (*labels, "")}
    return chosen | {(chart.series[0], label): colour_of(slots[label]) for label in labels & slots.keys()}


def _row(mark: Mark, colour: str, shape: str) -> dict[str, Any]:
    name = f"{mark.label} {mark.series}".rstrip()
    row = said(f"{name}: {number(mark.value)}", mark.low, mark.high, mark.samples, mark.note)
    return row | {"x": mark.value, "colour": colour, "shape": shape}


def _line_names(plot: Plot, lines: Sequence[RefLine], domain: tuple[float, float]) -> None:
    for line in lines:
        share = share_of(line.value, domain)
        align: Align = "left" if share < 0.3 else "right" if share > 0.7 else "center"
        plot.write(fitting(line.label, plot.width * 0.6), plot.width * share, -10, align=align)
    plot.top += LINE if lines else 0.0
