"""Namespaces: the outer sandbox on machines without bubblewrap, and the inner one of every program."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

from .system import die_with_parent, libc, raise_errno

_NEW_MOUNTS, _NEW_HOSTNAME, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PIDS, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_RECURSIVE, _AT_FDCWD = 0x8000, -100
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_SYS_MOUNT_SETATTR = 442  # the same on every machine; Linux 5.12
_NOBODY = 65534
_MAX_FILES = 4096


def enter(config: dict[str, Any]) -> None:
    """Enter new namespaces with a small read-only root, and return in a child that is the first process there.

    The calling process does not return: it waits for the child and exits with its status.

    Parameters
    ----------
    config : dict
        ``user_namespace`` (bool), ``paths`` (pairs of source and target, mounted read-only), ``devices``, ``scratch``
        (the writable directory), ``mount_point`` (any directory).

    Raises
    ------
    OSError
        The kernel refuses a step.
    """
    die_with_parent()
    uid, gid = os.geteuid(), os.getegid()
    flags = _NEW_MOUNTS | _NEW_HOSTNAME | _NEW_IPC | _NEW_PIDS | _NEW_NETWORK
    _unshare(flags | (_NEW_USER if config["user_namespace"] else 0))
    if config["user_namespace"]:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{_NOBODY} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{_NOBODY} {gid} 1")
    name = b"sandbox"
    if libc.sethostname(name, len(name)) != 0:
        raise_errno("sethostname")
    _new_root(config)
    _continue_as_first_process()


def enter_for_one_program(scratch: str, size: int) -> None:
    """Enter namespaces of this program's own, and return in their first process.

    New are the process ids, so that a program reaches only its own processes and all of them end with the first; the
    scratch directory; and System V objects. The network namespace has no interfaces and the root is read-only, so one
    program can leave nothing there for the next.

    Parameters
    ----------
    scratch : str
        The writable directory; it starts empty.
    size : int
        Limit on its size in bytes.

    Raises
    ------
    OSError
        The kernel refuses a step.
    """
    _unshare(_NEW_MOUNTS | _NEW_IPC | _NEW_PIDS)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    options = f"size={size},nr_inodes={_MAX_FILES},mode=1777"
    _mount("tmpfs", scratch, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)
    os.chdir(scratch)
    _continue_as_first_process()


def _unshare(flags: int) -> None:
    if libc.unshare(flags) != 0:
        raise_errno("unshare")


def _continue_as_first_process() -> None:
    child = os.fork()
    if child:
        os.closerange(0, 256)  # so that the pipes end when the child does
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    die_with_parent()


def _new_root(config: dict[str, Any]) -> None:
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    base = config["mount_point"]
    _mount("tmpfs", base, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,nr_inodes=512,mode=0755")
    Path(f"{base}/old").mkdir(0o700)
    Path(f"{base}/new").mkdir(0o755)
    _pivot(base, f"{base}/old")
    # Only a mount point can become the root.
    _mount("/new", "/new", None, _MS_BIND)
    for source, target in config["paths"]:
        _show(source, target, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    for device in config["devices"]:
        _show(device, device, _ATTR_NOSUID)
    Path("/new" + config["scratch"]).mkdir(0o755, parents=True, exist_ok=True)
    Path("/new/old").mkdir(0o700)
    _pivot("/new", "/new/old")
    # Both former roots are below /old: the machine's, and the one used to build this.
    if libc.umount2(b"/old", _MNT_DETACH) != 0:
        raise_errno("umount2")
    Path("/old").rmdir()
    _set_attributes("/", _ATTR_RDONLY, recursive=False)


def _show(source: str, target: str, attributes: int) -> None:
    source, target = "/old" + source, "/new" + target
    place = Path(target)
    if Path(source).is_dir():
        place.mkdir(0o755, parents=True, exist_ok=True)
    else:
        place.parent.mkdir(0o755, parents=True, exist_ok=True)
        place.touch(0o644)
    _mount(source, target, None, _MS_BIND | _MS_REC)
    _set_attributes(target, attributes, recursive=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace"))


def _set_attributes(path: str, attributes: int, recursive: bool) -> None:
    wanted = _MountAttributes(attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    long = ctypes.c_long
    result = libc.syscall(
        long(_SYS_MOUNT_SETATTR), long(_AT_FDCWD), os.fsencode(path), long(flags), ctypes.byref(wanted), long(32)
    )
    if result != 0:
        raise_errno(f"mount_setattr {path}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    filesystem = kind.encode() if kind else None
    if libc.mount(os.fsencode(source), os.fsencode(target), filesystem, ctypes.c_ulong(flags), options.encode()) != 0:
        raise_errno(f"mount {target}")


def _pivot(new: str, old: str) -> None:
    if libc.syscall(ctypes.c_long(_pivot_number()), os.fsencode(new), os.fsencode(old)) != 0:
        raise_errno(f"pivot_root {new}")
    os.chdir("/")


def _pivot_number() -> int:
    machine = os.uname().machine
    numbers = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41}
    if machine not in numbers:
        raise OSError(0, f"pivot_root has no known number on {machine} ({sys.platform})")
    return numbers[machine]
