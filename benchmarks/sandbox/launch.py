"""How a sandbox is started: its command line, and the files of the machine that are visible in it."""

from __future__ import annotations

import functools
import itertools
import marshal
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import SandboxKind

SCRATCH = "/tmp"
"""The only directory a program can write to."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# The checker is passed compiled, in a file descriptor: it is the same for every program, no file of ours needs to
# be visible in the sandbox, and compiling it each time would take longer than the rest of the start.
_BOOT = """
import marshal, os, sys
for name, code in marshal.loads(os.pread(int(sys.argv[1]), 1 << 24, 0)):
    module = sys.modules[name] = type(sys)(name)
    module.__package__ = "inside"
    exec(code, vars(module))
sys.modules["inside.server"].main()
"""
_MODULES = ("wire", "system", "seccomp", "lockdown", "candidate", "remote", "isolation", "checker", "server")
# Libraries only: no programs but Python, no configuration, no user's files.
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/etc/ld.so.cache")
_USERS_AT_ONCE = 1024
_turns: Iterator[int] = itertools.count()


@functools.cache
def checker_code() -> BinaryIO:
    """Return an open file with the compiled modules of the checker, each after those it imports."""
    modules = [("inside", compile("", "inside/__init__.py", "exec"))]
    for name in _MODULES:
        path = Path(__file__).parent / "inside" / f"{name}.py"
        modules.append((f"inside.{name}", compile(path.read_bytes(), f"inside/{name}.py", "exec", optimize=0)))
    handle = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
    handle.write(marshal.dumps(modules))
    handle.flush()
    return handle


@functools.cache
def _interpreter() -> str:
    """Return the base interpreter; a virtual environment's needs files that a program must not see."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@functools.cache
def _shown() -> tuple[tuple[str, str], ...]:
    prefix = Path(sys.base_exec_prefix)
    paths = [*_LIBRARIES, str(prefix / "lib"), str(prefix / "lib64"), sysconfig.get_path("stdlib"), _interpreter()]
    shown: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        inside = any(path.startswith(f"{above}/") for above in shown)
        if Path(path).exists() and not inside:
            shown[path] = os.path.realpath(path)
    return tuple((source, target) for target, source in shown.items())


@functools.cache
def _first_user() -> int:
    """Return the lowest of the user ids lent to programs, at the end of the range this process may use."""
    try:
        rows = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        rows = [[0, 0, 1 << 32]]
    first, _, count = max(rows, key=lambda row: row[2])
    # The last id means "no user".
    return first + max(1, count - 2 - 2 * _USERS_AT_ONCE)


def _users(kind: SandboxKind) -> tuple[int | None, int | None]:
    """Choose two user ids for each program, so that the limit on processes counts no one else's."""
    if kind.user_namespace or kind.name == "none":
        return None, None
    turn = (os.getpid() * 64 + next(_turns)) % _USERS_AT_ONCE
    user = _first_user() + 2 * turn
    return user, user + 1


def outer_configuration(kind: SandboxKind) -> dict[str, Any]:
    """Return the configuration of the first process in the sandbox."""
    return {
        "kind": kind.name,
        "user_namespace": kind.user_namespace,
        "paths": _shown(),
        "devices": tuple(device for device in _DEVICES if Path(device).exists()),
        "scratch": SCRATCH,
        "mount_point": tempfile.gettempdir(),
    }


def program_configuration(kind: SandboxKind, limits: Limits, scratch: str) -> dict[str, Any]:
    """Return the configuration of one program's checker, except the program.

    Parameters
    ----------
    kind : SandboxKind
    limits : Limits
    scratch : str
        The directory the program may write to.
    """
    checker, program = _users(kind)
    return {
        "confined": kind.name != "none",
        "nested": kind.name != "none" and kind.nested,
        "limits": {name: getattr(limits, name) for name in limits.__slots__},
        "checker_uid": checker,
        "program_uid": program,
        "scratch": scratch,
    }


def command(kind: SandboxKind, limits: Limits, descriptors: tuple[int, ...]) -> list[str]:
    """Return the command line of a sandbox.

    Parameters
    ----------
    kind : SandboxKind
    limits : Limits
        Limits of the program, if the sandbox is for one program.
    descriptors : tuple of three ints
        The checker's code, the configuration and the control socket, inherited under these numbers.
    """
    # No site packages, no user packages, no current directory, no bytecode written.
    python = [_interpreter(), "-s", "-S", "-P", "-B", "-c", _BOOT, *map(str, descriptors)]
    return [*_bubblewrap(kind, limits), *python] if kind.name == "bubblewrap" else python


def _bubblewrap(kind: SandboxKind, limits: Limits) -> list[str]:
    arguments = [shutil.which("bwrap") or "bwrap"]
    arguments += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--hostname", "sandbox"]
    if kind.user_namespace:
        arguments += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
        if kind.nested:  # to build the inner namespaces with; the checker and the program give it up
            arguments += ["--cap-add", "CAP_SYS_ADMIN"]
    arguments += ["--die-with-parent", "--as-pid-1", "--clearenv", "--setenv", "PYTHONHASHSEED", "0"]
    for above in _directories_above(target for _, target in _shown()):
        # By default bubblewrap makes them readable by their owner only, and programs run as another user.
        arguments += ["--perms", "0755", "--dir", above]
    for source, target in _shown():
        arguments += ["--ro-bind", source, target]
    for device in _DEVICES:
        arguments += ["--dev-bind-try", device, device]
    arguments += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", SCRATCH]
    return [*arguments, "--chdir", SCRATCH, "--remount-ro", "/"]


def _directories_above(paths: Iterable[str]) -> list[str]:
    above = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(above - {"/"})
