"""One process at a time in a directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from harness.errors import RunLockedError, StoreError


def take_lock(directory: Path, doing: str) -> int:
    """Create a directory if it is missing, and lock it for this process.

    Parameters
    ----------
    directory : Path
        The directory.
    doing : str
        What the holder does with it ("writing to"), for the error message of others.

    Returns
    -------
    int
        A descriptor; closing it, or the end of the process, releases the lock.

    Raises
    ------
    RunLockedError
        Another process holds it.
    StoreError
        It cannot be created or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(
            f"cannot write to {directory}: {error.strerror}", "a directory that can be written", "choose another --out"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RunLockedError(
            f"another process is {doing} {directory}", remedy="wait for it, or choose another --out"
        ) from None
    return lock
