"""Held-out splits by prompt that are stable when data is added, and seeded shuffles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np

from harness.errors import DataError, UsageError
from harness.hashing import content_hash
from training.data.records import Record

RecordType = TypeVar("RecordType", bound=Record)
Anything = TypeVar("Anything")
SplitBy = Literal["opening", "prompt"]


@dataclass(frozen=True, slots=True)
class Split(Generic[RecordType]):
    """Two sides that share no prompt, each in the order of the data."""

    train: tuple[RecordType, ...]
    held_out: tuple[RecordType, ...]


def split_key(item: Record, by: SplitBy = "opening") -> str:
    """Hash the part of an item that must be on one side of a split only.

    Parameters
    ----------
    item : Conversation, PreferencePair or PromptItem
        The item.
    by : {"opening", "prompt"}
        "opening": the first user turn, ignoring case and spacing. It keeps the turns of one conversation together,
        which are separate rows in sets such as HH-RLHF. "prompt": the whole prompt.
    """
    if by == "prompt":
        return item.prompt_key
    opening = next(message.content for message in item.prompt if message.role == "user")
    return content_hash("opening", " ".join(opening.casefold().split()))


def hold_out(items: Iterable[RecordType], share: float, *, seed: int = 0, by: SplitBy = "opening") -> Split[RecordType]:
    """Hold out about a share of the prompts, with all items that have them.

    A prompt's side depends on its text and the seed only. Adding, removing or reordering data moves no prompt to the
    other side, and a larger share holds out all prompts of a smaller one.

    Parameters
    ----------
    items : iterable of one kind of record
        The data.
    share : float
        Between 0 and 1, both excluded.
    seed : int
        Seed of the choice.
    by : {"opening", "prompt"}
        What identifies a prompt; see :func:`split_key`.

    Raises
    ------
    UsageError
        `share` or `by` is out of range.
    DataError
        A side is empty.
    """
    if not 0 < share < 1:
        raise UsageError(f"a held-out share of {share:g}", "between 0 and 1, both excluded")
    if by not in ("opening", "prompt"):
        raise UsageError(f"by={by!r}", "'opening' or 'prompt'")
    train: list[RecordType] = []
    held_out: list[RecordType] = []
    keys: set[str] = set()
    for item in items:
        key = split_key(item, by)
        keys.add(key)
        (held_out if _position(key, seed) < share else train).append(item)
    if not train or not held_out:
        side = "held-out" if train else "training"
        raise DataError(
            f"the {side} side is empty: {len(keys)} prompts, {100 * share:g} % held out",
            "prompts on both sides",
            "hold out another share, choose another seed, or name held-out files",
        )
    return Split(tuple(train), tuple(held_out))


def shuffled(items: Sequence[Anything], seed: int) -> list[Anything]:
    """Put items in a random order that depends on the seed and their number."""
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


def _position(key: str, seed: int) -> float:
    """Map a key to [0, 1), evenly."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
