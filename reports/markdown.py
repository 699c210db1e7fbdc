"""A report's summary as Markdown, for a pull request: the verdict, its tables, the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable

from reports.blocks import Block, Cell, Report, Statement, Table
from reports.escaping import markdown

_MOST_ROWS = 40
_MARKS = {"pass": "PASS", "fail": "FAIL", "undecided": "UNDECIDED", "invalid": "NOT VALID", "info": ""}


def to_markdown(report: Report) -> str:
    """Write the summary: every statement, and the tables marked for it.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    str
        GitHub-flavoured Markdown; every text in it is escaped.
    """
    lines = [f"## {markdown(report.title)}", "", markdown(report.subtitle), ""]
    for section in report.sections:
        found = block_lines(section.blocks)
        if found:
            lines += [f"### {markdown(section.title)}", "", *found]
    return "\n".join([*lines, f"Made by {markdown(report.made_by)}."]).strip() + "\n"


def block_lines(blocks: Iterable[Block]) -> list[str]:
    """Write the statements among blocks, and the tables marked for a summary, line by line."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Statement):
            lines += _statement(block)
        elif isinstance(block, Table) and block.summary:
            lines += _table(block)
    return lines


def _statement(statement: Statement) -> list[str]:
    mark = _MARKS[statement.tone]
    head = f"**{mark + ': ' if mark else ''}{markdown(statement.head)}**"
    text = f" {markdown(statement.text)}" if statement.text else ""
    return [head + text, "", *(f"- {markdown(item)}" for item in statement.items), *([""] if statement.items else [])]


def _table(table: Table) -> list[str]:
    headers = [markdown(name) for name, _ in table.headers]
    rule = ["---:" if numeric else "---" for _, numeric in table.headers]
    lines = [markdown(table.caption) + ":", "", f"| {' | '.join(headers)} |", f"| {' | '.join(rule)} |"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows[:_MOST_ROWS]]
    if len(table.rows) > _MOST_ROWS:
        lines += ["", f"{len(table.rows) - _MOST_ROWS} more rows are in the report."]
    return [*lines, ""]


def _cell(cell: Cell) -> str:
    small = f" ({markdown(cell.small)})" if cell.small else ""
    return (markdown(cell.text) or " ") + small
