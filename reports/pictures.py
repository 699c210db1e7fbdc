"""Charts as files: PNG and SVG drawn by matplotlib, and the numbers behind each as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import MissingDataError, StoreError
from harness.store.jsonl import write_atomically
from harness.text_safety import one_line, visible
from reports.blocks import Figure, Report
from reports.charts import Heatmap, IntervalChart, Panels, Series, XYChart, data_table
from reports.escaping import spreadsheet
from reports.palette import DASHES, SERIES_LIGHT
from reports.svg_heatmap import cell_colour

__all__ = ["require_matplotlib", "write_figures"]

_MARKERS = ("o", "s", "^", "D")
_GREY = "#5c6670"


def require_matplotlib() -> Any:
    """Load matplotlib, drawing to files.

    Raises
    ------
    MissingDataError
        It is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDataError(
            "matplotlib, which draws --figures, is not installed",
            remedy="pip install 'assay[report]'; without --figures the report needs nothing more",
        ) from error
    mpl.use("agg")
    import matplotlib.pyplot as plt

    return plt


def write_figures(report: Report, folder: Path, drawn: Callable[[], None] = lambda: None) -> list[Path]:
    """Write NAME.png, NAME.svg and NAME.csv for every figure.

    Parameters
    ----------
    report : Report
        The report.
    folder : Path
        Where; made where missing, files of the same name are replaced.
    drawn : callable
        Called after each figure.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    MissingDataError
        matplotlib is not installed.
    StoreError
        The folder cannot be written.
    """
    plt = require_matplotlib()
    style = {
        "svg.hashsalt": "assay",
        "svg.fonttype": "none",
        "font.size": 9,
        "font.family": "sans-serif",
        "text.parse_math": False,  # names are other people's text, and a dollar sign in one is a dollar sign
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#b7c0c8",
        "figure.dpi": 150,
    }
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with plt.rc_context(style):
            for figure in report.figures:
                written += _write(plt, figure, folder)
                drawn()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}", "a directory that can be written") from error
    return written


def _write(plt: Any, figure: Figure, folder: Path) -> list[Path]:
    paths = [folder / f"{figure.name}.{ending}" for ending in ("png", "svg", "csv")]
    drawn = _draw(plt, figure)
    try:
        drawn.savefig(paths[0], facecolor="white", metadata={"Software": None})
        drawn.set_layout_engine("none")  # it is laid out; doing it again would take as long as drawing
        drawn.savefig(paths[1], facecolor="white", metadata={"Date": None, "Creator": None})
    finally:
        plt.close(drawn)
    write_atomically(paths[2], _csv(figure))
    return paths


def _csv(figure: Figure) -> str:
    header, rows = data_table(figure.chart)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([spreadsheet(one_line(name)) for name in header])
    for row in rows:
        writer.writerow([spreadsheet(one_line(v)) if isinstance(v, str) else "" if v is None else v for v in row])
    return stream.getvalue()


