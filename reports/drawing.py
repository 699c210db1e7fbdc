"""Charts as Vega-Lite specifications, drawn by vl-convert: one for the page's pictures and the files of `--figures`.

Widths and places of text are computed here rather than by Vega, which would measure every label several times (most of
the time of a drawing), and names go into the data of text marks: a name is never part of an expression.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

from harness.text_safety import one_line, visible
from reports.charts import Chart, Heatmap, IntervalChart, Mark, Panels, RefLine, Series, XYChart, extent, number
from reports.palette import LIGHT, SERIES, SHAPES, dash

__all__ = ["NARROW", "WIDE", "draw", "specification"]

NARROW, WIDE = 352, 720
"""Widths, in pixels, of a chart on a phone or in a row of several, and of one that has a row for itself."""

_FONT = 13
_CHARACTER = 7.3  # pixels, about, of one character at that size
_LINE = 18.0
_MOST_COLUMNS = 3
_MOST_DIRECT = 5  # names at the ends of curves; more would run into each other
_NEUTRAL = 6  # the slot of grey, for what is no model in a chart of models
_STROKE = "M-1,-0.15h2v0.3h-2z"

Slots = Mapping[str, int]
_Align = Literal["left", "center", "right"]


@dataclass
class _Plot:
    """The layers of a chart, the size of the space they are drawn in, and the room around it for text."""

    width: float
    height: float
    layers: list[alt.Chart] = field(default_factory=list)
    left: float = 12.0
    right: float = 12.0
    top: float = 10.0
    bottom: float = 26.0
    texts: dict[tuple[_Align, int], list[dict[str, Any]]] = field(default_factory=dict)
    signs: list[dict[str, Any]] = field(default_factory=list)

    def write(
        self, text: str, x: float, y: float, colour: str = LIGHT["soft"], align: _Align = "left", angle: int = 0
    ) -> None:
        """Write a text at a place given in pixels."""
        self.texts.setdefault((align, angle), []).append({"x": x, "y": y, "text": _plain(text), "colour": colour})

    def sign(self, shape: str, colour: str, x: float, y: float) -> None:
        """Draw the mark of a series at a place given in pixels."""
        self.signs.append({"x": x, "y": y, "shape": shape, "colour": colour})

    def drawn(self, **frame: Any) -> alt.LayerChart | alt.FacetChart:
        """All layers, the texts on top."""
        layers = list(self.layers)
        colour = alt.Color(field="colour", type="nominal", scale=None)
        if self.signs:
            points = alt.Chart(alt.InlineData(values=self.signs)).mark_point(filled=True, size=60, opacity=1.0)
            layers.append(points.encode(*_PLACE, colour, alt.Shape(field="shape", type="nominal", scale=None)))
        for (align, angle), rows in self.texts.items():
            texts = alt.Chart(alt.InlineData(values=rows)).mark_text(align=align, angle=angle, baseline="middle")
            layers.append(texts.encode(*_PLACE, colour, _TEXT))
        return alt.layer(*layers, width=self.width, height=self.height, **frame)


_PLACE = (
    alt.X(field="x", type="quantitative", scale=None, axis=None),
    alt.Y(field="y", type="quantitative", scale=None, axis=None),
)
_TEXT = alt.Text(field="text", type="nominal")


def specification(
    chart: Chart, width: int, slots: Slots, alone: bool = False
) -> alt.LayerChart | alt.FacetChart | alt.ConcatChart:
    """Make a chart's Vega-Lite specification, to which `draw` adds fonts and colours of axes.

    Parameters
    ----------
    chart : Chart
        The chart.
    width : int
        Pixels; panels have `NARROW` pixels each, whatever the width.
    slots : mapping of str to int
        Colours of models by name, the same in all charts of a report; other series take the colours left over.
    alone : bool
        Whether it stands in a file of its own: with its title.
    """
    if isinstance(chart, Panels):
        return _together(chart, slots)
    return _layered(_plot(chart, width, slots), chart, alone)


def draw(chart: Chart, width: int, slots: Slots, alone: bool = False) -> str:
    """Draw a chart as SVG in the colours of the light theme; `specification` explains the parameters."""
    with debug_mode(False):  # validation would double the time; a test validates every kind of chart
        spec = specification(chart, width, slots, alone).to_dict(validate=False)
    svg = str(vl_convert.vegalite_to_svg(spec, vl_version=_VERSION, config=_CONFIG))
    return _LINK.sub("", svg) if alone else svg


_LINK = re.compile(r"</?a(?: [^>]*)?>")  # to samples in the page, which a file is no part of
_VERSION = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])

_CONFIG: dict[str, Any] = {
    "font": "sans-serif",
    "background": LIGHT["page"],
    "view": {"stroke": None},
    "mark": {"aria": False},
    "text": {"fontSize": _FONT},
    "axis": {
        "labelFontSize": _FONT,
        "titleFontSize": _FONT,
        "titleFontWeight": "normal",
        "labelColor": LIGHT["soft"],
        "titleColor": LIGHT["soft"],
        "gridColor": LIGHT["line"],
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "labelLimit": 0,  # with a limit every label would be measured twice
        "titleLimit": 0,
        "aria": False,
    },
    "title": {"fontSize": 15, "color": LIGHT["ink"], "limit": 0, "anchor": "start", "frame": "group"},
}


def _layered(plot: _Plot, chart: Chart, titled: bool) -> alt.LayerChart | alt.FacetChart:
    """One chart, as large as its plot with the room around it."""
    room = {"left": plot.left, "right": plot.right, "top": plot.top + (28 if titled else 0), "bottom": plot.bottom}
    frame: dict[str, Any] = {"title": _title(chart.title, plot.left)} if titled else {}
    return plot.drawn(autosize="none", padding=room, **frame)


def _together(chart: Panels, slots: Slots) -> alt.ConcatChart:
    """Panels side by side, each with its title."""
    plots = [_plot(panel, NARROW, slots) for panel in chart.panels]
    left, right, top, bottom = (max(getattr(p, side) for p in plots) for side in ("left", "right", "top", "bottom"))
    charts = [
        plot.drawn(title=_title(panel.title, plot.left, 13)) for plot, panel in zip(plots, chart.panels, strict=True)
    ]
    return alt.concat(
        *charts,
        columns=_MOST_COLUMNS,
        bounds="flush",
        spacing={"row": top + bottom + 24, "column": left + right},
        title=_title(chart.title, left),
        padding={"left": left, "right": right, "top": top + 60, "bottom": bottom + 4},
    )


def _title(text: str, left: float, size: int = 15) -> alt.TitleParams:
    return alt.TitleParams(_plain(text, 90 if size == 15 else 44), offset=8, dx=4 - left, fontSize=size)


def _plot(chart: XYChart | IntervalChart | Heatmap, width: int, slots: Slots) -> _Plot:
    match chart:
        case XYChart():
            return _curves(chart, width, slots)
        case IntervalChart():
            return _intervals(chart, width, slots)
        case Heatmap():
            return _cells(chart, width)


def _plain(text: str, most: int = 200) -> str:
    """One line of text with an ellipsis in the middle where it is too long: names differ at either end."""
    shown = one_line(visible(text))
    if len(shown) <= most:
        return shown
    head = most // 2
    return shown[:head] + "…" + shown[len(shown) - (most - 1 - head) :]


def _fitting(text: str, width: float) -> str:
    return _plain(text, max(int(width / _CHARACTER), 4))


def _wide(texts: Sequence[str]) -> float:
    return max((len(text) for text in texts), default=0) * _CHARACTER


def _colour(slot: int) -> str:
    return SERIES[slot % len(SERIES)]


def _slots(names: Sequence[str], slots: Slots) -> dict[str, int]:
    """The colour of each name: a model's own, or the next that no model of the chart has."""
    chosen = {name: slots[name] for name in names if name in slots}
    free = (slot for slot in range(len(names) + len(SERIES)) if slot not in chosen.values())
    return {name: chosen[name] if name in chosen else next(free) for name in dict.fromkeys(names)}


