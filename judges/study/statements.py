"""What the files of a study state, row by row, read by the importers that know the formats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness import registry
from harness.data.file_rows import Row, each_row
from harness.data.votes import AnswerTexts, Grade, QuestionTexts, StatedPreference, Statement
from harness.errors import FileFormatError, MissingDataError
from harness.protocols import VoteImporter
from harness.store.jsonl import opened

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".json.xz", ".jsonl.xz")
_KINDS = {
    StatedPreference: "a preference between two answers",
    Grade: "a grade of one answer",
    AnswerTexts: "a model's answers",
    QuestionTexts: "a question",
}


def files_of(path: Path) -> list[Path]:
    """The file, or the JSON and JSON-lines files of a folder.

    Raises
    ------
    MissingDataError
        A folder without any.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
    if not files:
        raise MissingDataError(
            f"{path} holds neither a run (run.json) nor .json or .jsonl files", "a run directory or judgment files"
        )
    return files


def content_hash_of(path: Path) -> str:
    """The hash of a file's content, unpacked, so that a copy is known under another name.

    Raises
    ------
    MissingDataError
        No such file.
    """
    with opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary stream


def each_statement(path: Path) -> Iterator[tuple[Row, Statement]]:
    """Read a file of votes, verdicts or texts.

    Raises
    ------
    MissingDataError, FileFormatError
        No such file; a row that no importer knows, or with a wrong field.
    """
    importers = (registry.make("importer", name) for name in registry.names("importer"))
    readers = [importer for importer in importers if isinstance(importer, VoteImporter)]
    for row in each_row(path):
        for stated in _read(row, readers):
            yield row, stated


def _read(row: Row, readers: Iterable[VoteImporter]) -> Sequence[Statement]:
    for reader in readers:
        try:
            found = reader.statements(row)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
            raise row.error(f"a field is missing or of the wrong kind ({type(error).__name__}: {error})") from error
        if found is not None:
            return found
    there = ", ".join(sorted(row.values)[:8]) or "nothing"
    known = "; ".join(fields for reader in readers for fields in reader.fields)
    raise row.error(f"no format has the fields {there}", known)


def unexpected(row: Row, stated: Statement, expected: str) -> FileFormatError:
    """Make an error of a row that states something else than is read here."""
    return row.error(_KINDS[type(stated)], expected)
