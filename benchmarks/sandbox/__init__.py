"""A sandbox for code that a model wrote.

See `docs/design/030-sandbox.md` for what it keeps apart, and from what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.sandbox.availability import available
from benchmarks.sandbox.host import execute, execute_many
from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import NotAvailable, Outcome, Program, SandboxKind, Status

__all__ = [
    "Limits",
    "NotAvailable",
    "Outcome",
    "Program",
    "SandboxKind",
    "Status",
    "available",
    "run_many",
    "run_program",
]

_REMEDY = "install bubblewrap (Debian: apt-get install bubblewrap), or give --allow-unsandboxed-code"


def run_program(
    program: Program | str,
    limits: Limits | None = None,
    *,
    kind: SandboxKind | None = None,
    allow_unsandboxed: bool = False,
) -> Outcome:
    """Run one program nobody trusts.

    Parameters
    ----------
    program : Program or str
        A string is a program without a test.
    limits : Limits, optional
    kind : SandboxKind, optional
        How to confine it; by default the best that works here.
    allow_unsandboxed : bool
        Where no sandbox can be had, run it all the same, with limits alone.

    Returns
    -------
    Outcome
        Status "sandbox_error" and the reason where no sandbox can be had.
    """
    limits = limits or Limits()
    program = Program(program) if isinstance(program, str) else program
    confined = kind or _kind(allow_unsandboxed)
    if isinstance(confined, NotAvailable):
        return _not_run(confined)
    return execute(program, limits, confined)


def run_many(
    programs: Iterable[Program],
    workers: int,
    limits: Limits | None = None,
    *,
    kind: SandboxKind | None = None,
    allow_unsandboxed: bool = False,
) -> Iterator[tuple[int, Outcome]]:
    """Run many programs, several at once, each in a sandbox of its own.

    Parameters
    ----------
    programs : iterable of Program
    workers : int
        How many run at once.
    limits, kind, allow_unsandboxed
        As for `run_program`.

    Yields
    ------
    number, outcome : int, Outcome
        The place of the program in `programs`, and what came of it, as they complete.
    """
    confined = kind or _kind(allow_unsandboxed)
    if isinstance(confined, NotAvailable):
        yield from ((number, _not_run(confined)) for number, _ in enumerate(programs))
    else:
        yield from execute_many(programs, limits or Limits(), confined, workers)


def _kind(allow_unsandboxed: bool) -> SandboxKind | NotAvailable:
    found = available()
    if isinstance(found, NotAvailable) and allow_unsandboxed:
        return SandboxKind("none")
    return found


def _not_run(why: NotAvailable) -> Outcome:
    return Outcome("sandbox_error", f"no sandbox for model-written code ({why.reason}); {_REMEDY}")
