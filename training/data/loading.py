"""Load conversations, pairs and prompts from sources of any known layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from harness.data.file_rows import Row
from harness.data.row_sources import SourceName, source_rows
from harness.errors import DataError, UsageError
from training.data import schemas
from training.data.adapters import CONVERSATION_ADAPTERS, PAIR_ADAPTERS, adapter_of
from training.data.loaded import Item, Loaded, OnBad, Sieve
from training.data.records import BadItem, Conversation, PreferencePair, PromptItem, prompt_item

Kind = Literal["pairs", "sft", "prompts"]
Source = str | Path | Iterable[str | Path]
Reader = Callable[[Iterator[Row], str, Sieve], Iterator[Item]]


def load_conversations(
    source: Source, *, adapter: str | None = None, on_bad: OnBad = "error", name: str = ""
) -> Loaded[Conversation]:
    """Load conversations for fine-tuning.

    Parameters
    ----------
    source : str, Path or several
        JSONL, JSON or Parquet files (also .gz and .xz), directories, saved data sets, or hub ids. Options after "?"
        select a part: "ORG/NAME?split=train&subset=NAME", "FILE?adapter=NAME".
    adapter : str, optional
        The layout where the columns do not tell it; see `training.data.adapters`.
    on_bad : {"error", "drop"}
        Stop at an invalid item, or drop and count it.
    name : str
        Name of the source in tables; the file's name by default.

    Returns
    -------
    Loaded of Conversation
        In the order of the source. Rows whose `label` is false (KTO) and rows with images are filtered and counted.

    Raises
    ------
    MissingDataError, FileFormatError, UsageError
        As :func:`harness.data.row_sources.source_rows`.
    FileFormatError
        A row is invalid; the message names its line.
    UnknownNameError
        There is no such adapter.
    DataError
        Nothing is left.
    """
    read = _by_columns(schemas.as_conversation)

    def labelled(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[Conversation]:
        return read(_without_label_false(rows, sieve), label, sieve)

    def reader(chosen: str) -> Reader[Conversation]:
        return adapter_of(CONVERSATION_ADAPTERS, chosen, "adapter of conversations") if chosen else labelled

    return _load(source, reader, adapter, on_bad, name)


def load_pairs(
    source: Source,
    *,
    adapter: str | None = None,
    on_bad: OnBad = "error",
    name: str = "",
    min_margin: float = 0.0,
    max_pairs_per_prompt: int | None = None,
) -> Loaded[PreferencePair]:
    """Load preference pairs.

    Parameters
    ----------
    source, adapter, on_bad, name
        As :func:`load_conversations`.
    min_margin : float
        Pairs with a smaller difference between scores are filtered and counted; pairs without scores are kept.
    max_pairs_per_prompt : int, optional
        Pairs of a prompt after the first so many are filtered and counted.

    Returns
    -------
    Loaded of PreferencePair
        In the order of the source.

    Raises
    ------
    AssayError
        As :func:`load_conversations`.
    """
    if min_margin < 0:
        raise UsageError(f"min_margin={min_margin:g}", "0 or more, on the scale of the source's scores")
    if max_pairs_per_prompt is not None and max_pairs_per_prompt < 1:
        raise UsageError(f"max_pairs_per_prompt={max_pairs_per_prompt}", "1 or more")
    per_prompt: Counter[str] = Counter()

    def reader(chosen: str) -> Reader[PreferencePair]:
        read = (
            adapter_of(PAIR_ADAPTERS, chosen, "adapter of preference pairs") if chosen else _by_columns(schemas.as_pair)
        )

        def limited(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
            for pair in read(rows, label, sieve):
                if pair.margin is not None and pair.margin < min_margin:
                    sieve.leave_out(f"margin below {min_margin:g}")
                elif max_pairs_per_prompt is not None and per_prompt[pair.key] >= max_pairs_per_prompt:
                    sieve.leave_out(f"more than {max_pairs_per_prompt} pairs of a prompt")
                else:
                    per_prompt[pair.key] += 1
                    yield pair

        return limited

    return _load(source, reader, adapter, on_bad, name)


def load_prompts(
    source: Source, *, adapter: str | None = None, on_bad: OnBad = "error", name: str = ""
) -> Loaded[PromptItem]:
    """Load prompts to sample answers to; parameters and errors as in :func:`load_conversations`.

    Rows of conversations and pairs are accepted for their prompts. Repeated prompts are filtered and counted.
    """
    seen: set[str] = set()

    def reader(chosen: str) -> Reader[PromptItem]:
        read = _prompts_of(chosen) if chosen else _by_columns(schemas.as_prompt)

        def once(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PromptItem]:
            for item in read(rows, label, sieve):
                if item.key in seen:
                    sieve.leave_out("prompt met before")
                    continue
                seen.add(item.key)
                yield item

        return once

    return _load(source, reader, adapter, on_bad, name)


def kind_of(source: str | Path, adapter: str | None = None) -> Kind:
    """Detect what a source holds from its adapter, or from the columns of its first row.

    Returns
    -------
    {"pairs", "sft", "prompts"}
        "pairs" for chosen and rejected sides, "sft" for answers, "prompts" otherwise. An adapter that reads both pairs
        and conversations counts as one of pairs.

    Raises
    ------
    AssayError
        As :func:`load_pairs`; an empty source is a DataError.
    """
    place = SourceName.parse(str(source))
    chosen = place.adapter or adapter
    if chosen:
        adapter_of({**CONVERSATION_ADAPTERS, **PAIR_ADAPTERS}, chosen, "adapter")
        return "pairs" if chosen in PAIR_ADAPTERS else "sft"
    first = next(iter(source_rows(place)), None)
    if first is None:
        raise DataError(f"{source}: no rows", "at least one")
    columns = first.values.keys()
    if {"chosen", "rejected"} <= columns:
        return "pairs"
    answers = {"messages", "conversations", "conversation", "completion", "response", "output"}
    return "sft" if answers & columns else "prompts"


def _prompts_of(adapter: str) -> Reader[PromptItem]:
    """Read the prompts of the pairs, or else of the conversations, that an adapter reads."""
    read: Reader[Any] = adapter_of({**CONVERSATION_ADAPTERS, **PAIR_ADAPTERS}, adapter, "adapter")
    return lambda *given: map(prompt_item, read(*given))


def _load(
    source: Source, reader: Callable[[str], Reader[Item]], adapter: str | None, on_bad: OnBad, name: str
) -> Loaded[Item]:
    sources = [source] if isinstance(source, str | Path) else list(source)
    if not sources:
        raise UsageError("no source of training data", "at least one file or hub id")
    sieve = Sieve(on_bad)
    items: list[Item] = []
    for one in sources:
        place = SourceName.parse(str(one))
        read = reader(place.adapter or adapter or "")
        items += read(_counted(source_rows(place), sieve), name or place.label, sieve)
    return Loaded.of(items, name or ", ".join(str(one) for one in sources), sieve)


def _counted(rows: Iterator[Row], sieve: Sieve) -> Iterator[Row]:
    for row in rows:
        sieve.n_rows += 1
        yield row


def _without_label_false(rows: Iterator[Row], sieve: Sieve) -> Iterator[Row]:
    """Filter the rows that KTO labels as bad answers."""
    for row in rows:
        if row.values.get("label") is False:
            sieve.leave_out("label false")
        else:
            yield row


def _by_columns(convert: Callable[[Mapping[str, object], str], Item]) -> Reader[Item]:
    """Read rows whose columns tell the layout."""

    def read(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[Item]:
        for row in rows:
            try:
                item = convert(row.values, label)
            except BadItem as fault:
                sieve.bad(row, fault)
            else:
                yield item

    return read
