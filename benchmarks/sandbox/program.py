"""A program to run, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["NotAvailable", "Outcome", "Program", "SandboxKind", "Status"]

Status = Literal["passed", "failed", "timeout", "killed", "sandbox_error"]


@dataclass(frozen=True, slots=True)
class Program:
    """Code nobody trusts, and the test it has to pass.

    Parameters
    ----------
    source : str
        The program. It runs first, in a process of its own, with an empty namespace.
    test : str
        What decides. It runs in another process; ends without an exception, and the program has passed. With an
        empty test a program passes that runs to its end, which only the program itself can say: for code that may
        want to cheat, put what decides into the test.
    names : tuple of str
        What the test takes from the program; there these names stand for the program's objects. Empty: every name
        that neither the test nor Python defines.
    given : str
        Code the test may rely on, run before it in its process; `names` that it defines are replaced by the
        program's.
    """

    source: str
    test: str = ""
    names: tuple[str, ...] = ()
    given: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one program.

    Parameters
    ----------
    status : {"passed", "failed", "timeout", "killed", "sandbox_error"}
        "passed": the test ran to its end. "failed": the program or its test raised, or the program ended early.
        "timeout": more than `Limits.wall_s`. "killed": ended by a signal or for too much output.
        "sandbox_error": the program has not been measured, and `reason` says why; never the program's doing as long
        as the kernel holds.
    reason : str
        What happened, in words; "" where passed.
    exit_status : int or None
        Of the program's process, a signal as its negative; 0 where it passed, None where it was still alive.
    stdout, stderr : str
        The beginning of what it wrote.
    seconds : float
        From the program's start to the verdict.
    """

    status: Status
    reason: str = ""
    exit_status: int | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the test ran to its end."""
        return self.status == "passed"

    @property
    def measured(self) -> bool:
        """Whether there is a verdict at all."""
        return self.status != "sandbox_error"


@dataclass(frozen=True, slots=True)
class SandboxKind:
    """A way to confine programs.

    Parameters
    ----------
    name : {"bubblewrap", "namespaces", "none"}
        What builds the walls; "none" is limits only.
    user_namespace : bool
        Whether they stand in a user namespace (no privilege needed), else they are built by the superuser and
        programs run as users that own nothing.
    nested : bool
        Whether one sandbox serves many programs, each in inner namespaces of its own; else every program has the
        whole of it built anew, which takes longer.
    """

    name: Literal["bubblewrap", "namespaces", "none"]
    user_namespace: bool = False
    nested: bool = True

    def __str__(self) -> str:
        remarks = ["user namespace"] * self.user_namespace + ["one per program"] * (not self.nested)
        return f"{self.name} ({', '.join(remarks)})" if remarks else self.name


@dataclass(frozen=True, slots=True)
class NotAvailable:
    """No sandbox can be had here.

    Parameters
    ----------
    reason : str
        What was tried and how it failed.
    """

    reason: str
