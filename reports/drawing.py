"""Charts as Vega-Lite specifications, drawn by vl-convert: one for the page's pictures and the files of `--figures`."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

from reports.charts import Chart, Heatmap, IntervalChart, Panels, XYChart
from reports.palette import LIGHT
from reports.plot import Plot, Slots, plain
from reports.plot_cells import plot_cells
from reports.plot_curves import plot_curves
from reports.plot_intervals import plot_intervals

NARROW, WIDE = 352, 720
"""Widths, in pixels, of a chart on a phone or in a row of several, and of one that has a row for itself."""

_FONT = 13
_MOST_COLUMNS = 3


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


def _layered(plot: Plot, chart: Chart, titled: bool) -> alt.LayerChart | alt.FacetChart:
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
        padding={"left": left, "right": right, "top": top + 36, "bottom": bottom + 4},
    )


def _title(text: str, left: float, size: int = 15) -> alt.TitleParams:
    return alt.TitleParams(plain(text, 90 if size == 15 else 44), offset=8, dx=4 - left, fontSize=size)


def _plot(chart: XYChart | IntervalChart | Heatmap, width: int, slots: Slots) -> Plot:
    match chart:
        case XYChart():
            return plot_curves(chart, width, slots)
        case IntervalChart():
            return plot_intervals(chart, width, slots)
        case Heatmap():
            return plot_cells(chart, width)
