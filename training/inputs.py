"""The records of a stage: read from files or passed from Python, some held out by prompt, all of them hashed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from harness.errors import DataError, SpecError
from harness.hashing import canonical_json
from training.data.loading import load_conversations, load_pairs
from training.data.records import Conversation, PreferencePair
from training.data.splitting import split_key
from training.recipe import TrainingRecipe

Record = TypeVar("Record", Conversation, PreferencePair)

Data: TypeAlias = Sequence[Record] | Sequence[str | Path] | str | Path | None
"""Records, or files and hub ids to read them from, or None for those the recipe names."""


@dataclass(frozen=True)
class Inputs(Generic[Record]):
    """The training and held-out records of a stage.

    Parameters
    ----------
    train, held_out : tuple of records
        No prompt is in both.
    left_out : counter
        Records the loaders left out, by reason, and training records whose prompt is held out.
    """

    train: tuple[Record, ...]
    held_out: tuple[Record, ...]
    left_out: Counter[str] = field(default_factory=Counter)

    def identity(self) -> dict[str, Any]:
        """Hashes of the records, in order."""
        return {"data": _digest(self.train), "held_out": _digest(self.held_out)}


def conversation_inputs(recipe: TrainingRecipe, data: Data[Any], held_out: Data[Any]) -> Inputs[Conversation]:
    """Get the conversations of a stage; `data` and `held_out` take precedence over the recipe.

    Raises
    ------
    AssayError
        A file is missing or has an invalid record; the message says where.
    """
    return _inputs(recipe, data, held_out, load_conversations)


def pair_inputs(recipe: TrainingRecipe, data: Data[Any], held_out: Data[Any]) -> Inputs[PreferencePair]:
    """Get the preference pairs of a stage, as :func:`conversation_inputs` does."""
    return _inputs(recipe, data, held_out, load_pairs)


def _inputs(recipe: TrainingRecipe, data: Any, held_out: Any, load: Callable[..., Any]) -> Inputs[Any]:
    left_out: Counter[str] = Counter()
    load = partial(load, on_bad=recipe.on_bad_item)
    train = _records(recipe.data if data is None else data, load, left_out)
    if not train:
        raise SpecError(
            "no training data",
            "files or hub ids of the records, or records passed from Python",
            "name them in data",
        )
    kept_out = _records(recipe.held_out if held_out is None else held_out, load, Counter())
    if kept_out:
        train, n_given = _without_prompts(train, kept_out), len(train)
        left_out["its prompt is held out"] += n_given - len(train)
    elif recipe.held_out_share:
        train, kept_out = _split(train, recipe.held_out_share, recipe.seed)
    if not train:
        raise DataError("every training record's prompt is held out", remedy="check data and held_out")
    return Inputs(tuple(train), tuple(kept_out), +left_out)


def _without_prompts(records: list[Any], kept_out: list[Any]) -> list[Any]:
    known = {record.prompt_key for record in kept_out}
    return [record for record in records if record.prompt_key not in known]


def _records(given: Any, load: Callable[..., Any], left_out: Counter[str]) -> list[Any]:
    sources: Sequence[Any] = [given] if isinstance(given, str | Path) else (given or ())
    found: list[Any] = []
    for item in sources:
        if isinstance(item, str | Path):
            loaded = load(str(item))
            left_out.update(loaded.dropped)
            left_out.update(loaded.filtered)
            found.extend(loaded)
        else:
            found.append(item)
    return found


def _split(records: list[Any], share: float, seed: int) -> tuple[list[Any], list[Any]]:
    """Hold out a share of the prompts, at least one, with all their records.

    Prompts are identified by their opening turn (`training.data.split_key`), because the prompt of a later turn of a
    conversation contains its earlier turns.
    """
    prompts = sorted({split_key(record) for record in records})
    if len(prompts) < 2:
        raise DataError("only one prompt, so none can be held out", "two prompts or more")
    n = min(max(1, round(share * len(prompts))), len(prompts) - 1)
    chosen = {prompts[i] for i in np.random.default_rng(seed).permutation(len(prompts))[:n]}
    kept_out = [split_key(record) in chosen for record in records]
    return (
        [record for record, out in zip(records, kept_out, strict=True) if not out],
        [record for record, out in zip(records, kept_out, strict=True) if out],
    )


def _digest(records: Sequence[Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for record in records:
        row = canonical_json(record.as_row())
        digest.update(row.encode("utf-8", "surrogatepass") + b"\n")
    return {"n": len(records), "sha256": digest.hexdigest()}
