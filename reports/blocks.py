"""The parts of a report, independent of the format: page, Markdown or files.

Everything in them is plain text; each renderer escapes it for its own format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from reports.charts import Chart, SampleFilter

Tone = Literal["pass", "fail", "undecided", "invalid", "info"]


def limits(low: float | None, high: float | None, form: str = ".2f") -> str:
    """An interval in words; "" where there is none."""
    return "" if low is None or high is None else f"{low:{form}} to {high:{form}}"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Parameters
    ----------
    text : str
        The main text.
    small : str
        Smaller text below it, for example an interval.
    samples : SampleFilter or None
        The samples behind it.
    tone : str
        "", "pass", "fail", "undecided", "invalid" or "muted".
    """

    text: str
    small: str = ""
    samples: SampleFilter | None = None
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Parameters
    ----------
    caption : str
        What it shows.
    columns : sequence of str
        Headers; one that ends in "#" marks a numeric column.
    rows : sequence of sequence of Cell
        One cell per column; the first is the header of the row.
    folded : bool
        Whether the page shows it collapsed.
    summary : bool
        Whether the Markdown summary includes it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    summary: bool = False

    @property
    def headers(self) -> list[tuple[str, bool]]:
        """Headers, each with whether its column is numeric."""
        return [(name.removesuffix("#"), name.endswith("#")) for name in self.columns]


@dataclass(frozen=True)
class Figure:
    """A chart with its name.

    Parameters
    ----------
    name : str
        File name of the picture, and id in the page; letters, digits and hyphens.
    caption : str
        What the chart shows, in words, for readers who cannot see it.
    chart : Chart
        The chart.
    samples : SampleFilter or None
        The samples behind it.
    """

    name: str
    caption: str
    chart: Chart
    samples: SampleFilter | None = None


@dataclass(frozen=True)
class Statement:
    """Something decided or found, in words, with a tone."""

    tone: Tone
    head: str
    text: str = ""
    items: Sequence[str] = ()


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    text: str


Block = Table | Figure | Statement | Note


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Parameters
    ----------
    name : str
        Its id.
    title : str
        Its heading.
    blocks : sequence of Block
        What is in it.
    """

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A report.

    Parameters
    ----------
    title : str
        Its name.
    subtitle : str
        What the report covers.
    sections : sequence of Section
        In order.
    samples : mapping
        The sample browser's data (`reports.samples`); empty where there are none.
    made_by : str
        The program and version that made it.
    models : sequence of str
        Models in the order of their colours, which are the same in all charts.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    samples: Mapping[str, Any] = field(default_factory=dict)
    made_by: str = ""
    models: Sequence[str] = ()

    @property
    def slots(self) -> dict[str, int]:
        """The place of each model's colour."""
        return {name: slot for slot, name in enumerate(dict.fromkeys(self.models))}

    @property
    def figures(self) -> list[Figure]:
        """All figures in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Figure)]
