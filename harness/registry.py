"""Plug-ins: benchmarks, judges and engines are found by entry points, the project's own by the same door.

::

    [project.entry-points."assay.benchmarks"]
    my_bench = "my_package.my_bench:MyBench"
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.errors import AssayError, UnknownNameError

__all__ = ["load", "names"]

_KINDS = {
    "benchmark": "assay.benchmarks",
    "judge": "assay.judges",
    "judge form": "assay.judge_forms",
    "engine": "assay.engines",
    "importer": "assay.importers",
    "suite": "assay.suites",
    "training stage": "assay.stages",
}


@cache
def _found(kind: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=_KINDS[kind]):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise AssayError(
                f"two installed packages offer the {kind} {point.name!r}: {other.value} and {point.value}",
                remedy="uninstall one of them",
            )
    return found


def names(kind: str) -> list[str]:
    """List the registered names of a kind ("benchmark", "suite", "judge", "judge form", ...)."""
    return sorted(_found(kind))


def load(kind: str, name: str) -> Any:
    """Import what a name stands for.

    Raises
    ------
    UnknownNameError
        Nothing of that name is registered.
    AssayError
        It is registered but cannot be imported.
    """
    found = _found(kind)
    if name not in found:
        raise UnknownNameError(kind, name, found, "install the package that offers it")
    try:
        return found[name].load()
    except ImportError as error:
        raise AssayError(
            f"the {kind} {name!r} ({found[name].value}) cannot be imported: {error}",
            remedy=f"install what it needs, for example `pip install 'assay[{name}]'`, or choose another {kind}",
        ) from error
