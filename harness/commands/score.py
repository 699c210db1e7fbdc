"""Recompute every figure from stored answers and verdicts, without engine or judge.

For example:
  assay score runs/checkpoint --json
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("out", type=Path, metavar="DIR", help="the run directory")
    add("--benchmark", metavar="B", help="score only this benchmark")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add("--json", action="store_true", help="print the figures as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_run
    from harness.run.score import rescore

    print_run(rescore(arguments.out, data_store(arguments.data_dir), only=arguments.benchmark), as_json=arguments.json)
    return 0
