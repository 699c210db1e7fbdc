"""Recompute every figure from stored answers and verdicts, without engine or judge.

For example:
  assay score runs/checkpoint --json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.commands.run import add_output_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("out", type=Path, metavar="DIR", help="the run directory")
    add("--benchmark", metavar="B", help="score only this benchmark")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_run
    from harness.run.score import rescore

    scores = rescore(arguments.out, data_store(arguments.data_dir), only=arguments.benchmark)
    return print_run(scores, as_json=arguments.json, strict=arguments.strict)
