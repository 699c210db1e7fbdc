"""A report's blocks as text for a terminal; charts are left out."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from harness.text_safety import one_line
from reports.blocks import Block, Cell, Note, Statement, Table

_WIDTH = 200
"""Columns where stdout is no terminal: wide enough that no table folds."""


def print_blocks(blocks: Iterable[Block]) -> None:
    """Print statements, tables and notes on stdout.

    Escape sequences and control characters are removed: names and reasons come from files.
    """
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for block in blocks:
        match block:
            case Statement():
                _print_statement(console, block)
            case Table():
                _print_table(console, block)
            case Note():
                console.print(_safe(block.text) + "\n", soft_wrap=True)


def _safe(text: str) -> str:
    return escape(one_line(text))


def _print_statement(console: Console, statement: Statement) -> None:
    lines = [statement.head]
    lines += [f"  {'! ' if statement.tone == 'invalid' else ''}{statement.text}"] if statement.text else []
    lines += [f"  {item}" if item.startswith("! ") else f"  - {item}" for item in statement.items]
    console.print("\n".join(_safe(line) for line in lines) + "\n", soft_wrap=True)


def _print_table(console: Console, table: Table) -> None:
    """Print a table; the reasons for missing figures are numbered and follow below it."""
    reasons: dict[str, int] = {}
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, is_numeric in table.headers:
        drawn.add_column(_safe(name), justify="right" if is_numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(_cell(cell, reasons) for cell in row))
    if table.caption:
        console.print(f"[bold]{_safe(table.caption)}[/bold]", soft_wrap=True)
    console.print(drawn)
    for reason, number in reasons.items():
        console.print(f"\\[{number}] {_safe(reason)}", soft_wrap=True)
    if reasons:
        console.print()


def _cell(cell: Cell, reasons: dict[str, int]) -> str:
    if not cell.small:
        return _safe(cell.text)
    if cell.tone == "muted":
        return f"{_safe(cell.text)} \\[{reasons.setdefault(cell.small, len(reasons) + 1)}]"
    return f"{_safe(cell.text)} ({_safe(cell.small)})"
