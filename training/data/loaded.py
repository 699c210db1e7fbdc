"""Loaded training data: the items, and counts of everything that was left out, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload

from harness.data.file_rows import Row
from harness.errors import DataError, UsageError
from training.data.records import NOT_ONLY_TEXT, BadItem

NOISE = frozenset(
    {
        "contradicting labels",
        "empty conversation",
        "empty turn",
        "equal scores",
        "equal sides",
        "no answer at the end",
        "no common prompt",
        "no question at the end",
        "roles out of order",
        "scores against the labels",
    }
)
"""Defects known in published sets, which the paper removes; adapters filter them."""

Item = TypeVar("Item")
OnBad = Literal["error", "drop"]


class Sieve:
    """Counts what is left out. An invalid row stops the loading unless `on_bad` is "drop"; a filtered one never does.

    Parameters
    ----------
    on_bad : {"error", "drop"}
        Whether an invalid row stops the loading, or is dropped and counted.

    Raises
    ------
    UsageError
        `on_bad` is neither.
    """

    def __init__(self, on_bad: OnBad = "error") -> None:
        if on_bad not in ("error", "drop"):
            raise UsageError(f"on_bad={on_bad!r}", "'error' or 'drop'")
        self.on_bad = on_bad
        self.n_rows = 0
        self.dropped: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def bad(self, row: Row, fault: BadItem) -> None:
        """Drop and count an invalid row, or stop at it; a row with images or sound is filtered.

        Raises
        ------
        FileFormatError
            `on_bad` is "error".
        """
        if fault.reason == NOT_ONLY_TEXT:
            self.leave_out(fault.reason)
            return
        if self.on_bad == "error":
            raise row.error(fault.found, fault.allowed, fault.remedy) from fault
        self.dropped[fault.reason] += 1
        self.first.setdefault(fault.reason, row.where)

    def noise(self, row: Row, fault: BadItem) -> None:
        """Filter a row with a defect known in published sets; treat any other fault as :meth:`bad` does."""
        if fault.reason in NOISE:
            self.leave_out(fault.reason)
        else:
            self.bad(row, fault)

    def leave_out(self, reason: str, n: int = 1) -> None:
        """Count rows that a filter removed."""
        if n:
            self.filtered[reason] += n


@dataclass(frozen=True)
class Loaded(Sequence[Item], Generic[Item]):
    """The items of a source, in its order.

    Parameters
    ----------
    items : tuple
        The items.
    source : str
        Name of the source.
    n_rows : int
        Rows read.
    dropped : mapping of str to int
        Invalid rows by reason (only with `on_bad="drop"`).
    filtered : mapping of str to int
        Items that filters removed, by reason: pairs for filters of pairs, rows for filters of rows.
    first : mapping of str to str
        For each reason in `dropped`, the position of the first such row.
    """

    items: tuple[Item, ...]
    source: str = ""
    n_rows: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    filtered: Mapping[str, int] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Sequence[Item], source: str, sieve: Sieve) -> Loaded[Item]:
        """Combine items and counts.

        Raises
        ------
        DataError
            There is no item.
        """
        loaded = cls(tuple(items), source, sieve.n_rows, dict(sieve.dropped), dict(sieve.filtered), dict(sieve.first))
        if not items:
            raise DataError(
                f"{source}: no items ({sieve.n_rows} rows read; {loaded.report() or 'none left out'})",
                "at least one item",
            )
        return loaded

    @property
    def n_left_out(self) -> int:
        """Everything dropped or filtered."""
        return sum(self.dropped.values()) + sum(self.filtered.values())

    def report(self) -> str:
        """Describe what was left out and why; "" where nothing was."""
        parts = [
            f"dropped {reason}: {count} (first: {Path(self.first[reason]).name})"
            for reason, count in self.dropped.items()
        ]
        parts += [f"removed {reason}: {count}" for reason, count in self.filtered.items()]
        return "; ".join(parts)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        return self.items[index]
