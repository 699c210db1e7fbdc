"""A filter for system calls that no program needs.

Namespaces decide what a program can reach. This filter refuses calls that create namespaces, that use memory no limit
counts, and those with a history of kernel faults. It is a second line of defence: on a machine type that is not listed
here, the namespaces are the only one.
"""

from __future__ import annotations

import ctypes
import os

from .system import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag
_AF_UNIX = 1

# Numbers on x86-64 and on arm64, from the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl,
# include/uapi/asm-generic/unistd.h).
_REFUSED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "personality": (135, 92),
}
# From 424 on a number means the same on every machine. Landlock's (444 to 446) only take rights away.
_REFUSED_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "memfd_secret": 447,
}
_FILTERED = {"clone": (56, 220), "socket": (41, 198)}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE3 = 435
_X32_BIT = 0x40000000


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    column, audit = _MACHINES[machine]
    clone, create_socket = _FILTERED["clone"][column], _FILTERED["socket"][column]
    refuse, unknown, allow = (
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    )
    # Calls of another ABI (32-bit, x32) have other numbers, so all of them are refused.
    program = [(_LOAD, 0, 0, _MACHINE_AT), (_EQUAL, 1, 0, audit), unknown]
    program += [(_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, 0, 1, _X32_BIT), unknown]
    for number in (*(each[column] for each in _REFUSED.values()), *_REFUSED_EVERYWHERE.values()):
        program += [(_EQUAL, 0, 1, number), refuse]
    # A filter cannot read clone3's flags, which are behind a pointer; on ENOSYS the C library falls back to clone.
    program += [(_EQUAL, 0, 1, _CLONE3), unknown]
    argument = (_LOAD, 0, 0, _FIRST_ARGUMENT_AT)
    program += [(_EQUAL, 0, 4, clone), argument, (_ANY_BIT, 0, 1, _NEW_NAMESPACES), refuse, allow]
    program += [(_EQUAL, 0, 4, create_socket), argument, (_EQUAL, 1, 0, _AF_UNIX), refuse, allow]
    return [*program, allow]


def forbid_dangerous_calls() -> bool:
    """Install the filter; this needs no privilege once new privileges are forbidden.

    Returns
    -------
    bool
        False if this machine type has no table here.

    Raises
    ------
    OSError
        The kernel refuses the filter.
    """
    machine = os.uname().machine
    if machine not in _MACHINES or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    rows = _program(machine)
    instructions = (_Instruction * len(rows))(*(_Instruction(*row) for row in rows))
    program = _Filter(len(rows), ctypes.cast(instructions, ctypes.POINTER(_Instruction)))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program))
    return True
