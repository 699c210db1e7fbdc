"""Convert files of other tools to a run directory, and print its figures.

For example:
  assay import alpaca_eval --annotations annotations.json --outputs model_outputs.json --out runs/imported
  assay import mt_bench --questions question.jsonl --judgments gpt-4_single.jsonl --model vicuna-13b --out runs/vicuna
  assay import arena_hard --questions question.jsonl --judgments MODEL.jsonl --out runs/MODEL

`assay import KIND --help` lists the files of a kind; .gz and .xz files are decompressed
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; each kind has its own."""
    from harness import registry

    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, title="kinds")
    for name in registry.names("importer"):
        importer = registry.make("importer", name)
        kind = kinds.add_parser(name, help=(type(importer).__doc__ or "").splitlines()[0])
        importer.add_arguments(kind)
        kind.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new run directory")
        kind.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
        kind.add_argument("--json", action="store_true", help="print the figures as JSON on stdout")
        kind.set_defaults(importer=importer)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_run
    from harness.run.import_results import write_import

    imported = arguments.importer.read(arguments)
    scores = write_import(imported, arguments.out, data_store(arguments.data_dir))
    print_run(scores, as_json=arguments.json)
    return 0
