"""The first process of a sandbox: forks a checker for each program.

No line of any program runs here, so a fork is as clean as a new interpreter, and much cheaper.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys

from . import checker, wire
from .isolation import enter
from .system import die_with_parent

_SIGKILL = 9
# Modules that most programs import, loaded before the fork. Not `random`: each process must draw its own seed.
_COMMON = (
    "bisect",
    "collections",
    "copy",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "re",
    "string",
    "typing",
)


def main() -> None:
    """Serve until the other end of the control socket closes.

    The arguments are descriptors: this code, the configuration, the control socket. `wire.RUN` comes with the
    descriptors of `checker.run` and the program's standard output and error. `wire.END` kills what is left of the
    program and is answered with `wire.ENDED`.
    """
    config_fd, control_fd = (int(argument) for argument in sys.argv[2:4])
    config = wire.decode(os.pread(config_fd, 1 << 20, 0), wire.no_handles)
    if config["kind"] == "namespaces":
        enter(config)
    for name in _COMMON:
        __import__(name)
    os.environ.clear()
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=control_fd)
    control.sendall(wire.READY)
    child = 0
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 8)
        if not message:
            os._exit(0)
        if message == wire.END:
            _end(child)
            child = 0
            control.sendall(wire.ENDED)
            continue
        child = os.fork()
        if child == 0:
            _become_checker(descriptors, control)
        for descriptor in descriptors:
            os.close(descriptor)


def _become_checker(descriptors: list[int], control: socket.socket) -> None:
    try:
        control.close()
        os.setsid()
        if sys.platform == "linux":
            die_with_parent()
        config, test, report, output, errors = descriptors
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
        checker.run(config, test, report)
    finally:
        os._exit(1)


def _end(child: int) -> None:
    """Kill a program's session and wait for every process it leaves behind."""
    if not child:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, _SIGKILL)
    os.waitpid(child, 0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
