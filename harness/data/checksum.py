"""Checksums of files, and lists of expected checksums."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.data.catalog import DataFile
from harness.errors import ChecksumError, DataError, FileFormatError
from harness.hashing import file_sha256
from harness.store.jsonl import read_text

SUMS_NAME = "SHA256SUMS"
"""The list a mirror may have at its root, as `sha256sum` writes it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The expected hash of a file.

    Parameters
    ----------
    kind : {"sha256", "git_blob"}
        The hash function.
    digest : str
        The expected value, in hex digits.
    source : str
        Where the value comes from.
    """

    kind: Literal["sha256", "git_blob"]
    digest: str
    source: str

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.digest} ({self.source})"


def git_blob_id(path: Path) -> str:
    """Compute the id git gives a file's content: the SHA-1 of "blob", its size, a zero byte and the bytes."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def check(file: DataFile, path: Path, pin: Pin | None, remedy: str) -> str:
    """Hash a file and compare it with its pin.

    Parameters
    ----------
    file : DataFile
        The file it should be.
    path : Path
        Its location.
    pin : Pin or None
        Its expected hash; None if unknown.
    remedy : str
        What to do if it differs.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    ChecksumError
        The hash differs.
    DataError
        It cannot be read.
    """
    try:
        sha256 = file_sha256(path)
        actual = git_blob_id(path) if pin is not None and pin.kind == "git_blob" else sha256
    except OSError as error:
        raise DataError(
            f"{file.name}: cannot read {path}: {error.strerror or error}", remedy="check its permissions"
        ) from error
    if pin is not None and actual != pin.digest:
        raise ChecksumError(
            f"{file.name}: {path} does not have the pinned checksum and is not used; its "
            f"{pin.kind.replace('_', ' ')} is {actual}",
            str(pin),
            remedy,
        )
    return sha256


def read_sums(path: Path) -> dict[str, str]:
    """Read a list of checksums.

    Parameters
    ----------
    path : Path
        Lines ``HEX  PATH`` as `sha256sum` writes them; the list need not exist.

    Returns
    -------
    dict of str to str
        SHA-256 by path; empty where there is no list.

    Raises
    ------
    FileFormatError
        A line has another form.
    """
    if not path.is_file():
        return {}
    sums = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if match is None:
            raise FileFormatError(
                path, number, f"{line[:60]!r}", "64 hex digits, two spaces and a path", "make it again with sha256sum"
            )
        sums[match[2].removeprefix("./")] = match[1].lower()
    return sums
