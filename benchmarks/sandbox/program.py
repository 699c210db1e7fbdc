"""A program to run, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["passed", "failed", "timeout", "killed", "sandbox_error"]


@dataclass(frozen=True, slots=True)
class Program:
    """Untrusted code, and the test it has to pass.

    Parameters
    ----------
    source : str
        The program. It runs first, in a process of its own, with an empty namespace.
    test : str
        Code that decides. It runs in another process; if it ends without an exception, the program has passed. With
        an empty test a program passes by running to its end, which only the program itself can report: for code that
        may cheat, write a test.
    names : tuple of str
        Names the test takes from the program; in the test they refer to the program's objects. Empty: every name that
        neither the test nor Python defines.
    given : str
        Code the test relies on, run before it in the same process; if it defines one of `names`, the program's object
        replaces it.
    """

    source: str
    test: str = ""
    names: tuple[str, ...] = ()
    given: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one program.

    Parameters
    ----------
    status : {"passed", "failed", "timeout", "killed", "sandbox_error"}
        "passed": the test ran to its end. "failed": the program or its test raised, or the program ended early.
        "timeout": more than `Limits.wall_s`. "killed": ended by a signal or for too much output.
        "sandbox_error": the program was not measured, and `reason` says why. A program cannot cause this unless it
        breaks the kernel.
    reason : str
        What happened; "" if it passed.
    exit_status : int or None
        Exit status of the program's process, or a signal as a negative number; 0 if it passed, None if it was alive.
    stdout, stderr : str
        The beginning of its output.
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
        """Whether there is a verdict."""
        return self.status != "sandbox_error"


@dataclass(frozen=True, slots=True)
class SandboxKind:
    """A way to confine programs.

    Parameters
    ----------
    name : {"bubblewrap", "namespaces", "none"}
        What isolates the program; "none" sets resource limits only.
    user_namespace : bool
        Whether isolation is set up in a user namespace, which needs no privilege. Otherwise the superuser sets it up,
        and programs run as users that own nothing.
    nested : bool
        Whether one sandbox serves many programs, each in inner namespaces of its own. Otherwise every program gets a
        new sandbox, which is slower.
    """

    name: Literal["bubblewrap", "namespaces", "none"]
    user_namespace: bool = False
    nested: bool = True

    def __str__(self) -> str:
        remarks = ["user namespace"] * self.user_namespace + ["one per program"] * (not self.nested)
        return f"{self.name} ({', '.join(remarks)})" if remarks else self.name


@dataclass(frozen=True, slots=True)
class NotAvailable:
    """No sandbox works on this machine.

    Parameters
    ----------
    reason : str
        What was tried and how it failed.
    """

    reason: str
