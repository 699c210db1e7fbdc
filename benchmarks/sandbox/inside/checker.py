"""The checker: the first process of a program's own namespaces, and the only one that reports a verdict.

It forks the process that will run the program before it reads the test, so that the program's process never holds the
test. The test runs here, where no line of the program runs; it uses the program's objects through `Remote` and receives
plain data. The verdict is written to a pipe that the program's process does not have.
"""

from __future__ import annotations

import builtins
import os
import sys
import time
from types import CodeType
from typing import Any

from . import candidate, wire
from .isolation import enter_for_one_program
from .lockdown import become_user, close_all_but, limit_memory, lock_down
from .remote import Connection, ProgramGoneError, TestNotSupportedError
from .system import die_with_parent, drop_capabilities, hide_memory, signal_disposition

_SIGINT, _SIGXCPU = 2, 24
_LINUX = sys.platform == "linux"


def run(config_fd: int, test_fd: int, report_fd: int) -> None:
    """Run one program in a child process, report the verdict, and end this process.

    Parameters
    ----------
    config_fd, test_fd, report_fd : int
        Descriptors of the program and its settings, of the test, and of the pipe for the verdict. Standard output and
        standard error already belong to the program.
    """
    try:
        config = wire.decode(_whole(config_fd), wire.no_handles)
        if config["nested"]:
            enter_for_one_program(config["scratch"], config["limits"]["scratch_bytes"])
        else:
            os.chdir(config["scratch"])
        connection, child = _start(config, test_fd, report_fd)
        test = wire.decode(_whole(test_fd), wire.no_handles)
    except Exception as error:  # noqa: BLE001 - whatever it is, the program has not run
        _report(report_fd, "fault", f"{type(error).__name__}: {error}", None)
        os._exit(1)
    wire.send(report_fd, wire.encode(("started",), wire.no_objects))
    connection.let_go()
    status, reason, ended = _check(connection, child, test, config["limits"]["cpu_s"])
    _report(report_fd, status, reason, ended)
    os._exit(0)


def _start(config: dict[str, Any], test_fd: int, report_fd: int) -> tuple[Connection, int]:
    confined = config["confined"]
    # The first process of a PID namespace receives only signals it has a handler for, and Python has one for SIGINT.
    signal_disposition(_SIGINT, ignore=True)
    if _LINUX:
        hide_memory()
    requests_out, requests_in = os.pipe()
    answers_out, answers_in = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            close_all_but({requests_out, answers_in})
            signal_disposition(_SIGINT, ignore=False)
            if _LINUX:
                die_with_parent()
            lock_down(config["limits"], config["program_uid"], confined)
            os.write(answers_in, b"+")
        except BaseException as error:  # noqa: BLE001 - told to the checker, which reports it
            os.write(answers_in, f"-{type(error).__name__}: {error}".encode())
            os._exit(1)
        os.read(requests_out, 1)
        try:
            candidate.run(config["source"], requests_out, answers_in)
        finally:
            os._exit(0)
    os.close(requests_out)
    os.close(answers_in)
    limit_memory(config["limits"]["memory_bytes"])  # the program decides the size of its answers
    if confined:
        become_user(config["checker_uid"])
        drop_capabilities()
        die_with_parent()
        hide_memory()
    ready = os.read(answers_out, 1)
    if ready != b"+":
        raise OSError(0, os.read(answers_out, 4096).decode(errors="replace") or "the program's process did not start")
    return Connection(requests_in, answers_out), child


def _check(connection: Connection, child: int, test: dict[str, Any], cpu_s: int) -> tuple[str, str, int | None]:
    try:
        given = compile(test["given"], "<given>", "exec")
        code = compile(test["source"], "<test>", "exec")
        namespace: dict[str, Any] = {}
        exec(given, namespace)  # noqa: S102 - the benchmark's own code
    except Exception as error:  # noqa: BLE001 - not the program's fault
        return "fault", f"the test is not valid Python: {error}", None
    # Built-in names remain the checker's, unless the program was asked to define one.
    wanted = test["names"] or tuple(sorted(_names(code) - _BUILTIN_NAMES - set(namespace)))
    try:
        connection.answer()
        found = connection.ask("names", wanted)
        if not isinstance(found, dict):
            raise ProgramGoneError("the program's process sent no readable answer")
        # Ignore names that were not asked for, `__builtins__` for example.
        namespace |= {name: found[name] for name in wanted if name in found}
        exec(code, namespace)  # noqa: S102 - the benchmark's own code
    except TestNotSupportedError as error:
        return "fault", str(error), None
    except ProgramGoneError as error:
        return _how_it_ended(child, str(error), cpu_s)
    except BaseException as error:  # noqa: BLE001 - whatever ends a test early is a failure
        return "failed", _describe(error), None
    return "passed", "", 0


def _describe(error: BaseException) -> str:
    where, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<test>":
            where = f" (line {trace.tb_lineno} of the test)"
        trace = trace.tb_next
    text = str(error)
    return f"{type(error).__name__}{': ' if text else ''}{text[:2000]}{where}"


def _names(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            found |= _names(constant)
    return found


def _how_it_ended(child: int, reason: str, cpu_s: int) -> tuple[str, str, int | None]:
    """Say how the program's process ended, if it did; it may have closed its pipe and still be running."""
    for _ in range(100):
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.002)  # a pipe closes shortly before its process can be waited for
    else:
        return "failed", reason, None
    ended = os.waitstatus_to_exitcode(status)
    if ended >= 0:
        return "failed", f"{reason} (exit status {ended})", ended
    # A program may ignore SIGXCPU; the SIGKILL that follows is recognised only by the time used.
    if ended == -_SIGXCPU or used.ru_utime + used.ru_stime >= cpu_s:
        return "timeout", f"used more than {cpu_s} s of processor time", ended
    return "killed", f"ended by signal {-ended}{_SIGNALS.get(-ended, '')}", ended


_SIGNALS = {
    6: " (abort)",
    9: " (killed; the machine may be out of memory)",
    11: " (invalid memory access)",
    25: " (file size limit)",
}
_BUILTIN_NAMES = frozenset(dir(builtins))


def _whole(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    os.close(fd)
    return b"".join(parts)


def _report(fd: int, status: str, reason: str, ended: int | None) -> None:
    wire.send(fd, wire.encode(("verdict", status, reason, ended), wire.no_objects))
