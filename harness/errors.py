"""The errors assay raises, each with what was found, what is allowed and what to do.

::

    AssayError                      exit status 1
    ├── UsageError                  exit status 2
    │   ├── SpecError               a field of a run spec, recipe or policy is wrong
    │   └── UnknownNameError        no such benchmark, judge, engine, metric, file
    ├── DataError                   a file that is read
    │   ├── FileFormatError         malformed line or wrong column, with file and line number
    │   ├── MissingDataError        not there, and what would bring it
    │   └── ChecksumError           there, but not the file that was pinned
    ├── PluginError                 a plug-in lacks what its kind must offer, or fails
    ├── ModelError                  a checkpoint cannot be used
    │   └── NoChatTemplateError
    ├── EndpointError               an HTTP endpoint cannot be used; the run can be resumed
    │   └── AuthenticationError
    ├── StoreError                  a run directory
    │   ├── RunConflictError        holds a run of another spec
    │   ├── RunLockedError          another process writes to it
    │   └── StorageFullError        no room to write; nothing already written is lost
    ├── StatisticsError             a figure that cannot be computed from what was given
    └── CostLimitReached            --max-cost; the run can be resumed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "AssayError",
    "AuthenticationError",
    "ChecksumError",
    "CostLimitReached",
    "DataError",
    "EndpointError",
    "FileFormatError",
    "MissingDataError",
    "ModelError",
    "NoChatTemplateError",
    "PluginError",
    "RunConflictError",
    "RunLockedError",
    "SpecError",
    "StatisticsError",
    "StorageFullError",
    "StoreError",
    "UnknownNameError",
    "UsageError",
    "nearest",
]


class AssayError(Exception):
    """Something assay cannot go on from; the message is for the person at the keyboard.

    Parameters
    ----------
    found : str
        What was got.
    allowed : str, optional
        What would have been right.
    remedy : str, optional
        What to do about it.
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
    """A name that is not registered. The message lists benchmarks of the demo after all others.

    Parameters
    ----------
    kind : str
        What the name should have named ("benchmark", "engine", ...).
    name : str
        The name that was given.
    known : iterable of str
        The names that exist.
    remedy : str, optional
        What to do, where it is more than choosing another name.
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
        Which plug-in.
    found : str
        What is wrong with it.
    allowed, remedy : str, optional
        As in :class:`AssayError`; the remedy names the documentation where none is given.
    """

    def __init__(self, kind: str, name: str, found: str, allowed: str = "", remedy: str = "") -> None:
        article = "an" if kind[0] in "aeiou" else "a"
        guide = f'see docs/extending.md, "{article.capitalize()} {kind}"'
        super().__init__(f"the {kind} {name!r}: {found}", allowed, f"{remedy}; {guide}" if remedy else guide)


class DataError(AssayError):
    """A file cannot be read as what it should be."""


class FileFormatError(DataError):
    """A file holds something other than its format says.

    Parameters
    ----------
    path : Path or str
        The file.
    line : int or None
        The 1-based line number; None where the file as a whole is wrong.
    found : str
        What is there.
    allowed, remedy : str, optional
        As in :class:`AssayError`.
    """

    def __init__(self, path: Path | str, line: int | None, found: str, allowed: str = "", remedy: str = "") -> None:
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {found}", allowed, remedy)
        self.path = Path(path)
        self.line = line


class MissingDataError(DataError):
    """A file that is needed is not there."""


class ChecksumError(DataError):
    """A file is not the one that was pinned; it is never used."""


class ModelError(AssayError):
    """A checkpoint cannot be loaded or used."""


class NoChatTemplateError(ModelError):
    """A checkpoint's tokenizer has no chat template."""


class EndpointError(AssayError):
    """An HTTP endpoint is down, overloaded or does not answer as it should."""


class AuthenticationError(EndpointError):
    """An HTTP endpoint refuses the key."""


class StoreError(AssayError):
    """A run directory cannot be used."""


class RunConflictError(StoreError):
    """A run directory holds a run of another spec."""


class RunLockedError(StoreError):
    """Another process writes to the run directory."""


class StorageFullError(StoreError):
    """There is no room to write."""


class StatisticsError(AssayError):
    """A figure cannot be computed from what was given (too few items, no variance, wrong scale)."""


class CostLimitReached(AssayError):  # noqa: N818 - a limit that was asked for, not a fault
    """The run stopped at ``--max-cost``; `assay resume` goes on from there."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Name the known name closest to a misspelt one.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What exists.

    Returns
    -------
    str
        The closest name, or "" where none is close.
    """
    candidates = sorted(known)
    folded = {c.lower().replace("-", "_"): c for c in candidates}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else ""
