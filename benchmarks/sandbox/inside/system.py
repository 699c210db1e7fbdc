"""System calls that Python has no function for; Linux only, except `signal_disposition`."""

from __future__ import annotations

import ctypes
import os

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
    """Have the kernel kill this process when its parent ends; a change of user resets this."""
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def hide_memory() -> None:
    """Forbid other processes of the same user to access this one's memory and file descriptors."""
    prctl(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """Disable set-user-id programs for this process and its descendants."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Drop every capability for good."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) != 0:
        raise_errno("capset")


def signal_disposition(number: int, ignore: bool) -> None:
    """Ignore a signal or restore its default action, without the slow import of `signal`."""
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(number, ctypes.c_void_p(1 if ignore else 0))
