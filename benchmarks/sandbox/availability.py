"""Which sandbox can be had here, found out by using it."""

from __future__ import annotations

import functools
import os
import shutil
import sys

from benchmarks.sandbox.host import execute
from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import NotAvailable, Program, SandboxKind

__all__ = ["available", "candidates"]

# What a sandbox has to be able to do: run a program, refuse it the files of others, let it use its scratch directory
# and start a process.
_PROBE = Program(
    source="""
import os, threading

def probe():
    open("file", "w").write("x")
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    writable = [place for place in ("/", "/usr", "/lib", os.path.dirname(os.__file__)) if os.access(place, os.W_OK)]
    return (os.listdir("."), writable, os.path.exists("/root/.ssh") or os.path.exists("/etc/passwd"))
""",
    test="assert probe() == (['file'], [], False), probe()",
)
_PROBE_LIMITS = Limits(wall_s=10.0)


def candidates() -> list[SandboxKind]:
    """The kinds worth trying here, best first.

    The superuser's sandbox comes before that in a user namespace: programs then run as users of their own, whose
    processes the kernel counts, and cannot make user namespaces in turn.
    """
    if sys.platform != "linux":
        return []
    tries = [False, True] if os.geteuid() == 0 else [True]
    found: list[SandboxKind] = []
    if shutil.which("bwrap"):
        found += [
            SandboxKind("bubblewrap", user_namespace, nested) for user_namespace in tries for nested in (True, False)
        ]
    return found + [SandboxKind("namespaces", user_namespace) for user_namespace in tries]


@functools.cache
def available() -> SandboxKind | NotAvailable:
    """Find the best sandbox that works here, by running a small program in it; asked once per process.

    Returns
    -------
    SandboxKind or NotAvailable
        The latter with what was tried and how it failed.
    """
    kinds = candidates()
    if not kinds:
        return NotAvailable(f"programs are confined with Linux namespaces, and this is {sys.platform}")
    failures = [] if shutil.which("bwrap") else ["bubblewrap: bwrap is not installed"]
    for kind in kinds:
        outcome = execute(_PROBE, _PROBE_LIMITS, kind)
        if outcome.passed:
            return kind
        failures.append(f"{kind}: {outcome.status}, {outcome.reason}")
    return NotAvailable("; ".join(failures))
