"""The report as one HTML file: no network access, and no script but the one its content security policy names."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from harness.text_safety import visible
from reports.blocks import Block, Cell, Figure, Report, Statement, Table
from reports.charts import Chart, Heatmap, IntervalChart, Panels, data_table, number
from reports.drawing import NARROW, WIDE, draw
from reports.inline_svg import inline_svg
from reports.samples import embedded_json

MOST_DATA_ROWS = 120
"""Rows of the numbers below a figure; `--figures` writes all of them."""

_MOST_COLUMNS, _MOST_ROWS = 5, 6  # of a heat map and of an interval chart that share their row with other charts


def to_html(report: Report) -> str:
    """Make the page.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    str
        A whole HTML document. Every text in it is escaped; scripts and styles are the project's own, allowed by their
        hashes in a Content-Security-Policy that allows nothing else.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters["breakable"] = lambda text: escape(text).replace("_", Markup("_<wbr>"))
    template = environment.from_string(_own("page.html"))
    css, js = _own("page.css"), _own("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; base-uri 'none'; form-action 'none'"
    )
    samples = report.samples
    n_rows = len(samples["rows"]) if samples else 0
    sections = [
        {"name": s.name, "title": visible(s.title), "blocks": _rows(s.blocks, report.slots)} for s in report.sections
    ]
    return template.render(
        report={
            "title": visible(report.title),
            "subtitle": visible(report.subtitle),
            "made_by": visible(report.made_by),
            "sections": sections,
        },
        policy=policy,
        css=Markup(css),
        js=Markup(js),
        samples=Markup(embedded_json(samples)) if n_rows else "",
        samples_note=_samples_note(samples, n_rows),
    )


def _own(name: str) -> str:
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _samples_note(samples: Any, n_rows: int) -> str:
    if not n_rows or samples["n_all"] == n_rows:
        return ""
    return (
        f"{n_rows:,} of {samples['n_all']:,} samples are in this page, taken at even distances; "
        "--max-samples takes more. The figures above are from all of them."
    )


def _rows(blocks: Sequence[Block], slots: Mapping[str, int]) -> list[dict[str, Any]]:
    """Blocks as the template needs them; consecutive charts share a row."""
    rows: list[dict[str, Any]] = []
    for together, group in groupby(blocks, key=_shares_a_row):
        figures = [block for block in group if isinstance(block, Figure)] if together else []
        if together:
            rows.append({"kind": "Row", "figures": [_figure(f, slots, len(figures) == 1) for f in figures]})
        else:
            rows += [_block(block, slots) for block in group]
    return rows


def _shares_a_row(block: Block) -> bool:
    if not isinstance(block, Figure) or (isinstance(block.chart, Panels) and len(block.chart.panels) > 1):
        return False
    if isinstance(block.chart, IntervalChart):
        return len({mark.label for mark in block.chart.marks}) <= _MOST_ROWS
    return not isinstance(block.chart, Heatmap) or len(block.chart.x_names) <= _MOST_COLUMNS


def _block(block: Block, slots: Mapping[str, int]) -> dict[str, Any]:
    """A block as the template needs it; control characters are made visible, the template escapes."""
    match block:
        case Table():
            return {"kind": "Table", **_table(block)}
        case Figure():
            return {"kind": "Row", "figures": [_figure(block, slots, alone=True)]}
        case Statement():
            items = [visible(item) for item in block.items]
            words = {"head": visible(block.head), "text": visible(block.text), "list": items}
            return {"kind": "Statement", "tone": block.tone, **words}
        case _:
            return {"kind": "Note", "text": visible(block.text)}


def _table(table: Table) -> dict[str, Any]:
    return {
        "caption": visible(table.caption),
        "folded": table.folded,
        "headers": [(visible(name), numeric) for name, numeric in table.headers],
        "rows": [[_cell(cell) for cell in row] for row in table.rows],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    long = len(cell.text) + len(cell.small) > 48
    words = {"text": visible(cell.text), "small": visible(cell.small)}
    return {**words, "samples": cell.samples, "tone": cell.tone, "long": long}


def _figure(figure: Figure, slots: Mapping[str, int], alone: bool) -> dict[str, Any]:
    """A figure with its drawings; one that is alone in its row is drawn for a screen and for a phone."""
    chart = figure.chart
    panels: Sequence[Chart] = chart.panels if isinstance(chart, Panels) else [chart]
    title, caption = visible(chart.title), visible(figure.caption)
    if isinstance(chart, Panels) and len(panels) == 1:
        title += f": {visible(panels[0].title)}"

    def drawn(panel: Chart, width: int, name: str, says: str) -> Markup:
        return Markup(inline_svg(draw(panel, width, slots), f"svg-{figure.name}{name}", says, caption))

    several = [
        (visible(panel.title), drawn(panel, NARROW, f"-{i}", f"{title}: {visible(panel.title)}"))
        for i, panel in enumerate(panels if len(panels) > 1 else ())
    ]
    single = len(panels) == 1
    return {
        "name": figure.name,
        "title": title,
        "caption": caption,
        "href": figure.samples.href if figure.samples else "",
        "panels": several,
        "wide": drawn(panels[0], WIDE, "", title) if single and alone else "",
        "narrow": drawn(panels[0], NARROW, "-n", title) if single else "",
        "data": _table(_numbers(figure)),
    }


def _numbers(figure: Figure) -> Table:
    header, rows = data_table(figure.chart)
    more = f" (first {MOST_DATA_ROWS} of {len(rows):,} rows)" if len(rows) > MOST_DATA_ROWS else ""
    shown: Sequence[Sequence[str | float | None]] = rows[:MOST_DATA_ROWS]
    cells = [[Cell("" if v is None else v if isinstance(v, str) else number(v)) for v in row] for row in shown]
    return Table(f"{figure.chart.title}{more}", header, cells)
