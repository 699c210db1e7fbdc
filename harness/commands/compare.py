"""Compare two runs on the items scored in both.

The difference A minus B of every shared metric is paired by prompt, with its interval, p-value (also Holm-
adjusted over all metrics) and the number of prompts needed to detect it.

For example:
  assay compare runs/dpo-2 runs/dpo-1
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("first", type=Path, metavar="DIR_A", help="a run directory")
    add("second", type=Path, metavar="DIR_B", help="another run directory")
    add("--level", type=float, default=0.95, help="coverage of the intervals (0.95)")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add("--json", action="store_true", help="print the comparison as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Compare two runs; return the exit status."""
    from harness.commands.output import data_store, print_json
    from harness.run.compare import compare_runs
    from reports.blocks import Note, Statement
    from reports.sections.verdict import difference_table, said_blocks
    from reports.terminal import print_blocks

    comparison = compare_runs(arguments.first, arguments.second, data_store(arguments.data_dir), arguments.level)
    if arguments.json:
        print_json(comparison.as_json())
        return 0
    runs = (comparison.first, comparison.second)
    invalid = [Statement("invalid", f"{run.model} is NOT VALID", items=run.problems) for run in runs if run.problems]
    table = difference_table(comparison, *(f"{run.model} ({run.run})" for run in runs))
    drifts = [Note(drift.message) for drift in comparison.drifts]
    print_blocks([*invalid, table, *said_blocks(comparison), *drifts])
    return 0
