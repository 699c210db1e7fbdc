"""Rows of other tools' files: JSON lines or one JSON list, with file and place in every complaint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import FileFormatError
from harness.store.jsonl import read_text


class Row:
    """One row of a file.

    Parameters
    ----------
    path : Path
        The file.
    line : int
        Its line, or its place in the list; from 1.
    values : mapping
        What it holds.
    """

    def __init__(self, path: Path, line: int, values: Mapping[str, Any]) -> None:
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

    def number(self, name: str) -> float | None:
        """Return a number, or None for what is missing, null or NaN."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{name} is {value!r:.80}", "a number")
        if math.isinf(value):
            raise self.error(f"{name} is infinite", "a finite number")
        return None if math.isnan(value) else float(value)

    def identifier(self, *names: str) -> str:
        """Return the first of several fields that may hold the id."""
        for name in names:
            if name in self.values:
                return str(self.get(name, (str, int), f"{name} as text or number"))
        raise self.error("no question id", " or ".join(names))

    def error(self, found: str, expected: str = "", remedy: str = "") -> FileFormatError:
        """Make an error that names this row."""
        return FileFormatError(self.path, self.line, found, expected, remedy)


def each_row(path: Path) -> Iterator[Row]:
    """Read the rows of a file of JSON objects, one a line or in one list; plain, .gz or .xz.

    Raises
    ------
    MissingDataError, FileFormatError
        As :func:`harness.store.jsonl.read_text`; or the file holds something else than JSON objects.
    """
    text = read_text(path)
    is_escaped = "\\ud" in text or "\\uD" in text
    for number, value in _list(path, text) if text.lstrip().startswith("[") else _lines(path, text):
        if not isinstance(value, Mapping):
            raise FileFormatError(path, number, f"{type(value).__name__} instead of a record", "a JSON object")
        yield Row(path, number, _well_formed(value) if is_escaped else value)


def _list(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(json.loads(text), 1)
    except json.JSONDecodeError as error:
        raise FileFormatError(path, error.lineno, f"not valid JSON ({error.msg})", "a list of JSON objects") from error


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise FileFormatError(
                    path,
                    number,
                    f"not valid JSON ({error.msg})",
                    "one JSON object a line, or one list of them",
                    f"the line starts {line[:60].strip()!r}; repair or remove it",
                ) from error


def _well_formed(value: Any) -> Any:
    """Replace lone surrogates, which JSON's escapes allow and UTF-8 does not, by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_well_formed(name): _well_formed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_well_formed(part) for part in value]
    return value


def read_rows(path: Path) -> list[Row]:
    """Read a file that must hold rows; errors as in :func:`each_row`, or the file is empty."""
    rows = list(each_row(path))
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
            where = f"(first on line {found[key].line})"
            raise row.error(f"{what} {key!r:.80} is there twice {where}", f"each {what} once", "remove one of them")
        found[key] = row
    return found


def refuse_unknown(path: Path, what: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a file about other questions.

    Raises
    ------
    FileFormatError
        The file names questions that are not in the question set.
    """
    there, allowed = list(keys), set(known)
    unknown = [key for key in there if key not in allowed]
    if unknown:
        raise FileFormatError(
            path,
            None,
            f"{len(unknown)} of {len(there)} {what} are about questions that are not in the question set, "
            f"for example {unknown[0]!r:.80}",
            "the same question set throughout",
            "give the questions these files were made from",
        )
