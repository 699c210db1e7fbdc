"""Write a run in another tool's format.

For example:
  assay export runs/dpo-2 --format parquet --out exports/dpo-2
  assay export runs/dpo-2 --format model_card --out checkpoint/README.md
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.protocols import Exporter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from harness import registry

    formats = registry.names("exporter")
    listed = "; ".join(f"{name}: {registry.load('exporter', name).summary}" for name in formats)
    parser.description = f"Write a run in another tool's format. {listed}."
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="DIR", help="run directories; several for a model card")
    add("--format", required=True, choices=formats, help="which")
    add("--out", type=Path, required=True, metavar="PATH", help="directory, or the card's file")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import sys

    from harness import registry
    from harness.commands.output import data_store, plain
    from harness.errors import StoreError, UsageError
    from harness.run.score import stored_or_scored
    from harness.store.run_directory import RunDirectory

    exporter: Exporter = registry.load("exporter", arguments.format)
    if len(arguments.runs) > 1 and not exporter.several:
        raise UsageError(f"{len(arguments.runs)} runs for {arguments.format}", "one run at a time")
    data = data_store(arguments.data_dir)
    directories = [RunDirectory(path) for path in arguments.runs]
    scores = [stored_or_scored(directory, data) for directory in directories]
    try:
        written = exporter.write(directories, scores, arguments.out)
    except OSError as error:
        raise StoreError(
            f"cannot write {arguments.out}: {error.strerror or error}",
            "a path that can be written",
            "choose another --out",
        ) from error
    for path in written:
        sys.stdout.write(f"{plain(str(path))}\n")
    for found in scores:
        if not found.valid:
            sys.stderr.write(f"note: {plain(found.model)} is not valid: {plain('; '.join(found.problems))}\n")
    return 0
