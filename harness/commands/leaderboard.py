"""`assay leaderboard`: one row a model, one column a metric."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "leaderboard",
        help="one row a model, one column a metric",
        description="Put runs side by side: value, interval, rank and the range of ranks it takes when the prompts are "
        "drawn again, n, and what was not scored.",
        epilog="examples:\n  assay leaderboard runs/*\n  assay leaderboard runs/* --published --format latex",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="run directories")
    parser.add_argument("--published", action="store_true", help="add AlpacaEval 2's published rows")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="BENCHMARK:METRIC",
        help="a column (repeat for more) in place of the headlines",
    )
    parser.add_argument("--format", choices=("table", "md", "csv", "latex", "html", "json"), default="table")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from harness.commands.output import data_store, print_table
    from harness.run.compare import judge_ids, metric_unit_values, with_panels
    from harness.run.score import stored_or_scored
    from harness.store.run_directory import RunDirectory
    from reports import leaderboard, tables

    data = data_store(arguments.data_dir)
    directories = [RunDirectory(path) for path in arguments.runs]
    board = leaderboard.build_leaderboard(
        with_panels([stored_or_scored(directory, data) for directory in directories]),
        [judge_ids(directory) for directory in directories],
        metric_unit_values,
        arguments.metric,
        leaderboard.published_alpaca_eval() if arguments.published else (),
    )
    if arguments.format != "table":
        sys.stdout.write(tables.FORMATS[arguments.format](board))
        return 0
    header, rows = tables.cells(board)
    problems = [f"! {row.model} is NOT VALID: {problem}" for row in board.rows for problem in row.problems]
    print_table(header, rows, note="\n".join(problems))
    return 0
