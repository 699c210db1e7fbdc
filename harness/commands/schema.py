"""Print the JSON Schema of a command's JSON output, to validate it or to generate types from.

For example:
  assay schema gate > gate.schema.json
"""

from __future__ import annotations

import argparse
import sys
from importlib import resources

COMMANDS = ("gate", "score", "compare", "leaderboard")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", choices=COMMANDS, help="the command whose output it describes")


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    path = resources.files("harness.commands").joinpath("schemas", f"{arguments.name}.json")
    sys.stdout.write(path.read_text(encoding="utf-8"))
    return 0
