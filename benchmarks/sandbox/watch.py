"""What a sandbox holds: the memory of all its processes together, and their number.

No resource limit counts the first, and the kernel does not hold the superuser to the one on the second. A control
group would count both exactly, but most users may not make one. Looking costs nothing for programs that are done
before the first look, and needs no right at all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOOK_EVERY_S", "Usage", "usage"]

LOOK_EVERY_S = 0.1
"""What a program can take between two looks is what the machine's memory can be written at in this time."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a number of processes use.

    Parameters
    ----------
    resident_bytes : int
        Memory, files not counted; pages that a process shares with the one it was forked from count in both.
    n_threads : int
        Threads, of which every process has one.
    """

    resident_bytes: int
    n_threads: int


def usage(ancestor: int) -> Usage:
    """Look at the descendants of a process; where the system does not tell, nothing is used.

    Parameters
    ----------
    ancestor : int
        The process they all come from; it is not counted itself.
    """
    children: dict[int, list[tuple[int, int]]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            # The second field is a name of the program's own choice, in parentheses; proc(5) has the others.
            fields = (place / "stat").read_bytes().rpartition(b")")[2].split()
            parent, n_threads = int(fields[1]), int(fields[17])
        except (OSError, IndexError):  # it has ended
            continue
        children.setdefault(parent, []).append((int(place.name), n_threads))
    resident, threads, waiting = 0, 0, children.get(ancestor, [])
    while waiting:
        pid, n_threads = waiting.pop()
        waiting += children.get(pid, [])
        threads += n_threads
        try:
            pages, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
        except (OSError, ValueError):
            continue
        resident += (pages - shared) * _PAGE_BYTES
    return Usage(resident, threads)
