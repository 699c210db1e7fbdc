"""Reading fields out of other tools' rows, with file and line in every complaint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import FileFormatError
from harness.store.jsonl import read_json, read_jsonl

__all__ = ["Row", "read_rows", "refuse_strangers", "unique_by"]


class Row:
    """One row of a file.

    Parameters
    ----------
    path : Path
        The file.
    line : int or None
        Its line.
    values : mapping
        What it holds.
    """

    def __init__(self, path: Path, line: int | None, values: Mapping[str, Any]) -> None:
        self.path = path
        self.line = line
        self.values = values

    def get(self, name: str, kind: type | tuple[type, ...], expected: str) -> Any:
        """Return a field.

        Raises
        ------
        FileFormatError
            There is no such field, or it is of another type.
        """
        if name not in self.values:
            there = ", ".join(sorted(map(str, self.values))[:12])
            raise self.error(f"no field {name!r} (fields: {there})", expected)
        value = self.values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"field {name!r} is {value!r:.80}", expected)
        return value

    def text(self, name: str) -> str:
        """Return a field that is text."""
        return str(self.get(name, str, f"{name} as text"))

    def identifier(self, *names: str) -> str:
        """Return the first of several fields that may hold the id."""
        for name in names:
            if name in self.values:
                return str(self.get(name, (str, int), f"{name} as text or number"))
        raise self.error("no question id", " or ".join(names))

    def error(self, found: str, expected: str = "", remedy: str = "") -> FileFormatError:
        """Make an error that names this row."""
        return FileFormatError(self.path, self.line, found, expected, remedy)


def read_rows(path: Path) -> list[Row]:
    """Read JSON lines, or one JSON list of objects, plain, .gz or .xz.

    Raises
    ------
    MissingDataError, FileFormatError
        As :func:`harness.store.jsonl.read_jsonl`; or the file is empty.
    """
    stem = path.name.removesuffix(".gz").removesuffix(".xz")
    if stem.endswith(".json"):
        value = read_json(path)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise FileFormatError(path, None, "not a list of JSON objects", "a list of objects, or JSON lines (.jsonl)")
        rows = [Row(path, None, item) for item in value]
    else:
        rows = [Row(path, number, value) for number, value in read_jsonl(path)]
    if not rows:
        raise FileFormatError(path, None, "the file is empty", "at least one row")
    return rows


def unique_by(rows: Iterable[Row], what: str, keys: Iterable[str]) -> dict[str, Row]:
    """Index rows by key.

    Raises
    ------
    FileFormatError
        A key is there twice.
    """
    found: dict[str, Row] = {}
    for row, key in zip(rows, keys, strict=True):
        if key in found:
            first = found[key].line
            where = f" (first on line {first})" if first else ""
            raise row.error(f"{what} {key!r:.80} is there twice{where}", f"each {what} once", "remove one of them")
        found[key] = row
    return found


def refuse_strangers(path: Path, what: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a file about other questions.

    Raises
    ------
    FileFormatError
        The file names questions that are not in the question set.
    """
    there, allowed = list(keys), set(known)
    strangers = [key for key in there if key not in allowed]
    if strangers:
        raise FileFormatError(
            path,
            None,
            f"{len(strangers)} of {len(there)} {what} are about questions that are not in the question set, "
            f"for example {strangers[0]!r:.80}",
            "the same question set throughout",
            "give the questions these files were made from",
        )
