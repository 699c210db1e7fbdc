"""List, fetch and verify the upstream files of benchmarks.

They are questions, reference answers, judge prompts and baselines. assay does not contain them. They are fetched
once into a cache, or read from a mirror (ASSAY_DATA, --data-dir) without network access. Their checksums are
verified each time they are used.

For example:
  assay data list
  assay data pull mt_bench arena_hard@v2.0
  assay data pull --to /shared/assay-data        # a mirror for machines without a network
  assay data verify --data-dir /shared/assay-data

NAME is a file (mt_bench/questions) or a benchmark (mt_bench); the default is all files.
exit status: 0 success; 1 a file is missing, damaged or cannot be fetched; 2 wrong usage
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.data.catalog import DataFile
    from harness.data.store import DataStore, FileCheck

_ACTIONS = {
    "list": "list the files with their licences, and whether they are present",
    "pull": "fetch files, replacing damaged copies",
    "verify": "verify the checksums of local copies, without a network",
}

_PIN_WORDS = {"sha256": "sha256", "git_blob": "git blob", None: "no"}

_UNPINNED_NOTE = (
    "pinned no: the official tool uses the hub's main branch, which may change; run.json records the sha256 of the "
    "copy used\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="list|pull|verify", required=True)
    for action, text in _ACTIONS.items():
        sub = actions.add_parser(
            action, help=text, description=text, epilog=parser.epilog, formatter_class=parser.formatter_class
        )
        sub.add_argument("names", nargs="*", metavar="NAME", help="a file or a benchmark (default: all)")
        sub.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
        if action == "pull":
            sub.add_argument(
                "--to", type=Path, metavar="DIR", help="copy the files to a mirror, which is created if missing"
            )
        sub.add_argument("--json", action="store_true", help="print JSON on stdout, everything else on stderr")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store

    store = data_store(arguments.data_dir)
    if arguments.action == "list":
        return _list(store, arguments)
    if arguments.action == "verify":
        checks = store.verify(arguments.names)
    elif arguments.to is not None:
        checks = store.export(arguments.names, arguments.to)
    else:
        checks = store.pull(arguments.names)
    return _report(store, checks, as_json=arguments.json)


def _list(store: DataStore, arguments: argparse.Namespace) -> int:
    from harness.data.catalog import select
    from harness.data.store import CATALOGUE

    rows = [_describe(store, file) for file in select(arguments.names, store.catalog)]
    if arguments.json:
        _write_json(store, {"files": rows})
        return 0
    cells = []
    for row in rows:
        pinned = _PIN_WORDS[row["pinned"]] if row["pinned_by"] in (None, CATALOGUE) else "by mirror"
        origin = (row["licence"], row["repository"], row["commit"][:7])
        cells.append([row["name"], _size(row["size"]), *origin, pinned, "yes" if row["present"] else "no"])
    _write_table(["name", "size", "licence", "repository", "commit", "pinned", "present"], cells)
    if any(row["pinned"] is None for row in rows):
        sys.stdout.write("\n" + _UNPINNED_NOTE)
    return 0


def _describe(store: DataStore, file: DataFile) -> dict[str, Any]:
    pin, path = store.pin(file), store.locate(file)
    fields = ("name", "benchmark", "what", "size", "licence", "host", "repository", "commit", "url")
    described = {name: getattr(file, name) for name in fields}
    if file.size is None and path is not None:
        described["size"] = path.stat().st_size
    return described | {
        "pinned": pin.kind if pin else None,
        "pinned_by": pin.source if pin else None,
        "digest": pin.digest if pin else None,
        "present": path is not None,
        "path": str(path) if path else None,
    }


def _report(store: DataStore, checks: list[FileCheck], *, as_json: bool) -> int:
    faults = [check for check in checks if not check.usable]
    if as_json:
        _write_json(store, {"ok": not faults, "files": [_check_fields(check) for check in checks]})
    else:
        rows = [[check.name, check.state, str(check.path or "-")] for check in checks]
        _write_table(["name", "state", "path"], rows)
    for check in faults:
        sys.stderr.write(f"\n{check.state}: {check.message}\n")
    if faults:
        sys.stderr.write(
            f"\n{len(faults)} of {len(checks)} files cannot be used: {', '.join(c.name for c in faults)}\n"
        )
    return 1 if faults else 0


def _check_fields(check: FileCheck) -> dict[str, Any]:
    path = str(check.path) if check.path else None
    return {"name": check.name, "state": check.state, "path": path, "sha256": check.sha256, "message": check.message}


def _write_json(store: DataStore, value: dict[str, Any]) -> None:
    from harness.commands.output import print_json

    where = {"data_dir": str(store.data_dir) if store.data_dir else None, "cache_dir": str(store.cache_dir)}
    print_json(where | value)


def _write_table(columns: list[str], rows: list[list[str]]) -> None:
    """Write a table without wrapping or truncation, so that names and paths can be copied."""
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    for row in [columns, *rows]:
        cells = [
            cell.rjust(width) if column == "size" else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "?"
    return f"{n_bytes / 1000:,.1f} kB" if n_bytes < 1_000_000 else f"{n_bytes / 1_000_000:,.1f} MB"
