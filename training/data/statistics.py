"""The statistics of the paper's Table 5: numbers of pairs and prompts, and their lengths in tokens.

References
----------
Dong et al. (2024), RLHF Workflow: From Reward Modeling to Online RLHF, arXiv:2405.07863, appendix B.1, Table 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from harness.errors import DataError, ModelError
from harness.messages import Message
from harness.progress import NoProgress, Progress
from training.data.loaded import Loaded
from training.data.records import Conversation, PreferencePair, Record
from training.models import loading

BATCH = 1000


class Tokenizer(Protocol):
    """Counts tokens: a transformers tokenizer, or a callable with its signature."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Mapping[str, Any]:
        """Tokenise texts; "input_ids" has a list of ids for each."""
        ...


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens over items, as in the paper: mean, median, 95th percentile, longest."""

    mean: float
    p50: float
    p95: float
    max: int


@dataclass(frozen=True, slots=True)
class DataStatistics:
    """The statistics of one source.

    Parameters
    ----------
    source : str
        Its name.
    kind : {"pairs", "conversations", "prompts"}
        What it holds.
    n_items, n_prompts : int
        Items, and distinct prompts among them.
    lengths : mapping of str to Lengths
        "prompt", "chosen" and "rejected" for pairs; "prompt" and "answer" for conversations; "prompt" for prompts.
        Tokens of the messages' texts, without special tokens and chat template. The answer of a conversation is all its
        assistant turns, the prompt all others.
    chosen_longer : float or None
        Share of pairs whose chosen side is longer, equal lengths counting half; None unless pairs.
    left_out : mapping of str to int
        Items left out by loading, by reason.
    """

    source: str
    kind: str
    n_items: int
    n_prompts: int
    lengths: Mapping[str, Lengths] = field(default_factory=dict)
    chosen_longer: float | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give the figures as JSON values."""
        return asdict(self)


class TokenCounter:
    """Counts the tokens of texts, tokenising each distinct text once.

    Parameters
    ----------
    tokenizer : Tokenizer
        The tokenizer.
    progress : Progress, optional
        Advanced by each batch of texts.
    """

    def __init__(self, tokenizer: Tokenizer, progress: Progress | None = None) -> None:
        self._tokenizer = tokenizer
        self._progress = progress or NoProgress()
        self._counts: dict[str, int] = {}

    def count(self, texts: Iterable[str]) -> Mapping[str, int]:
        """Count tokens; the mapping has every text counted so far."""
        new = [text for text in dict.fromkeys(texts) if text not in self._counts]
        starts = range(0, len(new), BATCH)
        self._progress.start("tokens", len(starts))
        for start in starts:
            batch = new[start : start + BATCH]
            ids = self._tokenizer(batch, add_special_tokens=False)["input_ids"]
            self._counts.update((text, len(found)) for text, found in zip(batch, ids, strict=True))
            self._progress.advance("tokens")
        return self._counts


def data_statistics(
    items: Loaded[Any] | Sequence[Record],
    tokenizer: Tokenizer | TokenCounter | None = None,
    source: str = "",
) -> DataStatistics:
    """Count items, prompts and tokens.

    Parameters
    ----------
    items : Loaded, or sequence of one kind of record
        The data.
    tokenizer : Tokenizer or TokenCounter, optional
        Counts tokens; there are no lengths without one. Share one counter among calls to count each text once.
    source : str
        Name of the row; the source of the items by default.

    Raises
    ------
    DataError
        There are no items.
    """
    if not items:
        raise DataError("no items to compute statistics of", "at least one")
    left_out = {**items.dropped, **items.filtered} if isinstance(items, Loaded) else {}
    names = {item.source for item in items}
    name = source or (names.pop() if len(names) == 1 else f"{len(names)} sources")
    n_prompts = len({item.prompt_key for item in items})
    lengths, longer = _token_lengths(items, tokenizer) if tokenizer is not None else ({}, None)
    return DataStatistics(name, _kind(items[0]), len(items), n_prompts, lengths, longer, left_out)


def _token_lengths(
    items: Sequence[Record], tokenizer: Tokenizer | TokenCounter
) -> tuple[dict[str, Lengths], float | None]:
    """Lengths of each part, and the share of pairs whose chosen side is the longer one."""
    counter = tokenizer if isinstance(tokenizer, TokenCounter) else TokenCounter(tokenizer)
    parts = [_parts(item) for item in items]
    counts = counter.count(text for item in parts for texts in item.values() for text in texts)

    def total(part: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([sum(counts[text] for text in item[part]) for item in parts], dtype=np.int64)

    sums = {part: total(part) for part in parts[0]}
    lengths = {part: _lengths(values) for part, values in sums.items()}
    if "chosen" not in sums:
        return lengths, None
    difference = sums["chosen"] - sums["rejected"]
    return lengths, float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def statistics_table(rows: Iterable[DataStatistics]) -> tuple[list[str], list[list[str]]]:
    """Lay out rows as in the paper's Table 5, with median and 95th percentile behind each mean.

    Returns
    -------
    (list of str, list of list of str)
        Column names and cells; lengths as "mean (p50, p95)", or "-".
    """
    rows = list(rows)
    parts = [part for part in ("prompt", "chosen", "rejected", "answer") if any(part in row.lengths for row in rows)]
    columns = ["source", "kind", "items", "prompts", *(f"{part} len." for part in parts), "chosen longer", "left out"]
    return columns, [
        [
            row.source,
            row.kind,
            str(row.n_items),
            str(row.n_prompts),
            *(_length_cell(row.lengths.get(part)) for part in parts),
            "-" if row.chosen_longer is None else f"{100 * row.chosen_longer:.1f} %",
            ", ".join(f"{reason} {count}" for reason, count in row.left_out.items()) or "0",
        ]
        for row in rows
    ]


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Load a tokenizer from a directory or the hub.

    Raises
    ------
    ModelError
        There is none.
    """
    from transformers import AutoTokenizer

    if str(path).startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
        raise ModelError(f"there is no directory {path}", "a tokenizer's directory, or a hub id", "check the path")
    with loading(f"{path}: no tokenizer can be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(str(Path(path).expanduser() if Path(path).exists() else path))
    tokenizer.model_max_length = 10**9  # texts are only counted, so their length is no reason to warn
    return cast(Tokenizer, tokenizer)


def _kind(item: Record) -> str:
    if isinstance(item, PreferencePair):
        return "pairs"
    return "conversations" if isinstance(item, Conversation) else "prompts"


def _parts(item: Record) -> dict[str, list[str]]:
    if isinstance(item, PreferencePair):
        return {"prompt": _texts(item.prompt), "chosen": _texts(item.chosen), "rejected": _texts(item.rejected)}
    if isinstance(item, Conversation):
        answers = [message for message in item.messages if message.role == "assistant"]
        others = [message for message in item.messages if message.role != "assistant"]
        return {"prompt": _texts(others), "answer": _texts(answers)}
    return {"prompt": _texts(item.messages)}


def _texts(messages: Iterable[Message]) -> list[str]:
    return [message.content for message in messages]


def _lengths(values: np.ndarray[Any, np.dtype[np.int64]]) -> Lengths:
    p50, p95 = np.percentile(values, [50, 95])
    return Lengths(float(values.mean()), float(p50), float(p95), int(values.max()))


def _length_cell(lengths: Lengths | None) -> str:
    return "-" if lengths is None else f"{lengths.mean:.1f} ({lengths.p50:.0f}, {lengths.p95:.0f})"
