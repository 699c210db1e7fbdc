"""One run seen from outside: the checker's report and the program's output."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.sandbox.inside import wire
from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import Outcome, Status
from benchmarks.sandbox.watch import LOOK_EVERY_S, Usage

START_S = 30.0
"""Time limit for starting the sandbox itself; a machine too busy for it cannot measure anything."""
END_S = 5.0
_KEPT_BYTES = 64 << 10
_READ_BYTES = 1 << 16
# Allowance for the sandbox's own processes.
_OWN_BYTES = 64 << 20
_OWN_PROCESSES = 8


@dataclass(slots=True)
class Run:
    """A running program, seen from outside."""

    limits: Limits
    deadline: float
    started: float | None = None
    report: bytearray = field(default_factory=bytearray)
    output: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    n_output: int = 0
    verdict: Outcome | None = None

    def read_report(self, part: bytes) -> None:
        """Read more of the checker's report, which the program cannot write to."""
        self.report += part
        while len(self.report) >= 4:
            size = int.from_bytes(self.report[:4], "big")
            if len(self.report) < 4 + size:
                return
            message = wire.decode(bytes(self.report[4 : 4 + size]), wire.no_handles)
            del self.report[: 4 + size]
            if message[0] == "started":
                self.started = time.monotonic()
                self.deadline = self.started + self.limits.wall_s
            else:
                _, status, reason, exit_status = message
                named: Status = "sandbox_error" if status == "fault" else status
                self.verdict = Outcome(named, reason, exit_status)

    def check_usage(self, used: Usage) -> None:
        """End the program if its processes together use more memory than one may, or are too many."""
        if used.resident_bytes > self.limits.memory_bytes + _OWN_BYTES:
            self.verdict = Outcome("killed", f"its processes held {used.resident_bytes >> 20} MiB of memory")
        elif used.n_threads > self.limits.processes + _OWN_PROCESSES:
            self.verdict = Outcome("killed", f"it had {used.n_threads} processes and threads")

    def text(self, name: str) -> str:
        """Return the part of the program's output that was kept."""
        return self.output[name].decode(errors="replace")

    def read_output(self, name: str, part: bytes) -> None:
        """Read more of the program's output; beyond the part that is kept it is only counted."""
        room = _KEPT_BYTES - len(self.output[name])
        self.output[name] += part[: max(0, room)]
        self.n_output += len(part)
        if self.n_output > self.limits.output_bytes and self.verdict is None:
            self.verdict = Outcome("killed", f"wrote more than {self.limits.output_bytes} bytes of output")


def follow(run: Run, report: int, stdout: int, stderr: int, look: Callable[[], Usage]) -> None:
    """Read everything until the verdict, the deadline, or the end of the checker.

    Parameters
    ----------
    run : Run
        Receives it.
    report, stdout, stderr : int
        Descriptors to read from.
    look : callable
        Returns what the sandbox's processes use.
    """
    next_look = time.monotonic() + LOOK_EVERY_S
    with selectors.DefaultSelector() as selector:
        selector.register(report, selectors.EVENT_READ, "report")
        selector.register(stdout, selectors.EVENT_READ, "stdout")
        selector.register(stderr, selectors.EVENT_READ, "stderr")
        while run.verdict is None and (left := run.deadline - time.monotonic()) > 0:
            if run.started is not None and time.monotonic() >= next_look:
                run.check_usage(look())
                next_look = time.monotonic() + LOOK_EVERY_S
            for key, _ in selector.select(min(left, LOOK_EVERY_S)):
                part = os.read(key.fd, _READ_BYTES)
                if not part:
                    selector.unregister(key.fileobj)
                    if key.data == "report":
                        return
                elif key.data == "report":
                    run.read_report(part)
                else:
                    run.read_output(key.data, part)


def drain(run: Run, stdout: int, stderr: int) -> None:
    """Read what was written just before the verdict, until the last process has ended.

    Parameters
    ----------
    run : Run
        Receives it.
    stdout, stderr : int
        Descriptors to read from.
    """
    until = time.monotonic() + END_S
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ, "stdout")
        selector.register(stderr, selectors.EVENT_READ, "stderr")
        while selector.get_map() and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                part = os.read(key.fd, _READ_BYTES)
                if part:
                    run.read_output(key.data, part)
                else:
                    selector.unregister(key.fileobj)