def _number(name: str) -> dict[str, Any]:
    return {"field": name, "type": "quantitative"}


def _pixels(domain: Sequence[float]) -> dict[str, Any]:
    """A scale of pixels, without an axis."""
    return {"scale": alt.Scale(domain=list(domain), nice=False, zero=False), "axis": None}


def _legend(plot: _Plot, names: Sequence[tuple[str, str, str]]) -> None:
    """Name the series (name, shape and colour) above the plot, several a line where they fit."""
    rows: list[list[tuple[str, str, str]]] = [[]]
    room = plot.left + plot.width + plot.right - 12
    used = 0.0
    for name, shape, colour in names:
        shown = _fitting(name, room - 24)
        own = len(shown) * _CHARACTER + 34
        if rows[-1] and used + own > room:
            rows.append([])
            used = 0.0
        rows[-1].append((shown, shape, colour))
        used += own
    above = plot.top + 6
    for i, row in enumerate(rows):
        x, y = 12 - plot.left, -above - _LINE * (len(rows) - 1 - i)
        for shown, shape, colour in row:
            plot.sign(shape, colour, x, y)
            plot.write(shown, x + 10, y, LIGHT["ink"])
            x += len(shown) * _CHARACTER + 34
    plot.top += _LINE * len(rows) + 4


