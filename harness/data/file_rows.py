"""Rows of files: JSON lines, a JSON list, CSV or Parquet, with file and place in every complaint."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import FileFormatError, MissingDataError
from harness.store.jsonl import not_utf8, opened, read_json, read_jsonl, well_formed

_LFS = b"version https://git-lfs"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Row:
    """One row of a file.

    Parameters
    ----------
    path : Path
        The file; for a data set of the hub, its name.
    line : int
        Its line, or its place in the list; from 1.
    values : mapping
        What it holds.
    place : str
        Its place in a file without lines: "item 3", "row 17".
    """

    __slots__ = ("line", "path", "place", "values")

    def __init__(self, path: Path, line: int, values: Mapping[str, Any], place: str = "") -> None:
        self.path = path
        self.line = line
        self.values = values
        self.place = place

    @property
    def where(self) -> str:
        """File and place, for messages."""
        return f"{self.path}, {self.place or f'line {self.line}'}"

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
        if self.place:
            return FileFormatError(self.path, None, f"{self.place}: {found}", expected, remedy)
        return FileFormatError(self.path, self.line, found, expected, remedy)


def each_row(path: Path) -> Iterator[Row]:
    """Read the rows of a file: JSON lines, a JSON list, CSV or Parquet; text also as .gz or .xz.

    A JSON document may also be one object, or an object whose only field is the list. CSV has a header line; its values
    are text.

    Raises
    ------
    MissingDataError
        There is no such file, or it is a git-lfs pointer.
    FileFormatError
        The file does not have its format, is not UTF-8, or holds something other than records.
    """
    if path.name.endswith(".parquet"):
        yield from _parquet(path)
        return
    start = _start_of(path)
    if not start:
        return
    if ".csv" in path.suffixes:
        yield from _csv(path)
        return
    document = None if ".jsonl" in path.suffixes and not start.startswith(b"[") else _document(path)
    if document is None:
        for line, values in read_jsonl(path):
            yield Row(path, line, values)
        return
    for number, values in enumerate(document, start=1):
        if not isinstance(values, Mapping):
            raise FileFormatError(path, None, f"item {number} is a JSON {type(values).__name__}", "a JSON object")
        yield Row(path, number, well_formed(values), f"item {number}")


def _start_of(path: Path) -> bytes:
    """Return the beginning of a text file without blanks, refusing pointers and other encodings."""
    with opened(path) as stream:
        start = stream.read(256)
    if start.startswith(_LFS):
        raise MissingDataError(
            f"{path} is a git-lfs pointer, not the file it points at", remedy="fetch the file itself (`git lfs pull`)"
        )
    if start.startswith(_UTF_16) or start[1:2] == b"\0":
        raise FileFormatError(
            path,
            None,
            "not UTF-8 (it looks like UTF-16)",
            "UTF-8 text",
            f"convert it: iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}",
        )
    return start.lstrip()


def _document(path: Path) -> list[Any] | None:
    """Read the rows of a JSON document; None for a file with one object a line, whatever its name."""
    try:
        document = read_json(path)
    except FileFormatError as error:
        if error.line is not None and _first_line_is_object(path):
            return None
        raise
    match document:
        case list():
            return document
        case dict() if len(document) == 1 and isinstance(rows := next(iter(document.values())), list):
            return rows  # {"data": [...]}
        case dict():
            return [document]
        case _:
            raise FileFormatError(path, None, f"a JSON {type(document).__name__}", "a list of objects")


def _first_line_is_object(path: Path) -> bool:
    try:
        return next(read_jsonl(path), None) is not None
    except FileFormatError:
        return False


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with opened(path) as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        try:
            table = csv.DictReader(lines, strict=True)
            for values in table:
                if None in values or None in values.values():
                    n_columns = len(table.fieldnames or ())
                    raise FileFormatError(path, table.line_num, "another number of columns", f"{n_columns} columns")
                yield Row(path, table.line_num, values)
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from error
        except csv.Error as error:
            raise FileFormatError(path, table.line_num, f"not CSV ({error})", "comma-separated values") from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise MissingDataError(f"no such file: {path}", remedy="check the path")
    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(path, number, values, f"row {number}")
    except (pyarrow.ArrowException, OSError) as error:
        raise FileFormatError(path, None, f"cannot be read as Parquet ({error})", "a whole Parquet file") from error


def read_rows(path: Path) -> list[Row]:
    """Read a file that must hold rows; errors as in :func:`each_row`, or the file is empty."""
    rows = list(each_row(path))
    if not rows:
        raise FileFormatError(path, None, "the file is empty", "at least one row")
    return rows


def unique_by(
    rows: Iterable[Row], what: str, keys: Iterable[str], remedy: str = "remove one of them"
) -> dict[str, Row]:
    """Index rows by key; `remedy` is what the error tells to do.

    Raises
    ------
    FileFormatError
        A key is there twice.
    """
    found: dict[str, Row] = {}
    for row, key in zip(rows, keys, strict=True):
        if key in found:
            where = f"(first on {found[key].place or f'line {found[key].line}'})"
            raise row.error(f"{what} {key!r:.80} is there twice {where}", f"each {what} once", remedy)
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
