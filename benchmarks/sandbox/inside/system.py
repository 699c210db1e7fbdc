"""The calls Python has no function for; on a system that is not Linux most of them do nothing."""

from __future__ import annotations

import ctypes
import os

__all__ = [
    "die_with_parent",
    "drop_capabilities",
    "forbid_new_privileges",
    "hide_memory",
    "libc",
    "prctl",
    "raise_errno",
    "signal_disposition",
]

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, argument: int, pointer: int = 0) -> None:
    """Call prctl(2).

    Raises
    ------
    OSError
        The kernel refuses.
    """
    word = ctypes.c_ulong
    if libc.prctl(option, word(argument), word(pointer), word(0), word(0)) != 0:
        raise_errno(f"prctl({option})")


def raise_errno(what: str) -> None:
    """Raise the last error of a C call."""
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; a change of user takes the wish back."""
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def hide_memory() -> None:
    """Let no other process of the same user read or change this one's memory and file descriptors."""
    prctl(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """Set-user-id programs gain nothing any more, here and in every descendant."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability for good."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) != 0:
        raise_errno("capset")


def signal_disposition(number: int, ignore: bool) -> None:
    """Ignore a signal or give it its default action; without the `signal` module, whose import is slow."""
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(number, ctypes.c_void_p(1 if ignore else 0))