# Curves and points


def _curves(chart: XYChart, width: int, slots: Slots) -> _Plot:
    found = _slots([s.name for s in chart.series], slots)
    of_series = [found[s.name] if s.slot is None else s.slot for s in chart.series]
    named = {s.name: slot for s, slot in zip(chart.series, of_series, strict=True) if s.name}
    x_domain, y_domain = _x_domain(chart), _y_domain(chart)
    left = max(len(number(v)) for v in (*y_domain, sum(y_domain) / 2)) * _CHARACTER + 14
    plot = _Plot(width - left - 14, width * (0.5 if width < 500 else 0.4), left=left, right=14.0)
    named = named if len(named) > 1 and chart.legend else {}
    single = all(len(s.x) == 1 or not s.name for s in chart.series)
    direct = 1 < len(named) <= _MOST_DIRECT and all(s.kind == "line" and s.x for s in chart.series)
    if direct:
        right = min(_wide([*named]), width * 0.3) + 10
        plot.width, plot.right = width - left - right, right
    across = _x_axis(plot, chart, x_domain)
    if chart.lines:
        data = alt.InlineData(values=[{"y": line.value} for line in chart.lines])
        rule = alt.Chart(data).mark_rule(stroke=LIGHT["soft"], strokeDash=[4, 3])
        plot.layers.append(rule.encode(alt.Y(**_number("y"), **_y_scale(y_domain))))
    for series, slot in zip(chart.series, of_series, strict=True):
        plot.layers += _series(series, slot, across, y_domain)
    for line in chart.lines:
        if line.label:
            plot.write(
                _fitting(line.label, plot.width), plot.width - 4, _up(plot, line.value, y_domain) - 8, align="right"
            )
    if chart.y_label:
        plot.write(_fitting(chart.y_label, width - 8), 4 - left, -14)
        plot.top += _LINE
    if direct:
        _end_labels(plot, chart.series, named, y_domain)
    elif named and single:
        _point_labels(plot, chart.series, x_domain, y_domain)
    elif named:
        kinds = {s.name: s.kind for s in chart.series}
        signs = {"points": None, "line": _STROKE, "step": "square"}
        _legend(plot, [(n, signs[kinds[n]] or SHAPES[slot % 4], _colour(slot)) for n, slot in named.items()])
    return plot


def _up(plot: _Plot, value: float, domain: tuple[float, float]) -> float:
    share = (value - domain[0]) / (domain[1] - domain[0])
    return plot.height * (1.0 - min(max(share, 0.0), 1.0))


def _x_domain(chart: XYChart) -> tuple[float, float]:
    xs = [*(x for s in chart.series for x in s.x), *(x for x, _ in chart.x_ticks)]
    steps = all(s.kind == "step" for s in chart.series)
    return extent(xs, 0.0 if steps and xs and max(xs) > min(xs) else 0.03)


def _y_domain(chart: XYChart) -> tuple[float, float]:
    if chart.y_range is not None:
        return chart.y_range
    ys = [v for s in chart.series for values in (s.y, s.low or (), s.high or ()) for v in values]
    low, high = extent([*ys, *(line.value for line in chart.lines)])
    return (0.0 if any(s.kind == "step" for s in chart.series) else low), high


