"""Compare several runs in a table.

It has value, interval, rank and its range over resampled prompts, n, and unscored items.

For example:
  assay leaderboard runs/*
  assay leaderboard runs/* --published --format latex
  assay leaderboard runs/* --pairwise          # ratings from every judged pair
  assay leaderboard runs/* --against arena.csv # agreement with another ranking
  assay leaderboard runs/* --published --bridge bridge.json # old figures on a new judge's scale
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports import tables
    from reports.leaderboard import Leaderboard
    from reports.reference_ranking import Reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="DIR", help="run directories")
    add("--published", action="store_true", help="add AlpacaEval 2's published rows")
    add(
        "--metric",
        action="append",
        metavar="BENCHMARK:METRIC",
        help="a column (repeatable), replacing the headline metrics",
    )
    add(
        "--pairwise",
        action="store_true",
        help="Bradley-Terry ratings of all models, baselines included, from every judged pair of answers",
    )
    add(
        "--against",
        metavar="FILE|lmarena",
        help="separability, agreement, rank correlations and Brier score against another ranking "
        "(CSV or JSON with model and score)",
    )
    add(
        "--bridge",
        type=Path,
        metavar="FILE",
        help="convert figures of an old judge to a new one's scale, with a bridge that assay rebase --out wrote",
    )
    add("--format", choices=("table", "md", "csv", "latex", "html", "json"), default="table")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import print_table
    from reports import tables

    board = _board(arguments)
    if arguments.format != "table":
        sys.stdout.write(tables.FORMATS[arguments.format](board))
        return 0
    table = board.table()
    print_table(table.header, table.rows, note="\n".join(table.notes))
    return 0


def _board(arguments: argparse.Namespace) -> tables.Board:
    from harness.commands.output import data_store
    from harness.run.bridge_file import read_bridge
    from harness.run.comparability import differing_runs
    from harness.run.compare import metric_unit_values, with_panels
    from harness.run.judged_by import judged_by
    from harness.run.score import stored_or_scored
    from harness.run.stored_run import StoredRun
    from harness.store.run_directory import RunDirectory
    from reports import leaderboard, pairwise, reference_ranking
    from reports.bridged import with_bridge

    _refuse_conflicts(arguments)
    data = data_store(arguments.data_dir)
    reference = reference_ranking.read_reference(arguments.against, data) if arguments.against else None
    directories = [RunDirectory(path) for path in arguments.runs]
    runs = [stored_or_scored(directory, data) for directory in directories]
    if arguments.pairwise:
        return pairwise.build_pairwise(runs, directories)
    published = leaderboard.published_alpaca_eval() if arguments.published else ()
    convert = partial(with_bridge, file=read_bridge(arguments.bridge)) if arguments.bridge else None
    judges = [judged_by(directory) for directory in directories]
    board = leaderboard.build_leaderboard(
        with_panels(runs), judges, metric_unit_values, arguments.metric, published, convert
    )
    stored = {run.model: StoredRun(directory) for run, directory in zip(runs, directories, strict=True)}
    board = replace(board, differing=differing_runs(stored))
    return board if reference is None else _against(board, reference)


def _against(board: Leaderboard, reference: Reference) -> tables.Board:
    from harness.commands.output import refuse
    from reports.reference_ranking import against

    refuse((board.n_scales > 1, "figures by different judges with --against", "the runs of one judge, or a --bridge"))
    return against(board, reference)


def _refuse_conflicts(arguments: argparse.Namespace) -> None:
    """Refuse options that do not apply to the ratings of --pairwise."""
    from harness.errors import UsageError

    others = [name for name in ("against", "bridge", "metric", "published") if getattr(arguments, name)]
    if arguments.pairwise and others:
        raise UsageError(f"--pairwise with --{' and --'.join(others)}", "--pairwise alone", "print two tables")
