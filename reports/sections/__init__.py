"""The report's sections; each is behind the entry point ``assay.report_sections``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.run.compare import Comparison
from reports.blocks import Section
from reports.inputs import Inputs


@dataclass(frozen=True)
class ReportContext:
    """What a section is made from.

    Parameters
    ----------
    inputs : Inputs
        Runs, `align` directories, judge studies.
    comparison : Comparison, str or None
        Of two runs; why they cannot be compared; None where there are not two.
    decisions : sequence of mapping
        What gates decided, as `assay gate --json` prints it.
    """

    inputs: Inputs
    comparison: Comparison | str | None = None
    decisions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """A section made of a function (`harness.protocols.ReportSection`).

    Parameters
    ----------
    place : int
        Sections stand in ascending order.
    build : callable
        ``build(context)`` returns sections, none where it has nothing to say.
    """

    place: int
    build: Callable[[ReportContext], Sequence[Section]]
