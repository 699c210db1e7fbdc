"""`assay data`: the upstream files and their checksums."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.data.catalog import DataFile
    from harness.data.store import DataStore, FileCheck

_DESCRIPTION = """\
The upstream files benchmarks are made of: questions, reference answers, judge prompts, baselines.
None of them is part of assay. They are fetched once into a cache, or read from a mirror (ASSAY_DATA,
--data-dir), in which case no network is touched; either way they are checked each time they are used.
"""

_EPILOG = """\
examples:
  assay data list
  assay data pull mt_bench arena_hard@v2.0
  assay data pull --to /shared/assay-data        # a mirror for machines without a network
  assay data verify --data-dir /shared/assay-data

NAME is a file (mt_bench/questions) or a benchmark (mt_bench); without one, all files are meant.
exit status: 0 all well; 1 a file is missing, bad or cannot be fetched, and is named; 2 wrong usage
"""

_ACTIONS = {
    "list": "what there is, under which licence, and whether it is here",
    "pull": "fetch files, replacing copies that are not what they should be",
    "verify": "check the copies that are here, without a network",
}

_PIN_WORDS = {"sha256": "sha256", "git_blob": "git blob", None: "no"}

_UNPINNED_NOTE = (
    "pinned no: the hub's main branch is what the official tool uses, and it may change; the sha256 of the copy that "
    "was used is recorded in run.json\n"
)


def add_parser(subparsers: Any) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "data",
        help="the upstream files: list, pull, verify",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="list|pull|verify", required=True)
    for action, text in _ACTIONS.items():
        sub = actions.add_parser(
            action, help=text, description=text, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.add_argument("names", nargs="*", metavar="NAME", help="a file or a benchmark; all where none is given")
        sub.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
        if action == "pull":
            sub.add_argument("--to", type=Path, metavar="DIR", help="copy the files into a mirror, made where missing")
        sub.add_argument("--json", action="store_true", help="print JSON on stdout, everything else on stderr")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
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
    _write_table(
        ["name", "size", "licence", "repository", "commit", "pinned", "present"],
        [
            [
                row["name"],
                _size(row["size"]),
                row["licence"],
                row["repository"],
                row["commit"][:7],
                _PIN_WORDS[row["pinned"]] if row["pinned_by"] in (None, CATALOGUE) else "by mirror",
                "yes" if row["present"] else "no",
            ]
            for row in rows
        ],
    )
    if any(row["pinned"] is None for row in rows):
        sys.stdout.write("\n" + _UNPINNED_NOTE)
    return 0


def _describe(store: DataStore, file: DataFile) -> dict[str, Any]:
    pin, path = store.pin(file), store.locate(file)
    return {
        "name": file.name,
        "benchmark": file.benchmark,
        "what": file.what,
        "size": file.size if file.size is not None or path is None else path.stat().st_size,
        "licence": file.licence,
        "host": file.host,
        "repository": file.repository,
        "commit": file.commit,
        "url": file.url,
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
    """Write a table that nothing folds or cuts: names and paths are there to be copied."""
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
