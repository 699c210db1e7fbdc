"""What all charts are drawn with: the space of a chart, text at places in pixels, marks that say and link something.

Widths and places of text are computed here rather than by Vega, which would measure every label several times (most of
the time of a drawing). Names are data of text marks: no name is ever part of an expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import altair as alt

from harness.text_safety import one_line, visible
from reports.charts import RefLine, SampleFilter, number
from reports.palette import LIGHT, SERIES, SHAPES

CHARACTER, LINE = 7.3, 18.0
"""Width, about, of a character and height of a line of 13 pixels."""

NEUTRAL = 6
"""The place of grey in the palette, for what is no model."""

Align = Literal["left", "center", "right"]
Slots = Mapping[str, int]
"""Colours of models by name, as places in the palette."""

Legend = Sequence[tuple[str, str, str]]
"""Name, shape and colour of each series."""

_COLOUR = alt.Color(field="colour", type="nominal", scale=None)
_SHAPE = alt.Shape(field="shape", type="nominal", scale=None)


def quantity(name: str, **options: Any) -> dict[str, Any]:
    """Options of a channel that shows a number; in pixels where no scale is given."""
    return {"field": name, "type": "quantitative"} | (options or {"scale": None, "axis": None})


@dataclass
class Plot:
    """The layers of a chart, the size of the space they are drawn in, and the room around it for text."""

    width: float
    height: float
    left: float = 12.0
    right: float = 14.0
    top: float = 10.0
    bottom: float = 26.0
    layers: list[alt.Chart] = field(default_factory=list)
    texts: dict[tuple[Align, int], list[dict[str, Any]]] = field(default_factory=dict)
    signs: list[dict[str, Any]] = field(default_factory=list)

    def write(
        self, text: str, x: float, y: float, colour: str = LIGHT["soft"], align: Align = "left", angle: int = 0
    ) -> None:
        """Write a text at a place given in pixels."""
        self.texts.setdefault((align, angle), []).append({"x": x, "y": y, "text": plain(text), "colour": colour})

    def legend(self, names: Legend) -> None:
        """Name the series above everything, several a line where they fit."""
        room, x, lines = self.left + self.width + self.right - 12, 0.0, 0
        placed = []
        for name, shape, colour in names:
            shown = fitting(name, room - 24)
            own = len(shown) * CHARACTER + 34
            if x and x + own > room:
                x, lines = 0.0, lines + 1
            placed.append((shown, shape, colour, x, lines))
            x += own
        for shown, shape, colour, start, line in placed:
            place = {"x": start + 12 - self.left, "y": -self.top - 6 - LINE * (lines - line)}
            self.signs.append(place | {"shape": shape, "colour": colour})
            self.write(shown, place["x"] + 10, place["y"], LIGHT["ink"])
        self.top += LINE * (lines + 1) + 4

    def drawn(self, **frame: Any) -> alt.LayerChart | alt.FacetChart:
        """All layers, the texts on top."""
        place = alt.X(**quantity("x")), alt.Y(**quantity("y"))
        layers = list(self.layers)
        if self.signs:
            signs = alt.Chart(alt.InlineData(values=self.signs)).mark_point(filled=True, size=60, opacity=1.0)
            layers.append(signs.encode(*place, _COLOUR, _SHAPE))
        for (align, angle), rows in self.texts.items():
            texts = alt.Chart(alt.InlineData(values=rows)).mark_text(align=align, angle=angle, baseline="middle")
            layers.append(texts.encode(*place, _COLOUR, alt.Text(field="text", type="nominal")))
        return alt.layer(*layers, width=self.width, height=self.height, **frame)


def axis(plot: Plot, domain: tuple[float, float], title: str, **options: Any) -> dict[str, Any]:
    """The x channel's scale and axis; makes room for the title."""
    shown = fitting(title, plot.width) or None
    plot.bottom += LINE if shown else 0.0
    scale = alt.Scale(domain=list(domain), nice=False, zero=False, clamp=True)
    return {"scale": scale, "axis": alt.Axis(title=shown, tickCount=plot.width // 60, **options)}


def reference_lines(
    lines: Sequence[RefLine], channel: type[alt.X | alt.Y], options: Mapping[str, Any]
) -> list[alt.Chart]:
    """A layer of dashed lines across the plot."""
    data = alt.InlineData(values=[{"at": line.value} for line in lines])
    rule = alt.Chart(data).mark_rule(stroke=LIGHT["soft"], strokeDash=[4, 3])
    return [rule.encode(channel(**quantity("at", **options)))] if lines else []


def points(rows: Sequence[dict[str, Any]], x: alt.X, y: alt.Y, bars: Sequence[Any]) -> list[alt.Chart]:
    """Layers of points with their intervals; each says what it is, and links to its samples where it has any."""
    layers = []
    if limited := [row for row in rows if "low" in row]:
        layers.append(alt.Chart(alt.InlineData(values=limited)).mark_rule(strokeWidth=2).encode(*bars, _COLOUR))
    says = alt.Description(field="says", type="nominal")
    for links in ([], [alt.Href(field="href", type="nominal")]):
        if own := [row for row in rows if ("href" in row) is bool(links)]:
            marks = alt.Chart(alt.InlineData(values=own)).mark_point(filled=True, size=65, opacity=1.0, aria=True)
            layers.append(marks.encode(x, y, _COLOUR, _SHAPE, says, *links))
    return layers


def said(
    text: str, low: float | None, high: float | None, samples: SampleFilter | None, note: str = ""
) -> dict[str, Any]:
    """What a point says and links to, and its limits."""
    row: dict[str, Any] = {} if low is None or high is None else {"low": low, "high": high}
    limits = "" if low is None or high is None else f" ({number(low)} to {number(high)})"
    row["says"] = plain(text + limits + (f", {note}" if note else ""), 400)
    return row | ({"href": samples.href} if samples else {})


def plain(text: str, most: int = 200) -> str:
    """One line of text with an ellipsis in the middle where it is too long: names differ at either end."""
    shown = one_line(visible(text))
    if len(shown) <= most:
        return shown
    head = most // 2
    return shown[:head] + "…" + shown[len(shown) - (most - 1 - head) :]


def fitting(text: str, width: float) -> str:
    """A text shortened to a width in pixels."""
    return plain(text, max(int(width / CHARACTER), 4))


def wide(texts: Sequence[str]) -> float:
    """Pixels the longest text takes."""
    return max((len(text) for text in texts), default=0) * CHARACTER


def share_of(value: float, domain: tuple[float, float]) -> float:
    """Where on an axis a value lies, from 0 to 1."""
    return min(max((value - domain[0]) / (domain[1] - domain[0]), 0.0), 1.0)


def colour_of(slot: int) -> str:
    """The colour of a place in the palette."""
    return SERIES[slot % len(SERIES)]


def shape_of(slot: int) -> str:
    """The shape of points of a place in the palette."""
    return SHAPES[0 if slot == NEUTRAL else slot % len(SHAPES)]


def colours_of(names: Sequence[str], slots: Slots) -> dict[str, int]:
    """The place of each name in the palette: a model's own, or the next that no model of the chart has."""
    chosen = {name: slots[name] for name in names if name in slots}
    free = (slot for slot in range(len(names) + len(SERIES)) if slot not in chosen.values())
    return {name: chosen[name] if name in chosen else next(free) for name in dict.fromkeys(names)}
