"""The colours of charts, named after the page's CSS custom properties; the page has a value of each for both themes.

The hues of series are Okabe and Ito's (2008), darkened on white and lightened on black so that each has a contrast of
at least 3:1 with the page behind it.
"""

from __future__ import annotations

LIGHT = {
    "page": "#ffffff",
    "ink": "#1c2024",
    "soft": "#5c6670",
    "line": "#dfe4e8",
    "raised": "#f6f8fa",
    "c0": "#0072b2",
    "c1": "#c04f00",
    "c2": "#00795a",
    "c3": "#a8558a",
    "c4": "#8a6d00",
    "c5": "#2b7fb0",
    "c6": "#666666",
    "c7": "#7a3db8",
    "above": "#08306b",
    "below": "#7f2704",
}
"""Values in the light theme and in files; no two are equal, so that a drawing's colours can be told apart."""

SERIES = tuple(LIGHT[f"c{i}"] for i in range(8))

SHAPES = ("circle", "square", "triangle-up", "diamond")
"""Shapes of the points of the first, second, ... series, so that series differ without colour."""

DASHES = ((1, 0), (6, 3), (2, 3), (8, 3, 2, 3))


def dash(slot: int) -> tuple[int, ...]:
    """Stroke pattern of a series; another one each time the colours repeat."""
    return DASHES[(slot // len(SERIES)) % len(DASHES)]
