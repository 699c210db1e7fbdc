"""Values in a grid, each printed in its cell; the neutral value is the page itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from reports.charts import Heatmap
from reports.palette import LIGHT
from reports.plot import LINE, Plot, fitting, plain, quantity, wide

_TURNED = 110.0  # pixels, at most, of a name that is turned since it is wider than its column
_STRONG = 0.62  # where text in the page's colour is as legible as in the ink's


def plot_cells(chart: Heatmap, width: int) -> Plot:
    """Lay the chart out."""
    left = min(wide(chart.y_names), width * 0.36) + 18
    n_columns = max(len(chart.x_names), 1)
    turned = wide(chart.x_names) + 6 > (width - left - 8) / n_columns
    right = max(wide([fitting(chart.x_names[-1], _TURNED)]) * 0.72 - 10, 8.0) if turned else 8.0
    step = (width - left - right) / n_columns
    row = min(max(step * 0.6, 24.0), 34.0)
    plot = Plot(step * n_columns, row * len(chart.y_names), left=left, right=right, bottom=8.0)
    room = _column_names(plot, chart.x_names, step, turned)
    boxes = []
    for i, (name, values) in enumerate(zip(chart.y_names, chart.values, strict=True)):
        middle = row * (i + 0.5)
        plot.write(fitting(name, left - 14), -8, middle, LIGHT["ink"], "right")
        for j, value in enumerate(values):
            box = {"x": step * j + 1, "x2": step * (j + 1) - 1, "y": row * i + 1, "y2": row * (i + 1) - 1}
            colour, opacity, ink = _shade(chart, value)
            shown = "" if value is None else format(value, chart.form)
            says = plain(f"{name}, {chart.x_names[j]}: {shown or 'nothing'}")
            boxes.append(box | {"colour": colour, "opacity": opacity, "says": says})
            if shown and wide([shown]) - 2 <= step:
                plot.write(shown, step * (j + 0.5), middle, ink, "center")
    plot.layers.append(_boxes(boxes))
    plot.top = room + 4
    if chart.x_label:
        plot.write(fitting(chart.x_label, plot.width), plot.width / 2, plot.height + 16, align="center")
        plot.bottom += LINE
    if chart.y_label:
        plot.write(fitting(chart.y_label, left + plot.width), 4 - left, -room - 10)
        plot.top += LINE
    return plot


def _column_names(plot: Plot, names: Sequence[str], step: float, turned: bool) -> float:
    """Write the names of columns above them; the height they take."""
    shown = [fitting(name, _TURNED) if turned else name for name in names]
    for i, name in enumerate(shown):
        plot.write(name, step * (i + 0.5), -10, align="left" if turned else "center", angle=315 if turned else 0)
    return wide(shown) * 0.72 + 16.0 if turned else 18.0


def _shade(chart: Heatmap, value: float | None) -> tuple[str, float, str]:
    """Colour and opacity of a cell, and the colour of the text in it."""
    if value is None:
        return LIGHT["raised"], 1.0, LIGHT["ink"]
    share = _share(chart, value)
    ink = LIGHT["page" if abs(share) > _STRONG else "ink"]
    return LIGHT["above" if share >= 0 else "below"], round(abs(share), 3), ink


def _share(chart: Heatmap, value: float) -> float:
    """Where a value lies from the neutral one (0) to either end of the scale (-1 and 1)."""
    known = [v for row in chart.values for v in row if v is not None]
    low, high = chart.limits or (min(known), max(known))
    if chart.centre is None:
        return 0.5 if high <= low else min(max((value - low) / (high - low), 0.0), 1.0)
    reach = max(abs(low - chart.centre), abs(high - chart.centre)) or 1.0
    return min(max((value - chart.centre) / reach, -1.0), 1.0)


def _boxes(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    boxes: alt.Chart = (
        alt.Chart(alt.InlineData(values=list(rows)))
        .mark_rect(cornerRadius=2, aria=True)
        .encode(
            alt.X(**quantity("x")),
            alt.X2(field="x2"),
            alt.Y(**quantity("y")),
            alt.Y2(field="y2"),
            alt.Color(field="colour", type="nominal", scale=None),
            alt.FillOpacity(**quantity("opacity", scale=None)),
            alt.Description(field="says", type="nominal"),
        )
    )
    return boxes
