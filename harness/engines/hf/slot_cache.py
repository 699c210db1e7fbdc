"""A key-value cache whose rows can be added and removed.

Rows are left-padded, so every row's newest token is in the same column. Each layer owns one buffer with spare room, so
a decoding step writes one column instead of copying the whole cache. A finished row is overwritten by the last one.
Columns that only finished rows needed are dropped by moving the window's first column.

::

    column      0 . . . first . . . . . . end . . . capacity
    row 0       . . . . k k k k k k k k k | free
    row 1       . . . . - - - k k k k k k |          starts[1] = first + 3
    n_rows -->  (rows beyond are free)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_MIN_SPARE_COLUMNS = 64


@dataclass(slots=True)
class _Window:
    """State shared by all layers: rows in use, and the half-open range of columns in use."""

    n_rows: int = 0
    first: int = 0
    end: int = 0

    @property
    def width(self) -> int:
        return self.end - self.first


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's buffers: keys and values, each [row capacity, heads, column capacity, head size]."""

    is_sliding = False  # a sliding-window model applies its own mask; nothing is dropped here

    def __init__(self, window: _Window) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: Any = None
        self.values: Any = None
        self.window = window

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise NotImplementedError("a slot layer is filled by SlotCache.append before it is read")

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, first, end = self.window.n_rows, self.window.first, self.window.end
        stop = end + key_states.shape[2]
        self.keys[:rows, :, end:stop] = key_states
        self.values[:rows, :, end:stop] = value_states
        return self.keys[:rows, :, first:stop], self.values[:rows, :, first:stop]

    def get_seq_length(self) -> int:
        return self.window.width

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window.width + query_length, 0

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):
    """The cache of a changing set of rows; see the diagram above.

    Attributes
    ----------
    starts : list of int
        First column of each row, absolute; the columns before it in the window are padding.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self._slots: list[Any] = []
        self.window = _Window()
        self.starts: list[int] = []

    @property
    def n_rows(self) -> int:
        """Rows in use."""
        return self.window.n_rows

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.window.width

    def clear(self) -> None:
        """Drop all rows and free the buffers."""
        self._slots = self.layers = []
        self.starts = []
        self.window = _Window()

    def append(self, prefilled: Any, lengths: Sequence[int]) -> None:
        """Take over the rows of another cache.

        Parameters
        ----------
        prefilled : transformers DynamicCache
            Keys and values [rows, heads, columns, head size] of each layer, left-padded.
        lengths : sequence of int
            Tokens of each row, without padding.
        """
        rows, columns = len(lengths), int(prefilled.layers[0].keys.shape[2])
        window = self.window
        if not self._slots:
            self._slots = self.layers = [_SlotLayer(window) for _ in prefilled.layers]
        end = max(window.end, window.first + columns)
        self._ensure_room(prefilled.layers, window.n_rows + rows, end + 1)
        if window.end - window.first < columns:
            self._move_window(window.first + columns)
        first_free = window.n_rows
        for layer, source in zip(self._slots, prefilled.layers, strict=True):
            place = (slice(first_free, first_free + rows), slice(None), slice(window.end - columns, window.end))
            layer.keys[place] = source.keys
            layer.values[place] = source.values
        window.n_rows += rows
        self.starts += [window.end - length for length in lengths]

    def advance(self) -> None:
        """Include the column that a forward pass over one token per row has written."""
        self.window.end += 1

    def make_room_for_step(self) -> None:
        """Ensure that one more column can be written."""
        window = self.window
        if window.end < self._slots[0].keys.shape[2]:
            return
        if window.first > 0 and window.width + _spare(window.width) <= window.end:
            self._move_window(window.width)
        else:
            self._ensure_room(self._slots, window.n_rows, window.end + 1)

    def keep(self, live: Sequence[bool]) -> list[int]:
        """Drop rows and close the gaps with the last rows.

        Parameters
        ----------
        live : sequence of bool
            Whether each row stays.

        Returns
        -------
        list of int
            The old number of each remaining row.
        """
        n_live = sum(live)
        order = list(range(n_live))
        holes = [row for row in range(n_live) if not live[row]]
        movers = [row for row in range(n_live, len(live)) if live[row]]
        window = self.window
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        if holes:
            columns = slice(window.first, window.end)
            for layer in self._slots:
                layer.keys[holes, :, columns] = layer.keys[movers, :, columns]
                layer.values[holes, :, columns] = layer.values[movers, :, columns]
        self.starts = [self.starts[row] for row in order]
        window.n_rows = n_live
        if n_live:
            self.trim(range(n_live))
        else:
            window.first = window.end = 0
        return order

    def trim(self, rows: Sequence[int]) -> None:
        """Drop the columns that none of these rows (at least one) needs."""
        self.window.first = max(self.window.first, min(self.starts[row] for row in rows))

    def _move_window(self, end: int) -> None:
        """Move the columns in use so that they end at `end`; new columns on the left are padding."""
        window = self.window
        old = slice(window.first, window.end)
        new = slice(end - window.width, end)
        for layer in self._slots:
            if window.width and window.n_rows:
                layer.keys[: window.n_rows, :, new] = layer.keys[: window.n_rows, :, old].clone()
                layer.values[: window.n_rows, :, new] = layer.values[: window.n_rows, :, old].clone()
        shift = end - window.end
        self.starts = [start + shift for start in self.starts]
        # A window that moves left starts at column 0; one that moves right to make room for longer rows keeps its
        # first column and grows.
        window.first = min(window.first, new.start)
        window.end = end

    def _ensure_room(self, like: Sequence[Any], n_rows: int, n_columns: int) -> None:
        """Grow every layer's buffers to hold at least so many rows and columns."""
        for layer, source in zip(self._slots, like, strict=True):
            for name in ("keys", "values"):
                old, states = getattr(layer, name), getattr(source, name)
                rows, columns = (0, 0) if old is None else (old.shape[0], old.shape[2])
                if n_rows <= rows and n_columns <= columns:
                    continue
                shape = (
                    rows if n_rows <= rows else max(n_rows, rows + rows // 2),
                    states.shape[1],
                    columns if n_columns <= columns else n_columns + _spare(n_columns),
                    states.shape[3],
                )
                # Zeros, not uninitialised memory: a masked NaN would still make the weighted sum NaN.
                new = torch.zeros(shape, dtype=states.dtype, device=states.device)
                if old is not None:
                    new[: self.n_rows, :, self.window.first : self.window.end] = old[
                        : self.n_rows, :, self.window.first : self.window.end
                    ]
                setattr(layer, name, new)


def _spare(n_columns: int) -> int:
    return max(_MIN_SPARE_COLUMNS, n_columns // 4)