def _x_axis(plot: _Plot, chart: XYChart, domain: tuple[float, float]) -> dict[str, Any]:
    """The x channel; names of places are written as text, since an axis could only show them by an expression."""
    axis: dict[str, Any] = {"title": _fitting(chart.x_label, plot.width) or None, "tickCount": plot.width // 60}
    plot.bottom += _LINE if chart.x_label else 0.0
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    if chart.x_ticks:
        places = [x for x, _ in chart.x_ticks]
        axis |= {"values": places, "labels": False, "titlePadding": 22}
        nearest = min((b - a for a, b in pairwise(places)), default=1.0)
        step = plot.width * nearest / (domain[1] - domain[0])
        shown = [_fitting(name, max(step - 4, 48)) for _, name in chart.x_ticks]
        every = max(-(-int(_wide(shown) + 6) // max(int(step), 1)), 1)
        for x, text in list(zip(places, shown, strict=True))[::every]:
            share = (x - domain[0]) / (domain[1] - domain[0])
            plot.write(text, plot.width * share, plot.height + 14, align="center")
    return {"scale": scale, "axis": alt.Axis(**axis)}


def _y_scale(domain: tuple[float, float]) -> dict[str, Any]:
    scale = alt.Scale(domain=list(domain), nice=False, zero=False, clamp=True)
    return {"scale": scale, "axis": alt.Axis(title=None, tickCount=5)}


def _series(series: Series, slot: int, across: Mapping[str, Any], domain: tuple[float, float]) -> list[alt.Chart]:
    """The layers of a series: what shows its limits, then the curve, the steps or the points."""
    if not series.x:
        return []
    colour = _colour(slot)
    small = series.kind == "points" and len(series.x) > 60
    x, up = alt.X(**_number("x"), **across), _y_scale(domain)
    base = alt.Chart(alt.InlineData(values=_rows(series)))
    y, low, high = alt.Y(**_number("y"), **up), alt.Y(**_number("low"), **up), alt.Y2(field="high")
    limited = series.low is not None and series.high is not None
    if series.kind == "step":
        area = base.mark_area(interpolate="step-after", fill=colour, fillOpacity=0.2, stroke=colour, strokeWidth=1.5)
        return [area.encode(x, y)]
    if series.kind == "line":
        bands = [base.mark_area(fill=colour, fillOpacity=0.15).encode(x, low, high)] if limited else []
        return [*bands, base.mark_line(stroke=colour, strokeDash=list(dash(slot))).encode(x, y)]
    bars = [base.mark_rule(stroke=colour, strokeWidth=2).encode(x, low, high)] if limited else []
    points = base.mark_point(
        filled=True,
        shape=SHAPES[slot % 4],
        color=colour,
        size=16 if small else 60,
        opacity=0.4 if small else 1.0,
        aria=not small,
    )
    return [*bars, points.encode(x, y, *([] if small else _says(series.samples)))]


def _says(links: object) -> list[Any]:
    said: list[Any] = [alt.Description(field="says", type="nominal")]
    return [*said, alt.Href(field="href", type="nominal")] if links else said


def _rows(series: Series) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        row: dict[str, Any] = {"x": x, "y": y}
        says = f"{series.name}: {number(x)}, {number(y)}" if series.name else f"{number(x)}, {number(y)}"
        if series.low is not None and series.high is not None:
            row |= {"low": series.low[i], "high": series.high[i]}
            says += f" ({number(series.low[i])} to {number(series.high[i])})"
        if series.kind == "points":
            row["says"] = _plain(says, 400)
        if series.samples:
            row["href"] = series.samples[i].href
        rows.append(row)
    return rows


def _end_labels(plot: _Plot, series: Sequence[Series], named: Mapping[str, int], domain: tuple[float, float]) -> None:
    """Name each curve where it ends, in its colour, moved apart where two end at one place."""
    ends = {s.name: _up(plot, s.y[-1], domain) for s in series if s.name}
    last = -_LINE
    for name, y in sorted(ends.items(), key=lambda end: end[1]):
        last = max(y, last + _LINE - 2)
        plot.write(_fitting(name, plot.right - 8), plot.width + 8, last, _colour(named[name]))


def _point_labels(plot: _Plot, series: Sequence[Series], across: tuple[float, float], up: tuple[float, float]) -> None:
    """Name the points of series that have one each, on the side away from a path through them."""
    points = [s for s in series if s.name]
    slope = 1 if points[-1].y[0] >= points[0].y[0] else -1
    for s in points:
        share = (s.x[0] - across[0]) / (across[1] - across[0])
        side = 1 if share < 0.5 else -1
        y = _up(plot, s.y[0], up) + 11 * side * slope
        plot.write(s.name, plot.width * share + 9 * side, y, LIGHT["ink"], "left" if side > 0 else "right")


# Figures with intervals


def _intervals(chart: IntervalChart, width: int, slots: Slots) -> _Plot:
    labels = list(dict.fromkeys(mark.label for mark in chart.marks))
    series = chart.series
    found = _slots(series, slots)
    longest = _wide(labels) + 20
    beside = longest <= width * 0.38
    left = longest if beside else 8.0
    one_each = len(labels) == len(chart.marks)
    head = 0.0 if beside else _LINE
    of_label = {label: [m for m in chart.marks if m.label == label] for label in labels}
    heights = {label: head + 14.0 + 14.0 * len({m.series for m in marks}) for label, marks in of_label.items()}
    plot = _Plot(width - left - 16, sum(heights.values()), left=left, right=16.0)
    values = [v for m in chart.marks for v in (m.value, m.low, m.high)]
    domain = chart.x_range or extent([*values, *(line.value for line in chart.lines)])
    title = _fitting(chart.x_label, plot.width) or None
    plot.bottom += _LINE if title else 0.0
    scale = alt.Scale(domain=list(domain), nice=False, zero=False, clamp=True)
    across: dict[str, Any] = {"scale": scale, "axis": alt.Axis(title=title, tickCount=plot.width // 60)}
    _lines(plot, chart.lines, domain, across)
    rows, y = [], 0.0
    for label, marks in of_label.items():
        own = [name for name in series if any(m.series == name for m in marks)]
        if beside:
            plot.write(label, -10, y + heights[label] / 2, LIGHT["ink"], "right")
        else:
            plot.write(_fitting(label, width - 16), 0, y + 14, LIGHT["ink"])
        for mark in marks:
            colour = _colour(slots.get(label, _NEUTRAL) if one_each and slots else found[mark.series])
            shape = SHAPES[series.index(mark.series) % 4]
            rows.append(_interval(mark, y + head + 7 + 14 * (own.index(mark.series) + 0.5), colour, shape))
        y += heights[label]
    plot.layers += _interval_layers(plot, rows, across)
    if len(series) > 1:
        signs = zip(series, SHAPES * len(series), strict=False)
        _legend(plot, [(name, shape, _colour(_NEUTRAL if one_each else found[name])) for name, shape in signs])
    return plot


def _lines(plot: _Plot, lines: Sequence[RefLine], domain: tuple[float, float], across: Mapping[str, Any]) -> None:
    """Draw reference lines, with their names above them."""
    if not lines:
        return
    data = alt.InlineData(values=[{"x": line.value} for line in lines])
    rule = alt.Chart(data).mark_rule(stroke=LIGHT["soft"], strokeDash=[4, 3])
    plot.layers.append(rule.encode(alt.X(**_number("x"), **across)))
    for line in lines:
        share = (line.value - domain[0]) / (domain[1] - domain[0])
        align: _Align = "left" if share < 0.3 else "right" if share > 0.7 else "center"
        plot.write(_fitting(line.label, plot.width * 0.6), plot.width * share, -10, align=align)
    plot.top += _LINE


def _interval(mark: Mark, y: float, colour: str, shape: str) -> dict[str, Any]:
    says = f"{mark.label}{' ' + mark.series if mark.series else ''}: {number(mark.value)}"
    row: dict[str, Any] = {"x": mark.value, "y": y, "colour": colour, "shape": shape}
    if mark.low is not None and mark.high is not None:
        row |= {"low": mark.low, "high": mark.high}
        says += f" ({number(mark.low)} to {number(mark.high)})"
    row["says"] = _plain(says + (f", {mark.note}" if mark.note else ""), 400)
    return row | ({"href": mark.samples.href} if mark.samples else {})


def _interval_layers(plot: _Plot, rows: Sequence[dict[str, Any]], across: Mapping[str, Any]) -> list[alt.Chart]:
    y = alt.Y(**_number("y"), **_pixels([plot.height, 0]))
    colour = alt.Color(field="colour", type="nominal", scale=None)
    layers = []
    if limited := [row for row in rows if "low" in row]:
        bars = alt.Chart(alt.InlineData(values=limited)).mark_rule(strokeWidth=2)
        layers.append(bars.encode(alt.X(**_number("low"), **across), alt.X2(field="high"), y, colour))
    for linked in (True, False):
        if own := [row for row in rows if ("href" in row) is linked]:
            points = alt.Chart(alt.InlineData(values=own)).mark_point(filled=True, size=70, opacity=1.0, aria=True)
            shape = alt.Shape(field="shape", type="nominal", scale=None)
            layers.append(points.encode(alt.X(**_number("x"), **across), y, colour, shape, *_says(linked)))
    return layers


# Values in a grid


def _cells(chart: Heatmap, width: int) -> _Plot:
    left = min(_wide(chart.y_names), width * 0.36) + 18
    step = (width - left - 8) / max(len(chart.x_names), 1)
    row = min(max(step * 0.6, 24.0), 34.0)
    upright = _wide(chart.x_names) + 6 < step
    plot = _Plot(width - left - 8, row * len(chart.y_names), left=left, right=8.0, bottom=8.0)
    rows = []
    for i, (name, values) in enumerate(zip(chart.y_names, chart.values, strict=True)):
        plot.write(_fitting(name, left - 14), -8, row * (i + 0.5), LIGHT["ink"], "right")
        for j, value in enumerate(values):
            place = {"x": step * j + 1, "x2": step * (j + 1) - 1, "y": row * i + 1, "y2": row * (i + 1) - 1}
            rows.append(place | _cell(chart, value, f"{name}, {chart.x_names[j]}", step))
    room = _column_names(plot, chart.x_names, step, upright)
    plot.layers += _cell_layers(plot, rows)
    plot.top = room + 4
    if chart.x_label:
        plot.write(_fitting(chart.x_label, plot.width), plot.width / 2, plot.height + 16, align="center")
        plot.bottom += _LINE
    if chart.y_label:
        plot.write(_fitting(chart.y_label, left + plot.width), 4 - left, -room - 10)
        plot.top += _LINE
    return plot


def _column_names(plot: _Plot, names: Sequence[str], step: float, upright: bool) -> float:
    """Write the names of columns above them, turned where they are wider than a column; the height they take."""
    shown = [_fitting(name, step * 2 if upright else 110) for name in names]
    for i, name in enumerate(shown):
        if upright:
            plot.write(name, step * (i + 0.5), -10, align="center")
        else:
            plot.write(name, step * (i + 0.5), -10, angle=315)
    return 18.0 if upright else _wide(shown) * 0.72 + 16.0


def _cell(chart: Heatmap, value: float | None, name: str, step: float) -> dict[str, Any]:
    """Colour and text of a cell: the further from the neutral value, the less of the page shows through."""
    if value is None:
        return {
            "fill": LIGHT["raised"],
            "opacity": 1.0,
            "text": "",
            "ink": LIGHT["ink"],
            "says": f"{_plain(name)}: nothing",
        }
    share = _share(chart, value)
    shown = format(value, chart.form)
    return {
        "fill": LIGHT["above" if share >= 0 else "below"],
        "opacity": round(abs(share), 3),
        "text": shown if _wide([shown]) + 4 < step else "",
        "ink": LIGHT["page" if abs(share) > 0.62 else "ink"],
        "says": f"{_plain(name)}: {shown}",
    }


def _share(chart: Heatmap, value: float) -> float:
    """Where a value lies from the neutral one (0) to either end of the scale (-1 and 1)."""
    known = [v for row in chart.values for v in row if v is not None]
    low, high = chart.limits or (min(known), max(known))
    if chart.centre is None:
        return 0.5 if high <= low else min(max((value - low) / (high - low), 0.0), 1.0)
    reach = max(abs(low - chart.centre), abs(high - chart.centre)) or 1.0
    return min(max((value - chart.centre) / reach, -1.0), 1.0)


def _cell_layers(plot: _Plot, rows: Sequence[dict[str, Any]]) -> list[alt.Chart]:
    x = _pixels([0, plot.width])
    y = _pixels([plot.height, 0])
    base = alt.Chart(alt.InlineData(values=list(rows)))
    boxes = base.mark_rect(cornerRadius=2, aria=True).encode(
        alt.X(**_number("x"), **x),
        alt.X2(field="x2"),
        alt.Y(**_number("y"), **y),
        alt.Y2(field="y2"),
        alt.Fill(field="fill", type="nominal", scale=None),
        alt.FillOpacity(**_number("opacity"), scale=None),
        *_says(None),
    )
    middles = [row | {"x": (row["x"] + row["x2"]) / 2, "y": (row["y"] + row["y2"]) / 2} for row in rows if row["text"]]
    texts = alt.Chart(alt.InlineData(values=middles)).mark_text(baseline="middle")
    colour = alt.Fill(field="ink", type="nominal", scale=None)
    place = alt.X(**_number("x"), **x), alt.Y(**_number("y"), **y)
    return [boxes, texts.encode(*place, colour, alt.Text(field="text", type="nominal"))]
