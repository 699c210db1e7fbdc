"""Charts as files: PNG and SVG, and the numbers behind each as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import vl_convert

from harness.errors import StoreError
from harness.store.jsonl import write_atomically
from harness.text_safety import one_line
from reports.blocks import Figure, Report
from reports.charts import data_table
from reports.drawing import WIDE, draw
from reports.escaping import spreadsheet

_PIXELS = 2.0  # of a PNG, by one of the SVG


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
    StoreError
        The folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in report.figures:
            written += _write(figure, report.slots, folder)
            drawn()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}", "a directory that can be written") from error
    return written


def _write(figure: Figure, slots: Mapping[str, int], folder: Path) -> list[Path]:
    png, svg, table = (folder / f"{figure.name}.{ending}" for ending in ("png", "svg", "csv"))
    drawing = draw(figure.chart, WIDE, slots, alone=True)
    png.write_bytes(vl_convert.svg_to_png(drawing, scale=_PIXELS))
    write_atomically(svg, drawing)
    write_atomically(table, _csv(figure))
    return [png, svg, table]


def _csv(figure: Figure) -> str:
    header, rows = data_table(figure.chart)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([spreadsheet(one_line(name)) for name in header])
    for row in rows:
        writer.writerow([spreadsheet(one_line(v)) if isinstance(v, str) else "" if v is None else v for v in row])
    return stream.getvalue()
