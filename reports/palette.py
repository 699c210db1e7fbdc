"""The colours of charts, named after the page's CSS custom properties; the page has a value of each for both themes.

The hues of series are Okabe and Ito's (2008), darkened on white and lightened on black so that each has a contrast of
at least 3:1 with the page behind it.
"""

from __future__ import annotations

import re
from importlib.resources import files

_NAMES = ("page", "ink", "soft", "line", "raised", "above", "below", *(f"c{i}" for i in range(8)))
_CSS = (files("reports") / "templates" / "page.css").read_text(encoding="utf-8")
_ROOT = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", _CSS.partition("}")[0]))
LIGHT: dict[str, str] = {name: _ROOT[name] for name in _NAMES}
"""Values in the light theme and in files; no two are equal, so that a drawing's colours can be told apart."""

SERIES = tuple(LIGHT[f"c{i}"] for i in range(8))

SHAPES = ("circle", "square", "triangle-up", "diamond")
"""Shapes of the points of the first, second, ... series, so that series differ without colour."""

DASHES = ((1, 0), (6, 3), (2, 3), (8, 3, 2, 3))


def dash(slot: int) -> tuple[int, ...]:
    """Stroke pattern of a series; another one each time the colours repeat."""
    return DASHES[(slot // len(SERIES)) % len(DASHES)]
