"""Output of the commands: tables or JSON on stdout."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.store import DataStore
from harness.errors import UsageError
from harness.run.score import RunScores
from harness.settings import Settings
from harness.text_safety import one_line

if TYPE_CHECKING:
    from reports.blocks import Block

NOT_VALID = 5
"""Exit status of ``--strict`` for a run that is not valid."""


def data_store(data_dir: Path | None) -> DataStore:
    """Return the data store of the settings, or of a mirror given on the command line."""
    return DataStore.of_settings(Settings.from_env(), data_dir)


def settle_garbage() -> None:
    """Exempt imported objects from garbage collection, which costs a busy event loop a few per cent."""
    gc.collect()
    gc.freeze()


def plain(text: str) -> str:
    """Make text safe for a terminal: one line without escape sequences, control and direction characters."""
    return one_line(text)


def refuse(*checks: tuple[object, str, str]) -> None:
    """Refuse the first thing that is wrong; a check is whether it is, what was found and what is allowed."""
    for wrong, found, allowed in checks:
        if wrong:
            raise UsageError(found, allowed)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(columns: list[str], rows: list[list[str]], title: str = "", note: str = "") -> None:
    """Print a table on stdout; columns from the third on hold numbers, unless their name says otherwise."""
    from reports.blocks import Cell, Note, Table
    from reports.terminal import print_blocks

    words = ("not scored", "method")
    headers = [name if place < 2 or name in words else f"{name}#" for place, name in enumerate(columns)]
    table = Table(title, headers, [[Cell(cell) for cell in row] for row in rows])
    print_blocks([table, *map(Note, note.splitlines())])


def print_run(
    scores: RunScores,
    *,
    as_json: bool,
    strict: bool = False,
    blocks: Iterable[Block] = (),
    more: Mapping[str, Any] | None = None,
) -> int:
    """Print whether a run is valid, its problems and remarks, its figures, and what failed.

    `blocks` come after them, and `more` with `as_json`.

    Returns
    -------
    int
        The exit status: 0, 1 if nothing was scored, 5 if `strict` and the run is not valid.
    """
    from reports.sections.verdict import run_blocks
    from reports.terminal import print_blocks

    if as_json:
        print_json({**scores.as_json(), **(more or {})})
    else:
        print_blocks([*run_blocks(scores), *blocks])
    if scores.nothing_scored:
        sys.stderr.write(f"nothing was scored in {plain(scores.run)}\n")
        return 1
    return NOT_VALID if strict and not scores.valid else 0
