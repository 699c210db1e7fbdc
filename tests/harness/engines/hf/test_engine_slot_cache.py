"""The slot cache against a plain list of rows, over random comings and goings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.cache_utils import DynamicCache

from harness.engines.hf.slot_cache import SlotCache

HEADS, KEY_SIZE, VALUE_SIZE, LAYERS = 2, 3, 5, 2


class Model:
    """Every row is the list of the numbers written for it; what a layer must show follows from that."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self.next = 1.0

    def prefill(self, lengths: list[int]) -> DynamicCache:
        new = [[self.number() for _ in range(length)] for length in lengths]
        self.rows += new
        width = max(lengths)
        padded = torch.tensor([[-9.0] * (width - len(row)) + row for row in new])
        cache = DynamicCache()
        for layer in range(LAYERS):
            cache.update(*self.states(padded, layer), layer)
        return cache

    def step(self) -> torch.Tensor:
        for row in self.rows:
            row.append(self.number())
        return torch.tensor([[row[-1]] for row in self.rows])

    def number(self) -> float:
        self.next += 1
        return self.next

    @staticmethod
    def states(numbers: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        base = (numbers + layer / 2)[:, None, :, None]
        return base.expand(-1, HEADS, -1, KEY_SIZE), -base.expand(-1, HEADS, -1, VALUE_SIZE)


def check(cache: SlotCache, model: Model, shown: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    assert cache.n_rows == len(model.rows) == len(cache.starts)
    for layer, (keys, values) in enumerate(shown):
        assert keys.shape == (len(model.rows), HEADS, cache.width, KEY_SIZE)
        assert values.shape == (len(model.rows), HEADS, cache.width, VALUE_SIZE)
        assert torch.isfinite(keys).all() and torch.isfinite(values).all()
        for row, start, k, v in zip(model.rows, cache.starts, keys, values, strict=True):
            visible = row[-(cache.window.end - max(start, cache.window.first)) :]
            want = torch.tensor(visible) + layer / 2
            assert torch.equal(k[1, -len(visible) :, 2], want) and torch.equal(v[0, -len(visible) :, 4], -want)


def step(cache: SlotCache, model: Model) -> list[tuple[torch.Tensor, torch.Tensor]]:
    cache.make_room_for_step()
    width, numbers = cache.width, model.step()
    assert cache.get_seq_length() == width and cache.get_mask_sizes(1, 0) == (width + 1, 0)
    shown = [cache.update(*model.states(numbers, layer), layer) for layer in range(LAYERS)]
    cache.advance()
    return shown


@pytest.mark.parametrize("seed", range(8))
def test_random_comings_and_goings(seed):
    rng = np.random.default_rng(seed)
    cache, model = SlotCache(), Model()
    for _ in range(60):
        action = rng.random()
        if not model.rows or action < 0.2:
            lengths = rng.integers(1, 90, size=int(rng.integers(1, 5))).tolist()
            cache.append(model.prefill(lengths), lengths)
        elif action < 0.4:
            live = (rng.random(len(model.rows)) < 0.6).tolist()
            order = cache.keep(live)
            assert sorted(order) == [row for row, stays in enumerate(live) if stays]
            model.rows = [model.rows[row] for row in order]
            if model.rows:
                assert cache.width == max(len(row) for row in model.rows)
        if model.rows:
            for _ in range(int(rng.integers(1, 30))):
                shown = step(cache, model)
            check(cache, model, shown)


def test_a_row_that_is_done_keeps_its_place_but_not_its_columns():
    cache, model = SlotCache(), Model()
    cache.append(model.prefill([50, 4]), [50, 4])
    cache.trim([1])
    assert cache.width == 4 and cache.n_rows == 2
    check(cache, model, step(cache, model))


def test_columns_are_used_again_without_growing():
    cache, model = SlotCache(), Model()
    cache.append(model.prefill([8, 8]), [8, 8])
    for _ in range(40):  # the first row leaves, another comes, for ever
        for _ in range(8):
            step(cache, model)
        model.rows = [model.rows[row] for row in cache.keep([False, True])]
        cache.append(model.prefill([8]), [8])
    assert cache._slots[0].keys.shape[2] <= 8 + 16 + 2 * 64


def test_clear_frees_everything():
    cache, model = SlotCache(), Model()
    cache.append(model.prefill([3]), [3])
    cache.clear()
    assert (cache.n_rows, cache.width, len(cache.layers), cache.starts) == (0, 0, 0, [])
