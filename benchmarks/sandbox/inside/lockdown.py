"""A process drops its own rights, each step while it is still allowed."""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

from .seccomp import forbid_dangerous_calls
from .system import drop_capabilities, forbid_new_privileges


def set_limits(limits: dict[str, Any]) -> None:
    """Set the resource limits of this process and of every one it starts; they cannot be raised again.

    Parameters
    ----------
    limits : dict
        The fields of `benchmarks.sandbox.limits.Limits`.
    """
    limit_memory(limits["memory_bytes"])
    cpu = limits["cpu_s"]
    wanted = (
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_CPU", cpu, cpu + 1),
        ("RLIMIT_FSIZE", limits["file_bytes"], limits["file_bytes"]),
        ("RLIMIT_NOFILE", limits["open_files"], limits["open_files"]),
        ("RLIMIT_NPROC", limits["processes"], limits["processes"]),
        ("RLIMIT_MEMLOCK", 0, 0),
        ("RLIMIT_MSGQUEUE", 0, 0),
    )
    for name, soft, hard in wanted:
        number = getattr(resource, name, None)
        if number is not None:  # not every system has every limit
            _lower(number, soft, hard)


def limit_memory(size: int) -> None:
    """Limit the address space of this process and of every one it starts."""
    if sys.platform == "linux":  # other systems count unused memory, or do not allow lowering it
        _lower(resource.RLIMIT_AS, size, size)


def _lower(number: int, soft: int, hard: int) -> None:
    _, most = resource.getrlimit(number)
    if most != resource.RLIM_INFINITY:
        hard = min(hard, most)
    resource.setrlimit(number, (min(soft, hard), hard))


def become_user(uid: int | None) -> None:
    """Become a user that owns nothing; None keeps the user, for a sandbox in a user namespace."""
    if uid is None:
        return
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def lock_down(limits: dict[str, Any], uid: int | None, confined: bool) -> None:
    """Set the limits, drop every privilege for good, and forbid dangerous system calls.

    Parameters
    ----------
    limits : dict
        The fields of `benchmarks.sandbox.limits.Limits`.
    uid : int or None
        The user to become.
    confined : bool
        False without a sandbox: then only the limits are set.

    Raises
    ------
    OSError
        The kernel refuses a step; the program must not run then.
    """
    if not confined:
        unlimited = dict(limits)
        # This limit counts all processes of the user, so it could stop the first of the program's.
        unlimited["processes"] = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        set_limits(unlimited)
        return
    become_user(uid)
    set_limits(limits)
    drop_capabilities()
    forbid_new_privileges()
    forbid_dangerous_calls()


def close_all_but(keep: set[int]) -> None:
    """Close every file descriptor that is not in `keep`."""
    last = 2
    for fd in sorted(keep | {0, 1, 2}):
        if fd > last + 1:
            os.closerange(last + 1, fd)
        last = max(last, fd)
    os.closerange(last + 1, 1 << 16)  # far more than the few a sandbox is started with
