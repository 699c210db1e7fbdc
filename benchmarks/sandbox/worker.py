"""A sandbox that runs programs one after another."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from typing import Any, BinaryIO, Self

from benchmarks.sandbox.follow import END_S, START_S, Run, drain, follow
from benchmarks.sandbox.inside import wire
from benchmarks.sandbox.launch import SCRATCH, checker_code, command, outer_configuration, program_configuration
from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import Outcome, Program, SandboxKind
from benchmarks.sandbox.watch import Usage, usage


class _StartError(Exception):
    """The sandbox could not be started."""


class Sandbox:
    """Runs programs, one at a time; a context manager.

    The sandbox starts with the first program, is restarted if it dies, and ends with the thread that started it.

    Parameters
    ----------
    kind : SandboxKind
    """

    def __init__(self, kind: SandboxKind) -> None:
        self._kind = kind
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, program: Program, limits: Limits) -> Outcome:
        """Run one program.

        Parameters
        ----------
        program : Program
        limits : Limits

        Returns
        -------
        Outcome
            Status "sandbox_error" if the sandbox cannot be started.
        """
        try:
            control = self._started(limits)
            return self._run(control, program, limits)
        except (OSError, _StartError) as error:
            self.close()
            return Outcome("sandbox_error", f"the sandbox cannot be used: {error}")
        finally:
            if not self._kind.nested:
                self.close()

    def close(self) -> None:
        """End the sandbox and everything in it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _started(self, limits: Limits) -> socket.socket:
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            complaints = stack.enter_context(tempfile.TemporaryFile())
            config = stack.enter_context(_file_of(outer_configuration(self._kind)))
            code = checker_code()  # held, for another thread's call may replace the cached file and close this one
            descriptors = (code.fileno(), config.fileno(), theirs.fileno())
            self._control = ours
            self._process = subprocess.Popen(
                command(self._kind, limits, descriptors),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env={"PYTHONHASHSEED": "0"},
                cwd="/",
                pass_fds=descriptors,
                start_new_session=True,
            )
            theirs.close()
            ours.settimeout(START_S)
            try:
                ready = ours.recv(1)
            except TimeoutError as error:
                raise _StartError(f"it did not start within {START_S:g} s") from error
            if ready != wire.READY:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                raise _StartError(said[-1] if said else f"exit status {self._process.wait()}")
        return ours

    def _run(self, control: socket.socket, program: Program, limits: Limits) -> Outcome:
        with contextlib.ExitStack() as stack:
            scratch = SCRATCH
            if self._kind.name == "none":
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-", ignore_cleanup_errors=True))
            settings = program_configuration(self._kind, limits, scratch) | {"source": program.source}
            config = stack.enter_context(_file_of(settings))
            test = stack.enter_context(_file_of(_test_of(program)))
            (report, stdout, stderr), theirs = _pipes(stack)
            try:
                socket.send_fds(control, [wire.RUN], [config.fileno(), test.fileno(), *theirs])
            finally:
                for descriptor in theirs:
                    os.close(descriptor)
            run = Run(limits, time.monotonic() + START_S)
            try:
                follow(run, report, stdout, stderr, self._look)
                ended = time.monotonic()
                verdict = _verdict(run, ended)
            finally:
                lost = not self._end_program(control)
            drain(run, stdout, stderr)
        if lost and run.verdict is None:
            verdict = Outcome("sandbox_error", "the sandbox was lost while the program ran")
        seconds = 0.0 if run.started is None else ended - run.started
        return replace(verdict, stdout=run.text("stdout"), stderr=run.text("stderr"), seconds=seconds)

    def _look(self) -> Usage:
        return usage(self._process.pid) if self._process is not None else Usage(0, 0)

    def _end_program(self, control: socket.socket) -> bool:
        """Kill what is left of the program; if that takes too long, kill the sandbox."""
        if self._kind.nested:
            control.settimeout(END_S)
            try:
                control.sendall(wire.END)
                if control.recv(1) == wire.ENDED:
                    return True
            except OSError:
                self.close()
                return False
        self.close()
        return not self._kind.nested


def _test_of(program: Program) -> dict[str, Any]:
    return {"source": program.test, "given": program.given, "names": program.names}


def _file_of(content: dict[str, Any]) -> BinaryIO:
    # A file, not a pipe: nothing has to be written while the other side starts.
    handle = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    handle.write(wire.encode(content, wire.no_objects))
    handle.flush()
    handle.seek(0)
    return handle


def _pipes(stack: contextlib.ExitStack) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs = [os.pipe() for _ in range(3)]
    for ours, _ in pairs:
        stack.callback(os.close, ours)
    return tuple(ours for ours, _ in pairs), tuple(theirs for _, theirs in pairs)


def _verdict(run: Run, ended: float) -> Outcome:
    if run.verdict is not None:
        return run.verdict
    if run.started is None:
        return Outcome("sandbox_error", f"the program was not started within {START_S:g} s")
    if ended >= run.deadline:
        return Outcome("timeout", f"not done after {run.limits.wall_s:g} s")
    return Outcome("killed", "its checker ended without a verdict")
