"""Append-only JSON lines: written lines survive a kill, and a torn last line does not corrupt the next one."""

from __future__ import annotations

import errno
import gzip
import json
import lzma
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.closing import Closing
from harness.errors import FileFormatError, MissingDataError, StorageFullError, StoreError

RecordType = TypeVar("RecordType", bound=BaseModel)
FSYNC_INTERVAL_S = 1.0  # a killed process loses nothing; a power failure at most this much


class JsonlAppender(Closing):
    """Append lines to a file of which this process is the only writer.

    A line is written by one system call. On opening, a last line without its newline is completed if it is a valid
    JSON object (no proper prefix of an object is one) and removed otherwise.

    Parameters
    ----------
    path : Path
        The file; created where missing.

    Raises
    ------
    StorageFullError
        The disk is full; the file ends with the last complete line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._synced_at = time.monotonic()
        self._dirty = False
        self._repair_tail()

    def _repair_tail(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size == 0:
            return
        keep = _end_of_last_line(self._descriptor, size)
        if keep == size:
            return
        tail = os.pread(self._descriptor, size - keep, keep)
        if _is_json_object(tail):
            self._write(b"\n")
        else:
            os.ftruncate(self._descriptor, keep)

    def append(self, line: str) -> None:
        """Write one line; `line` has no newline of its own."""
        self._write(line.encode("utf-8") + b"\n")
        if time.monotonic() - self._synced_at > FSYNC_INTERVAL_S:
            self.sync()

    def _write(self, data: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        self._dirty = True
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            if written:
                os.ftruncate(self._descriptor, before)
            raise _storage_error(self.path, error) from error

    def sync(self) -> None:
        """Flush to the disk itself."""
        if self._dirty:
            os.fsync(self._descriptor)
            self._dirty = False
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Flush and close; closing twice is harmless."""
        if self._descriptor < 0:
            return
        try:
            self.sync()
        except OSError as error:
            raise _storage_error(self.path, error) from error
        finally:
            os.close(self._descriptor)
            self._descriptor = -1


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Find the offset just after the last newline (0 where there is none)."""
    block = 1 << 16
    end = size
    while end > 0:
        start = max(0, end - block)
        position = os.pread(descriptor, end - start, start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0


def _is_json_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def _storage_error(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFullError(
            f"no room to write {path}: {error.strerror}",
            remedy="free some space, then resume with `assay resume`; everything written so far is kept",
        )
    return StoreError(f"cannot write {path}: {error.strerror}", remedy="check the directory and its permissions")


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Replace a file atomically by a new version: one text, or pieces of it."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.writelines([text] if isinstance(text, str) else text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _storage_error(path, error) from error


def read_jsonl(path: Path, *, allow_torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON objects line by line, from a plain, .gz or .xz file.

    Parameters
    ----------
    path : Path
        The file. Blank lines are skipped.
    allow_torn_tail : bool
        Ignore a last line that has no newline and is no JSON object (a run that is being written).

    Yields
    ------
    (int, dict)
        1-based line number and object.

    Raises
    ------
    MissingDataError
        There is no such file.
    FileFormatError
        A line is not a JSON object, or the file is not UTF-8.
    """
    for number, value, _ in read_jsonl_places(path, allow_torn_tail=allow_torn_tail):
        yield number, value


def read_jsonl_places(path: Path, *, allow_torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Read JSON objects with the byte offset each line begins at; otherwise as :func:`read_jsonl`."""
    offset = 0
    with opened(path) as stream:
        for number, raw in enumerate(stream, start=1):
            begin, offset = offset, offset + len(raw)
            if not raw.strip():
                continue
            try:
                value = json.loads(raw)
            except UnicodeDecodeError as error:
                raise not_utf8(path, error, number) from error
            except ValueError as error:
                if allow_torn_tail and not raw.endswith(b"\n"):
                    return
                raise FileFormatError(
                    path, number, f"not valid JSON ({error})", "one JSON object per line", _line_remedy(raw)
                ) from error
            if not isinstance(value, dict):
                raise FileFormatError(path, number, f"a JSON {type(value).__name__}", "a JSON object")
            yield number, well_formed(value) if b"\\ud" in raw.lower() else value, begin


def well_formed(value: Any) -> Any:
    """Replace lone surrogates, which JSON's escapes allow and UTF-8 does not, by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {well_formed(name): well_formed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [well_formed(part) for part in value]
    return value


def not_utf8(path: Path, error: UnicodeDecodeError, line: int | None = None) -> FileFormatError:
    """Make the error about a file of another encoding."""
    return FileFormatError(
        path,
        line,
        f"not UTF-8 ({error.reason} at byte {error.start})",
        "UTF-8 text",
        f"convert it, for example: iconv -f LATIN1 -t UTF-8 {path.name}",
    )


def _line_remedy(raw: bytes) -> str:
    text = raw[:60].decode("utf-8", "replace").strip()
    return f"the line starts {text!r}; repair or remove it"


def read_text(path: Path) -> str:
    """Read a whole plain, .gz or .xz text file as UTF-8; errors as in :func:`read_jsonl`."""
    with opened(path) as stream:
        content = stream.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error


def read_json(path: Path) -> Any:
    """Read a whole JSON file; errors as in :func:`read_jsonl`."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FileFormatError(path, error.lineno, f"not valid JSON ({error.msg})", "one JSON document") from error


def write_json(path: Path, value: Any, *, allow_nan: bool = True) -> None:
    """Write a JSON file, indented for readers; errors as in :func:`write_atomically`."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n")


def as_record(kind: type[RecordType], path: Path, number: int | None, value: Any, allowed: str = "") -> RecordType:
    """Make a line (or a whole file) a record of a kind; a FileFormatError says which field is wrong."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        allowed = allowed or f"a {kind.__name__} as assay writes it"
        raise FileFormatError(path, number, f"{where}: {first['msg']}", allowed, "restore the file") from error


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain, .gz or .xz file; a failure while it is read becomes an error that names it."""
    opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, Path.open)
    try:
        with opener(path, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise MissingDataError(f"no such file: {path}", remedy="check the path") from None
    except IsADirectoryError:
        raise MissingDataError(f"{path} is a directory", "a file") from None
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise FileFormatError(path, None, f"cannot be decompressed ({error})", "a whole .gz or .xz file") from error
    except OSError as error:
        raise MissingDataError(f"cannot read {path}: {error.strerror or error}") from error
