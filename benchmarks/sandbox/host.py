"""Run programs nobody trusts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import Outcome, Program, SandboxKind
from benchmarks.sandbox.worker import Sandbox
from harness.errors import UsageError

__all__ = ["execute", "execute_many"]


def execute(program: Program, limits: Limits, kind: SandboxKind) -> Outcome:
    """Run one program in a sandbox of the kind given, started for it alone.

    Parameters
    ----------
    program : Program
    limits : Limits
    kind : SandboxKind

    Returns
    -------
    Outcome
        A sandbox that cannot be started is an outcome too, with status "sandbox_error".
    """
    with Sandbox(kind) as sandbox:
        return sandbox.run(program, limits)


def execute_many(
    programs: Iterable[Program], limits: Limits, kind: SandboxKind, workers: int
) -> Iterator[tuple[int, Outcome]]:
    """Run many programs, several at once, each in a sandbox of its own.

    Parameters
    ----------
    programs : iterable of Program
        Taken as they are needed.
    limits : Limits
    kind : SandboxKind
    workers : int
        How many run at once; more than there are processors makes time limits unfair.

    Yields
    ------
    number, outcome : int, Outcome
        The place of the program in `programs`, and what came of it, as they complete.

    Raises
    ------
    UsageError
        No workers.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers", "at least 1")
    waiting: dict[Future[Outcome], int] = {}
    numbered = enumerate(programs)
    mine = threading.local()
    opened: list[Sandbox] = []

    def open_sandbox() -> None:
        mine.sandbox = Sandbox(kind)
        opened.append(mine.sandbox)

    def run(program: Program) -> Outcome:
        outcome: Outcome = mine.sandbox.run(program, limits)
        return outcome

    # A sandbox ends with the thread that started it, so each thread has its own.
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