def _draw(plt: Any, figure: Figure) -> Any:
    chart = figure.chart
    if isinstance(chart, Panels):
        columns = min(3, len(chart.panels))
        lines = -(-len(chart.panels) // columns)
        height = max(_height(panel) for panel in chart.panels)
        drawn, axes = plt.subplots(
            lines, columns, figsize=(3.9 * columns, height * lines), layout="constrained", squeeze=False
        )
        for panel, place in zip(chart.panels, axes.flat, strict=False):
            _on(panel, place, 20)
            place.set_title(_label(panel.title), fontsize=9, loc="left")
        for place in list(axes.flat)[len(chart.panels) :]:
            place.set_visible(False)
        drawn.suptitle(_label(chart.title, 90), x=0.01, ha="left", fontsize=11)
        return drawn
    drawn, place = plt.subplots(figsize=(7.4, _height(chart)), layout="constrained")
    _on(chart, place, 44)
    place.set_title(_label(chart.title, 90), loc="left", fontsize=11)
    return drawn


def _height(chart: XYChart | IntervalChart | Heatmap) -> float:
    if isinstance(chart, IntervalChart):
        n_series = len({m.series for m in chart.marks})
        return 1.3 + len({m.label for m in chart.marks}) * (0.16 + 0.14 * n_series)
    return 1.8 + 0.3 * len(chart.y_names) if isinstance(chart, Heatmap) else 3.6


def _label(text: str, most: int = 44) -> str:
    shown = one_line(visible(text))
    return shown if len(shown) <= most else shown[: most // 2] + "…" + shown[-most // 2 + 1 :]


def _colour(index: int) -> str:
    return SERIES_LIGHT[index % len(SERIES_LIGHT)]


def _on(chart: XYChart | IntervalChart | Heatmap, axes: Any, most: int) -> None:
    """Draw a chart, its labels of at most so many characters."""
    match chart:
        case XYChart():
            _xy(chart, axes, most)
        case IntervalChart():
            _intervals(chart, axes, most)
        case Heatmap():
            _heatmap(chart, axes, most)


def _intervals(chart: IntervalChart, axes: Any, most: int) -> None:
    labels = list(dict.fromkeys(m.label for m in chart.marks))
    series = chart.series
    for mark in chart.marks:
        place = series.index(mark.series)
        y = labels.index(mark.label) + (place - (len(series) - 1) / 2) * 0.26
        if mark.low is not None and mark.high is not None:
            axes.plot([mark.low, mark.high], [y, y], color=_colour(place), lw=2, solid_capstyle="butt")
        axes.plot(mark.value, y, _MARKERS[place % 4], color=_colour(place), ms=5)
    for line in chart.lines:
        axes.axvline(line.value, color=_GREY, ls="--", lw=1)
    axes.set_yticks(range(len(labels)), [_label(label, most) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e8ec", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(_label(chart.x_label, most + 16))
    if chart.x_range:
        axes.set_xlim(*chart.x_range)
    _legend(axes, [(name, _colour(i), "") for i, name in enumerate(series)], most)


def _legend(axes: Any, names: Sequence[tuple[str, str, str]], most: int) -> None:
    from matplotlib.lines import Line2D

    if len(names) < 2:
        return
    handles = [Line2D([], [], color=colour, lw=2, ls=dash or "-") for _, colour, dash in names]
    labels = [_label(name, most) for name, _, _ in names]
    axes.legend(handles, labels, frameon=False, fontsize=8, ncols=min(len(names), 4))


def _xy(chart: XYChart, axes: Any, most: int) -> None:
    order = list(dict.fromkeys(s.name for s in chart.series))
    shown: dict[str, tuple[str, str, str]] = {}
    for series in chart.series:
        slot = series.slot if series.slot is not None else order.index(series.name)
        dash = "-" if not DASHES[(slot // 8) % 4] else "--"
        _series(series, slot, dash, axes)
        if series.name:
            shown.setdefault(series.name, (series.name, _colour(slot), dash))
    for line in chart.lines:
        axes.axhline(line.value, color=_GREY, ls="--", lw=1)
        if line.label:
            axes.annotate(
                _label(line.label), (1, line.value), xycoords=("axes fraction", "data"), ha="right", va="bottom"
            )
    if chart.x_ticks:
        axes.set_xticks([x for x, _ in chart.x_ticks], [_label(name, 16) for _, name in chart.x_ticks])
    if chart.y_range:
        axes.set_ylim(*chart.y_range)
    elif any(s.kind == "step" for s in chart.series):
        axes.set_ylim(bottom=0.0)
    axes.grid(color="#e3e8ec", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(_label(chart.x_label, most + 16))
    axes.set_ylabel(_label(chart.y_label, most + 8))
    _legend(axes, list(shown.values()), most)


def _series(series: Series, slot: int, dash: str, axes: Any) -> None:
    colour = _colour(slot)
    x, y = list(series.x), list(series.y)
    if series.kind == "step":
        axes.stairs(y[:-1], x, color=colour, fill=True, alpha=0.18)
        axes.stairs(y[:-1], x, color=colour, lw=1.5, ls=dash)
        return
    if series.low is not None and series.high is not None:
        if series.kind == "points":
            axes.vlines(x, series.low, series.high, color=colour, lw=1.5)
        else:
            axes.fill_between(x, series.low, series.high, color=colour, alpha=0.15, lw=0)
    if series.kind == "points":
        axes.plot(x, y, _MARKERS[slot % 4], color=colour, ms=4 if len(x) <= 60 else 2, alpha=1 if len(x) <= 60 else 0.4)
    else:
        axes.plot(x, y, color=colour, lw=1.8, ls=dash)


def _heatmap(chart: Heatmap, axes: Any, most: int) -> None:
    from matplotlib.patches import Rectangle

    for i, row in enumerate(chart.values):
        for j, value in enumerate(row):
            if value is None:
                continue
            colour, light = cell_colour(chart, value)
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="white"))
            if len(chart.x_names) <= 14:
                ink = "white" if light else "#1c2024"
                shown = format(value, chart.form)
                axes.text(j + 0.5, i + 0.5, shown, ha="center", va="center", fontsize=8, color=ink)
    axes.set(xlim=(0, len(chart.x_names)), ylim=(len(chart.y_names), 0))
    turned = 40 if max((len(n) for n in chart.x_names), default=0) > 5 else 0
    axes.set_xticks(
        [j + 0.5 for j in range(len(chart.x_names))],
        [_label(n, most // 2 + 4) for n in chart.x_names],
        rotation=turned,
        ha="right" if turned else "center",
    )
    axes.set_yticks([i + 0.5 for i in range(len(chart.y_names))], [_label(n, most // 2 + 4) for n in chart.y_names])
    axes.tick_params(length=0)
    axes.set_xlabel(_label(chart.x_label, most + 16))
    axes.set_ylabel(_label(chart.y_label, most + 8))
    for side in axes.spines.values():
        side.set_visible(False)
