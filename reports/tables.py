"""Tables in every format the command line prints. Names are other people's text: each format escapes it."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.text_safety import one_line
from reports.escaping import latex, markdown, spreadsheet


@dataclass(frozen=True)
class Table:
    """A table as text, not yet escaped.

    Parameters
    ----------
    header : list of str
        Names of the columns.
    rows : list of list of str
        The cells.
    notes : list of str
        Lines below the table.
    names : list of str
        Names of the columns of which none repeats, for CSV; `header` where not given.
    groups : list of str
        Titles over groups of columns of equal number, the first column apart (LaTeX).
    """

    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


class Board(Protocol):
    """What can be printed in every format."""

    def table(self) -> Table:
        """The table for people."""
        ...

    def as_json(self) -> dict[str, Any]:
        """Plain values for programs."""
        ...


def _markdown(table: Table) -> str:
    """GitHub's pipe table."""
    lines = ["| " + " | ".join(map(markdown, table.header)) + " |"]
    lines += ["|" + " --- |" + " ---: |" * (len(table.header) - 1)]
    lines += ["| " + " | ".join(map(markdown, row)) + " |" for row in table.rows]
    return "\n".join([*lines, "", *(f"- {markdown(note)}" for note in table.notes)]).rstrip() + "\n"


def _csv(table: Table) -> str:
    """Comma-separated, one line a row; cells a spreadsheet would run are quoted with an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.names or table.header)
    writer.writerows([[spreadsheet(cell) for cell in row] for row in table.rows])
    return stream.getvalue()


def _latex(table: Table) -> str:
    """A booktabs table; notes are comments."""
    width = len(table.header) - 1
    notes = [f"% {latex(note)}" for note in table.notes]
    columns, top = "r" * width, []
    if table.groups:
        width //= len(table.groups)
        columns = ("rc" + "r" * (width - 2)) * len(table.groups)
        titles = [rf"\multicolumn{{{width}}}{{c}}{{{latex(title)}}}" for title in table.groups]
        rules = [rf"\cmidrule(lr){{{2 + width * i}-{1 + width * (i + 1)}}}" for i in range(len(table.groups))]
        top = [" & ".join(["", *titles]) + r" \\", " ".join(rules)]
    head = " & ".join("value" if name in table.groups else latex(name) for name in table.header) + r" \\"
    body = [" & ".join(latex(cell) for cell in row) + r" \\" for row in table.rows]
    start = [rf"\begin{{tabular}}{{l{columns}}}", r"\toprule"]
    return "\n".join([*notes, *start, *top, head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _html(table: Table) -> str:
    """A bare table, for pasting into a page."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.header)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    text = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
    return text + (f"<ul>{notes}</ul>\n" if notes else "")


def _of_table(render: Callable[[Table], str]) -> Callable[[Board], str]:
    """Render a board's table, every cell and note on one line without control characters."""

    def rendered(board: Board) -> str:
        table = board.table()
        rows = [[one_line(cell) for cell in row] for row in table.rows]
        notes = [one_line(note) for note in table.notes]
        return render(Table(table.header, rows, notes, table.names, table.groups))

    return rendered


FORMATS: dict[str, Callable[[Board], str]] = {
    "md": _of_table(_markdown),
    "csv": _of_table(_csv),
    "latex": _of_table(_latex),
    "html": _of_table(_html),
    "json": lambda board: json.dumps(board.as_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
}
"""What ``--format`` takes besides "table"."""
