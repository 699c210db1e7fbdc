"""The errors assay raises. Each states what was found, what is allowed and what to do.

::

    AssayError                      exit status 1
    ├── UsageError                  exit status 2
    │   ├── SpecError               a field of a run spec, recipe or policy is wrong
    │   └── UnknownNameError        no such benchmark, judge, engine, metric, file
    ├── DataError                   an input file
    │   ├── FileFormatError         has a malformed line or wrong column (with file and line number)
    │   ├── MissingDataError        is missing (with how to get it)
    │   └── ChecksumError           differs from the pinned file
    ├── PluginError                 a plug-in does not implement its protocol, or fails
    ├── ModelError                  a checkpoint cannot be used
    │   └── NoChatTemplateError
    ├── EndpointError               an HTTP endpoint is unavailable; the run can be resumed
    │   └── AuthenticationError
    ├── StoreError                  a run directory
    │   ├── RunConflictError        holds a run of another spec
    │   ├── RunLockedError          is locked by another process
    │   └── StorageFullError        is on a full disk; nothing already written is lost
    ├── StatisticsError             a figure cannot be computed from the given data
    └── CostLimitReached            the run reached --max-cost; it can be resumed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class AssayError(Exception):
    """An error that stops a command; its message is written for the user.

    Parameters
    ----------
    found : str
        What was found.
    allowed : str, optional
        What was expected.
    remedy : str, optional
        What to do.
    """

    exit_status = 1

    def __init__(self, found: str, allowed: str = "", remedy: str = "") -> None:
        self.found = found
        self.allowed = allowed
        self.remedy = remedy
        super().__init__(found, allowed, remedy)

    def __str__(self) -> str:
        lines = [self.found]
        if self.allowed:
            lines.append(f"  expected: {self.allowed}")
        if self.remedy:
            lines.append(f"  to do:    {self.remedy}")
        return "\n".join(lines)


class UsageError(AssayError):
    """The command line or the Python call is wrong."""

    exit_status = 2


class SpecError(UsageError):
    """A field of a spec, recipe or policy is missing, unknown or out of range."""


class UnknownNameError(UsageError):
    """A name that is not registered. The message lists the demo's benchmarks after all others.

    Parameters
    ----------
    kind : str
        What was looked up ("benchmark", "engine", ...).
    name : str
        The name that was given.
    known : iterable of str
        The registered names.
    remedy : str, optional
        What to do if no registered name is close.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        names = sorted(known, key=lambda known_name: (known_name.startswith("demo_"), known_name))
        close = nearest(name, names)
        hint = f"did you mean {close}?" if close else remedy
        super().__init__(f"unknown {kind} {name!r}", "one of " + ", ".join(names), hint)
        self.name = name


class PluginError(AssayError):
    """A plug-in cannot be used.

    Parameters
    ----------
    kind, name : str
        The plug-in.
    found : str
        What is wrong with it.
    allowed, remedy : str, optional
        As in :class:`AssayError`; a reference to the documentation is added to the remedy.
    """

    def __init__(self, kind: str, name: str, found: str, allowed: str = "", remedy: str = "") -> None:
        article = "an" if kind[0] in "aeiou" else "a"
        guide = f'see docs/extending.md, "{article.capitalize()} {kind}"'
        super().__init__(f"the {kind} {name!r}: {found}", allowed, f"{remedy}; {guide}" if remedy else guide)


class DataError(AssayError):
    """An input file cannot be used."""


class FileFormatError(DataError):
    """The content of a file does not match its format.

    Parameters
    ----------
    path : Path or str
        The file.
    line : int or None
        The 1-based line number; None if the file as a whole is wrong.
    found : str
        What the file holds.
    allowed, remedy : str, optional
        As in :class:`AssayError`.
    """

    def __init__(self, path: Path | str, line: int | None, found: str, allowed: str = "", remedy: str = "") -> None:
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {found}", allowed, remedy)
        self.path = Path(path)
        self.line = line


class MissingDataError(DataError):
    """A required file is missing."""


class ChecksumError(DataError):
    """A file differs from the pinned one; it is not used."""


class ModelError(AssayError):
    """A checkpoint cannot be loaded or used."""


class NoChatTemplateError(ModelError):
    """A checkpoint's tokenizer has no chat template."""


class EndpointError(AssayError):
    """An HTTP endpoint is down, overloaded, or gives malformed answers."""


class AuthenticationError(EndpointError):
    """An HTTP endpoint rejects the key."""


class StoreError(AssayError):
    """A run directory cannot be used."""


class RunConflictError(StoreError):
    """A run directory holds a run of another spec."""


class RunLockedError(StoreError):
    """Another process is writing to the run directory."""


class StorageFullError(StoreError):
    """The disk is full."""


class StatisticsError(AssayError):
    """A figure cannot be computed from the given data (too few items, no variance, wrong scale)."""


class CostLimitReached(AssayError):  # noqa: N818 - the user set the limit: not an error
    """The run stopped at ``--max-cost``; `assay resume` continues it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name closest to a misspelt one.

    Parameters
    ----------
    name : str
        The misspelt name.
    known : iterable of str
        The known names.

    Returns
    -------
    str
        The closest name, or "" if none is close.
    """
    candidates = sorted(known)
    folded = {c.lower().replace("-", "_"): c for c in candidates}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def line_of(error: BaseException, index: int = 0) -> str:
    """Return the kind of a library's error and one line of its text, the first (0) or the last (-1)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[index]}" if lines else type(error).__name__
