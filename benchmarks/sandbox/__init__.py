"""A sandbox for code that a model wrote: what it isolates, and from what, is in `docs/design/030-sandbox.md`.

The way in is `run_many`.

program, limits     what is run, what it may use, and the outcome
availability        which kind of sandbox works on this machine
worker, launch      one sandbox: its command line, its life, one program after the other
follow, watch       a running program seen from outside: its report, its output, its memory and processes
inside/             what runs within: the first process, the checker with the test, the program's process
code_checks         HumanEval and MBPP as programs with a test
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from benchmarks.sandbox.availability import available
from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import NotAvailable, Outcome, Program, SandboxKind, Status
from benchmarks.sandbox.worker import Sandbox
from harness.errors import UsageError

__all__ = [
    "Limits",
    "NotAvailable",
    "Outcome",
    "Program",
    "SandboxKind",
    "Status",
    "available",
    "run_many",
]

_REMEDY = "install bubblewrap (Debian: apt-get install bubblewrap), or give --allow-unsandboxed-code"


def run_many(
    programs: Iterable[Program],
    workers: int,
    limits: Limits | None = None,
    *,
    kind: SandboxKind | None = None,
    allow_unsandboxed: bool = False,
) -> Iterator[tuple[int, Outcome]]:
    """Run many untrusted programs, several at once, none of which can affect another.

    Parameters
    ----------
    programs : iterable of Program
        Read as they are needed.
    workers : int
        How many run at once; with more than there are processors, time limits become unfair.
    limits : Limits, optional
    kind : SandboxKind, optional
        How to confine them; by default the best kind that works here.
    allow_unsandboxed : bool
        If no sandbox is available, run them with resource limits alone.

    Yields
    ------
    number, outcome : int, Outcome
        The program's position in `programs` and its outcome, in the order of completion. The status is
        "sandbox_error", with the reason, if no sandbox is available or it cannot be started.

    Raises
    ------
    UsageError
        No workers.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers", "at least 1")
    confined = kind or _kind(allow_unsandboxed)
    if isinstance(confined, NotAvailable):
        yield from ((number, _not_run(confined)) for number, _ in enumerate(programs))
    else:
        yield from _run_side_by_side(programs, limits or Limits(), confined, workers)


def _run_side_by_side(
    programs: Iterable[Program], limits: Limits, kind: SandboxKind, workers: int
) -> Iterator[tuple[int, Outcome]]:
    numbered = enumerate(programs)
    waiting: dict[Future[Outcome], int] = {}
    of_thread = threading.local()
    opened: list[Sandbox] = []

    # A sandbox ends with the thread that started it, so each thread has its own.
    def open_sandbox() -> None:
        of_thread.sandbox = Sandbox(kind)
        opened.append(of_thread.sandbox)

    def run(program: Program) -> Outcome:
        sandbox: Sandbox = of_thread.sandbox
        return sandbox.run(program, limits)

    with ThreadPoolExecutor(workers, thread_name_prefix="sandbox", initializer=open_sandbox) as pool:
        try:
            while True:
                while len(waiting) < 2 * workers and (following := next(numbered, None)) is not None:
                    number, program = following
                    waiting[pool.submit(run, program)] = number
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for sandbox in opened:
                sandbox.close()


def _kind(allow_unsandboxed: bool) -> SandboxKind | NotAvailable:
    found = available()
    if isinstance(found, NotAvailable) and allow_unsandboxed:
        return SandboxKind("none")
    return found


def _not_run(why: NotAvailable) -> Outcome:
    return Outcome("sandbox_error", f"no sandbox for model-written code ({why.reason}); {_REMEDY}")
