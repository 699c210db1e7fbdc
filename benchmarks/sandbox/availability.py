"""Which kind of sandbox works on this machine, found out by running a program in it."""

from __future__ import annotations

import functools
import os
import shutil
import sys

from benchmarks.sandbox.limits import Limits
from benchmarks.sandbox.program import NotAvailable, Program, SandboxKind
from benchmarks.sandbox.worker import Sandbox

# A working sandbox runs a program, hides other people's files, and allows threads and writing to scratch.
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
    """List the kinds worth trying here, best first.

    As the superuser, a sandbox without a user namespace comes first: each program then runs as a user of its own, whose
    processes the kernel counts, and cannot create user namespaces itself.
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
    """Find the best kind of sandbox that works here; cached for the life of the process.

    Returns
    -------
    SandboxKind or NotAvailable
        The latter names each kind that was tried and how it failed.
    """
    kinds = candidates()
    if not kinds:
        return NotAvailable(f"programs are confined with Linux namespaces, and this is {sys.platform}")
    failures = [] if shutil.which("bwrap") else ["bubblewrap: bwrap is not installed"]
    for kind in kinds:
        with Sandbox(kind) as sandbox:
            outcome = sandbox.run(_PROBE, _PROBE_LIMITS)
        if outcome.passed:
            return kind
        failures.append(f"{kind}: {outcome.status}, {outcome.reason}")
    return NotAvailable("; ".join(failures))
