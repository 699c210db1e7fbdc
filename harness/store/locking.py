"""One process at a time in a directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from harness.closing import Closing
from harness.errors import RunLockedError, StoreError


class DirectoryLock(Closing):
    """The lock on a directory, which is created; held until it is closed.

    Parameters
    ----------
    directory : Path
        What is locked.
    doing : str
        What its holder does, for the message of whoever comes second ("writing to").

    Raises
    ------
    RunLockedError
        Another process holds it.
    StoreError
        The directory cannot be created or written.
    """

    def __init__(self, directory: Path, doing: str) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write to {directory}: {error.strerror}",
                "a directory that can be written",
                "choose another --out",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RunLockedError(
                f"another process is {doing} {directory}", remedy="wait for it, or choose another --out"
            ) from None

    def close(self) -> None:
        """Let the next one in; closing twice is harmless."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
