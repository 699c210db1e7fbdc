"""Curves, points, bands and histograms over one x axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from reports.charts import Series, XYChart, extent, number
from reports.palette import LIGHT, dash
from reports.plot import (
    CHARACTER,
    LINE,
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
    shape_of,
    share_of,
    wide,
)

_MOST_DIRECT = 5  # names at the ends of curves; more would run into each other
_MOST_SAYING = 60  # points that each say what they are; more are small
_STROKE = "M-1,-0.15h2v0.3h-2z"

Domain = tuple[float, float]


def plot_curves(chart: XYChart, width: int, slots: Slots) -> Plot:
    """Lay the chart out."""
    found = colours_of([s.name for s in chart.series], slots)
    drawn = [(s, found[s.name] if s.slot is None else s.slot) for s in chart.series if s.x]
    named = {s.name: slot for s, slot in drawn if s.name}
    across, up = _x_domain(chart), _y_domain(chart)
    name_them = _naming(chart, named)
    left = wide([number(v) for v in (*up, sum(up) / 2)]) + 14
    right = min(wide([*named]), width * 0.3) + 10 if name_them is _end_labels else 14.0
    plot = Plot(width - left - right, width * (0.5 if width < 500 else 0.4), left=left, right=right)
    x = _x_axis(plot, chart, across)
    scale = alt.Scale(domain=list(up), nice=False, zero=False, clamp=True)
    y: dict[str, Any] = {"scale": scale, "axis": alt.Axis(title=None, tickCount=5)}
    plot.layers += reference_lines(chart.lines, alt.Y, y)
    for series, slot in drawn:
        plot.layers += _layers(series, slot, x, y)
    _write_labels(plot, chart, up)
    if name_them is not None:
        name_them(plot, drawn, across, up)
    return plot


def _write_labels(plot: Plot, chart: XYChart, up: Domain) -> None:
    """Name the reference lines, and the y axis above it."""
    for line in chart.lines:
        place = plot.height * (1 - share_of(line.value, up)) - 8
        plot.write(fitting(line.label, plot.width), plot.width - 4, place, align="right")
    if chart.y_label:
        plot.write(fitting(chart.y_label, plot.left + plot.width), 4 - plot.left, -14)
        plot.top += LINE


def _x_domain(chart: XYChart) -> Domain:
    xs = [*(x for s in chart.series for x in s.x), *(x for x, _ in chart.x_ticks)]
    steps = all(s.kind == "step" for s in chart.series)
    return extent(xs, 0.0 if steps and xs and max(xs) > min(xs) else 0.03)


def _y_domain(chart: XYChart) -> Domain:
    if chart.y_range is not None:
        return chart.y_range
    ys = [v for s in chart.series for values in (s.y, s.low or (), s.high or ()) for v in values]
    low, high = extent([*ys, *(line.value for line in chart.lines)])
    return (0.0 if any(s.kind == "step" for s in chart.series) else low), high


def _x_axis(plot: Plot, chart: XYChart, domain: Domain) -> dict[str, Any]:
    """The x channel; named places are written as text, since an axis could only show their names by an expression."""
    if not chart.x_ticks:
        return axis(plot, domain, chart.x_label)
    places = [x for x, _ in chart.x_ticks]
    step = plot.width * min((b - a for a, b in pairwise(places)), default=1.0) / (domain[1] - domain[0])
    shown = [fitting(name, max(step - 4, 48)) for _, name in chart.x_ticks]
    every = max(-(-int(wide(shown) + 6) // max(int(step), 1)), 1)
    for x, text in list(zip(places, shown, strict=True))[::every]:
        plot.write(text, plot.width * share_of(x, domain), plot.height + 14, align="center")
    return axis(plot, domain, chart.x_label, values=places, labels=False, titlePadding=24)


def _layers(series: Series, slot: int, across: Mapping[str, Any], up: Mapping[str, Any]) -> list[alt.Chart]:
    """The layers of a series: what shows its limits, then the curve, the steps or the points."""
    x, y = alt.X(**quantity("x", **across)), alt.Y(**quantity("y", **up))
    limits = [x, alt.Y(**quantity("low", **up)), alt.Y2(field="high")]
    rows = [_row(series, i, slot) for i in range(len(series.x))]
    base, colour = alt.Chart(alt.InlineData(values=rows)), colour_of(slot)
    if series.kind == "step":
        area = base.mark_area(interpolate="step-after", fill=colour, fillOpacity=0.2, stroke=colour, strokeWidth=1.5)
        return [area.encode(x, y)]
    if series.kind == "line":
        band = [base.mark_area(fill=colour, fillOpacity=0.15).encode(*limits)] if "low" in rows[0] else []
        return [*band, base.mark_line(stroke=colour, strokeDash=list(dash(slot))).encode(x, y)]
    if len(rows) > _MOST_SAYING:
        return [base.mark_point(filled=True, size=16, opacity=0.4, color=colour).encode(x, y)]
    return points(rows, x, y, limits)


def _row(series: Series, i: int, slot: int) -> dict[str, Any]:
    place = {"x": series.x[i], "y": series.y[i]}
    if series.kind == "step":
        return place
    low = None if series.low is None else series.low[i]
    high = None if series.high is None else series.high[i]
    name = f"{series.name}: " if series.name else ""
    says = f"{name}{number(series.x[i])}, {number(series.y[i])}"
    row = said(says, low, high, series.samples[i] if series.samples else None)
    return place | row | {"colour": colour_of(slot), "shape": shape_of(slot)}


Drawn = Sequence[tuple[Series, int]]


def _naming(chart: XYChart, named: Mapping[str, int]) -> Any:
    """How the series are named: where they end, beside their point, in a legend, or not at all."""
    if len(named) < 2 or not chart.legend:
        return None
    if len(named) <= _MOST_DIRECT and all(s.kind == "line" for s in chart.series):
        return _end_labels
    return _point_labels if all(len(s.x) == 1 for s in chart.series if s.name) else _legend


def _legend(plot: Plot, drawn: Drawn, across: Domain, up: Domain) -> None:
    del across, up
    signs = {"line": _STROKE, "step": "square"}
    names = {s.name: (s.name, signs.get(s.kind, shape_of(slot)), colour_of(slot)) for s, slot in drawn if s.name}
    plot.legend([*names.values()])


def _end_labels(plot: Plot, drawn: Drawn, across: Domain, up: Domain) -> None:
    """Name each curve where it ends, in its colour, moved apart where two end at one place."""
    del across
    last = -LINE
    for series, slot in sorted(((s, n) for s, n in drawn if s.name), key=lambda one: -one[0].y[-1]):
        last = max(plot.height * (1 - share_of(series.y[-1], up)), last + LINE - 2)
        plot.write(fitting(series.name, plot.right - 8 + CHARACTER), plot.width + 8, last, colour_of(slot))


def _point_labels(plot: Plot, drawn: Drawn, across: Domain, up: Domain) -> None:
    """Name the points of series that have one each, on the side away from a path through them."""
    single = [s for s, _ in drawn if s.name]
    slope = 1 if single[-1].y[0] >= single[0].y[0] else -1
    for series in single:
        x, y = share_of(series.x[0], across), share_of(series.y[0], up)
        side = 1 if x < 0.5 else -1
        place = plot.width * x + 9 * side, plot.height * (1 - y) + 11 * side * slope
        plot.write(series.name, *place, LIGHT["ink"], "left" if side > 0 else "right")
