"""`assay export`: a run in other tools' formats."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]

_FORMATS = {
    "parquet": "every record, one Parquet file a kind, into the directory --out",
    "inspect": "Inspect's .eval logs, one a benchmark, into the directory --out (needs inspect-ai)",
    "lm_eval": "results_*.json and samples_*.jsonl as lm-eval writes them, into the directory --out",
    "model_card": "a model card's evaluation section: --out README.md is made, or only its section replaced",
}
_EPILOG = """\
examples:
  assay export runs/dpo-2 --format parquet --out exports/dpo-2
  assay export runs/dpo-2 --format model_card --out checkpoint/README.md
"""


def add_parser(subparsers: Any) -> None:
    """Add the command's arguments."""
    listed = "; ".join(f"{name}: {text}" for name, text in _FORMATS.items())
    parser = subparsers.add_parser(
        "export",
        help="a run as Parquet, Inspect log, lm-eval results or model card",
        description=f"Write a run in another tool's format. {listed}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="run directories; several for a model card")
    parser.add_argument("--format", required=True, choices=list(_FORMATS), help="which")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="directory, or the card's file")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import sys

    from harness.commands.output import data_store, plain
    from harness.errors import StoreError, UsageError
    from harness.run.score import stored_or_scored
    from harness.store.run_directory import RunDirectory

    if len(arguments.runs) > 1 and arguments.format != "model_card":
        raise UsageError(f"{len(arguments.runs)} runs for {arguments.format}", "one run at a time")
    data = data_store(arguments.data_dir)
    directories = [RunDirectory(path) for path in arguments.runs]
    scores = [stored_or_scored(directory, data) for directory in directories]
    try:
        match arguments.format:
            case "parquet":
                from reports.exports.parquet import write_parquet

                written = write_parquet(directories[0], scores[0], arguments.out)
            case "inspect":
                from reports.exports.inspect_log import write_inspect_logs

                written = write_inspect_logs(directories[0], scores[0], arguments.out)
            case "lm_eval":
                from reports.exports.lm_eval_results import write_lm_eval_results

                written = write_lm_eval_results(directories[0], scores[0], arguments.out)
            case _:
                from reports.exports.model_card import write_model_card

                written = [write_model_card(scores, arguments.out)]
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
