"""Memory and number of a sandbox's processes, read from /proc.

No resource limit covers the memory of all processes together, and the limit on their number does not bind the
superuser. A control group would count both exactly, but most users may not create one. Reading /proc needs no
privilege, and costs nothing for programs that end before the first check.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY_S = 0.1
"""Between two checks a program can use as much memory as it can write in this time."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a set of processes uses.

    Parameters
    ----------
    resident_bytes : int
        Memory without files; pages shared between a process and its parent count in both.
    n_threads : int
        Threads, at least one per process.
    """

    resident_bytes: int
    n_threads: int


def usage(ancestor: int) -> Usage:
    """Add up the descendants of a process; zero on a system without /proc.

    Parameters
    ----------
    ancestor : int
        Their common ancestor, which is not counted.
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
