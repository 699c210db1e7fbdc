"""A sandbox in which bubblewrap does every step it has an option for, to compare ours with.

Every program gets a bubblewrap of its own: namespaces by ``--unshare-all``, capabilities by ``--cap-drop ALL``, the
system call filter by ``--seccomp``. Ours remain the steps bubblewrap has no option for: resource limits, closed
descriptors, memory hidden from processes of the same user.

The hostile programs run in it by

    PYTHONPATH=bench pytest -p bwrap_alone tests/benchmarks/sandbox/test_sandbox_hostile.py
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.sandbox import SandboxKind, availability, launch, worker
from benchmarks.sandbox.inside import seccomp

KIND = SandboxKind("bubblewrap", user_namespace=True, nested=False)
_OURS = ("    drop_capabilities()\n", "    forbid_new_privileges()\n", "    forbid_dangerous_calls()\n")
_FILTER = "FILTER"


def _arguments(ours: list[str]) -> list[str]:
    """Replace the namespaces and capabilities of our command line by bubblewrap's shorter options."""
    kept = [each for each in ours[1:] if each not in ("--unshare-user", *(f"--unshare-{n}" for n in _NAMESPACES))]
    return [ours[0], "--unshare-all", "--new-session", "--cap-drop", "ALL", "--seccomp", _FILTER, *kept]


_NAMESPACES = ("ipc", "pid", "net", "uts")


@contextlib.contextmanager
def bwrap_alone() -> Iterator[SandboxKind]:
    """Let bubblewrap do what it can; yields the kind of sandbox to ask for."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        compiled = Path(folder) / "filter"
        rows = seccomp._program(os.uname().machine)
        compiled.write_bytes(b"".join(bytes(seccomp._Instruction(*row)) for row in rows))
        inside = Path(folder) / "inside"
        inside.mkdir()
        for source in (Path(launch.__file__).parent / "inside").glob("*.py"):
            text = source.read_text()
            for step in _OURS if source.stem == "lockdown" else ():
                assert step in text
                text = text.replace(step, "")
            (inside / source.name).write_text(text)

        def start(command: list[str], pass_fds: tuple[int, ...], **options: Any) -> subprocess.Popen[bytes]:
            # Opened anew each time, for bubblewrap reads it to its end.
            filter_fd = os.open(compiled, os.O_RDONLY)
            try:
                command = [str(filter_fd) if each == _FILTER else each for each in command]
                return subprocess.Popen(command, pass_fds=(*pass_fds, filter_fd), **options)
            finally:
                os.close(filter_fd)

        ours = launch._bubblewrap
        launch.checker_code.cache_clear()
        stack.callback(launch.checker_code.cache_clear)
        stack.enter_context(mock.patch.object(launch, "_bubblewrap", lambda *args: _arguments(ours(*args))))
        stack.enter_context(mock.patch.object(launch, "__file__", f"{folder}/launch.py"))
        fake = SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL)
        stack.enter_context(mock.patch.object(worker, "subprocess", fake))
        yield KIND


def pytest_configure(config: Any) -> None:
    """Run the tests of every sandbox in this one alone."""
    stack = contextlib.ExitStack()
    stack.enter_context(bwrap_alone())
    stack.enter_context(mock.patch.object(availability, "candidates", lambda: [KIND]))
    config.add_cleanup(stack.close)
    sys.stderr.write("every sandbox is bubblewrap alone\n")
