"""Runs in other tools' formats; each is an exporter behind the entry point ``assay.exporters``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.run.score import RunScores
from harness.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Exporter:
    """An exporter made of a function (`harness.protocols.Exporter`).

    Parameters
    ----------
    name : str
        What ``--format`` names.
    summary : str
        What it writes and what ``--out`` is, in half a sentence.
    write : callable
        ``write(directories, scores, out)`` returns the files it wrote.
    several : bool
        Whether it takes several runs at once.
    """

    name: str
    summary: str
    write: Callable[[Sequence[RunDirectory], Sequence[RunScores], Path], list[Path]]
    several: bool = False
