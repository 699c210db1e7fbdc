"""Resume a run from its run.json; failed answers and unscored verdicts are retried.

For example:
  assay resume runs/checkpoint --max-cost 40
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.commands.run import add_run_options, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", type=Path, metavar="DIR", help="the run directory")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import print_run, settle_garbage
    from harness.run.runner import resume

    settle_garbage()
    return print_run(resume(run_options(arguments)), as_json=arguments.json, strict=arguments.strict)
