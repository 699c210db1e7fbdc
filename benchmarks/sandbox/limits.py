"""Limits on what a program may use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from harness.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one program; the processor time is HumanEval's, the others are far above what solutions need.

    Processor time ends a busy program, so that the verdict does not depend on the machine's load; the wall clock ends
    one that waits.

    Parameters
    ----------
    wall_s : float
        Seconds from the program's start (not the sandbox's) to the end of its test.
    cpu_s : int
        Processor time of each of its processes; the kernel counts whole seconds.
    memory_bytes : int
        Address space of each process, and resident memory of all of them together.
    processes : int
        Processes and threads alive at once.
    file_bytes : int
        Size of any one file.
    scratch_bytes : int
        Total size of the files in the one writable directory.
    output_bytes : int
        Standard output and standard error together; more than that ends the program.
    open_files : int
        File descriptors of each process.

    Raises
    ------
    UsageError
        A limit is not positive, or one of the counts is too small for the Python interpreter itself.
    """

    wall_s: float = 30.0
    cpu_s: int = 3
    memory_bytes: int = 1 << 30
    processes: int = 32
    file_bytes: int = 16 << 20
    scratch_bytes: int = 64 << 20
    output_bytes: int = 4 << 20
    open_files: int = 128

    def __post_init__(self) -> None:
        smallest = {"memory_bytes": 64 << 20, "processes": 4, "open_files": 16}
        for name in (field.name for field in fields(self)):
            value, least = getattr(self, name), smallest.get(name, 0)
            if not value > 0 or value < least:
                raise UsageError(
                    f"the limit {name} is {value}", f"a number of at least {least}" if least else "above 0"
                )
