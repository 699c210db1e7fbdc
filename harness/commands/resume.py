"""`assay resume`: resume a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.commands.run import add_run_options, run_options


def add_parser(subparsers: Any) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "resume",
        help="resume a run",
        description="Resume a run from its run.json; failed answers and unscored verdicts are retried.",
        epilog="example:\n  assay resume runs/checkpoint --max-cost 40",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="DIR", help="the run directory")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add_run_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import print_run, settle_garbage
    from harness.run.runner import resume

    settle_garbage()
    print_run(resume(run_options(arguments)), as_json=arguments.json)
    return 0
