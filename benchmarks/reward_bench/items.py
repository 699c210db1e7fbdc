"""RewardBench's items from upstream's files, or from files of the same schema.

Version 1   allenai/reward-bench, split "filtered": prompt, chosen, rejected, subset, id
Prior sets  allenai/preference-test-sets, one file a set: prompt (a list of messages), chosen, rejected
Version 2   allenai/reward-bench-2: id, prompt, chosen (list), rejected (list), num_correct, subset
LLMBar      princeton-nlp/LLMBar, Natural: input, output_1, output_2, label; the subset `llmbar-natural` of version 1

An item is a prompt whose answers stand in its `meta`, the right ones first: ``answers``, ``n_right``, and where the
conversation has earlier answers in it, ``messages``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reward_bench.sections import SECTIONS_V1
from harness.errors import DataError, FileFormatError, MissingDataError
from harness.hashing import file_sha256
from harness.messages import Message
from harness.protocols import DataSource
from harness.records import Prompt
from harness.store.jsonl import read_json, read_jsonl

__all__ = ["PRIOR_SETS", "SUBSETS_V2", "Source", "answers_of", "conversation", "read_items", "read_llmbar"]

PRIOR_SETS = ("anthropic_helpful", "anthropic_hhh", "shp", "summarize")
"""The prior sets that make upstream's fifth section, each of equal weight."""

SUBSETS_V2: Mapping[str, str] = {
    "Factuality": "factuality",
    "Precise IF": "precise_if",
    "Math": "math",
    "Safety": "safety",
    "Focus": "focus",
    "Ties": "ties",
}
"""Upstream's names of version 2's subsets, and the metrics'."""

_SUBSETS_V1 = tuple(name for section in SECTIONS_V1.values() for name in section)
_LLMBAR = "llmbar-natural"
_LLMBAR_FILE = "judge_meta/llmbar/Dataset/LLMBar/Natural/dataset.json"
_SUFFIXES = (".parquet", ".jsonl", ".json")
_FIELDS_V1 = "prompt, chosen, rejected, subset, id"
_FIELDS_PRIOR = "prompt, chosen, rejected"
_FIELDS_V2 = "id, prompt, chosen, rejected, num_correct, subset"
_FIELDS_LLMBAR = "input, output_1, output_2, label (1 or 2)"


@dataclass(frozen=True)
class Source:
    """Where items come from, and how they are named.

    Parameters
    ----------
    benchmark, version : str
        Of the prompts.
    files : mapping of str to str or None
        Name in the catalogue to the subset its rows belong to; None where the rows say it.
    wanted : tuple of str
        Subsets that are read; empty for all.
    own : Path or None
        A file or directory of the user's in place of the catalogue's files.
    """

    benchmark: str
    version: str
    files: Mapping[str, str | None]
    wanted: tuple[str, ...] = ()
    own: Path | None = None


@dataclass
class _Reading:
    """One file's rows becoming prompts."""

    source: Source
    path: Path
    version: str
    subset: str | None
    per_subset: dict[str, int] = field(default_factory=dict)
    per_key: dict[str, int] = field(default_factory=dict)

    def distinct(self, key: str) -> str:
        """Number the second and further items of a name, which a file of the user's may repeat."""
        self.per_key[key] = self.per_key.get(key, 0) + 1
        return key if self.per_key[key] == 1 else f"{key}#{self.per_key[key]}"

    def place(self, subset: str) -> int:
        """Count a row of a subset; the first is 0."""
        self.per_subset[subset] = self.per_subset.get(subset, -1) + 1
        return self.per_subset[subset]


def read_items(source: Source, data: DataSource) -> list[Prompt]:
    """Read a benchmark's items in the files' order.

    Parameters
    ----------
    source : Source
        Which.
    data : DataSource
        Upstream's files.

    Returns
    -------
    list of Prompt

    Raises
    ------
    MissingDataError
        A file is not there.
    FileFormatError
        A row lacks a field, or a field is not what it should be.
    """
    prompts = [prompt for reading in _readings(source, data) for prompt in _prompts(reading)]
    if not prompts:
        where = source.own or ", ".join(source.files)
        raise DataError(
            f"{where} holds no item of {', '.join(source.wanted) or source.benchmark}", "at least one", "check the file"
        )
    return prompts


def read_llmbar(path: Path) -> list[Prompt]:
    """Read LLMBar's items, or an evaluator's results, which repeat them, as items of `llmbar-natural`.

    Raises
    ------
    FileFormatError
        An item lacks a field, or a field is not what it should be.
    """
    reading = _Reading(Source("reward_bench", "1", {}), path, "1", None)
    return [_llmbar(reading, number, row) for number, row in _rows(path)]


def conversation(prompt: Prompt) -> tuple[Message, ...]:
    """Write an item's conversation up to the answers that are judged."""
    earlier = prompt.meta.get("messages")
    if earlier is not None:
        return tuple(Message(m["role"], m["content"]) for m in earlier)
    return (Message("user", prompt.turns[0]),)


def answers_of(prompt: Prompt) -> tuple[str, ...]:
    """Take an item's answers, the right ones first; empty for an item whose answers are not known (imports)."""
    return tuple(prompt.meta.get("answers", ()))


def _readings(source: Source, data: DataSource) -> Iterator[_Reading]:
    if source.own is not None:
        for path in _own_files(source.own):
            # The user's own items are no version of upstream's, so that no run of others is compared with them.
            yield _Reading(source, path, f"{source.version}+{file_sha256(path)[:8]}", None)
        return
    for name, subset in source.files.items():
        try:
            yield _Reading(source, data.path(name), source.version, subset)
        except MissingDataError as error:
            found = data.local(_LLMBAR_FILE) if source.wanted == (_LLMBAR,) else None
            if found is None:
                raise _with_advice(error) from error
            yield _Reading(source, found, source.version, None)


def _with_advice(error: MissingDataError) -> MissingDataError:
    own = "or give files of the same schema: --benchmark-option NAME.data=PATH, NAME being what --benchmark names"
    return MissingDataError(error.found, error.allowed, f"{error.remedy}; {own}" if error.remedy else own)


def _own_files(own: Path) -> list[Path]:
    """List the data files of a path the user gave."""
    path = own.expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingDataError(
            f"there is no file or directory {path}", "parquet, jsonl or json files", "check the option data"
        )
    if (path / "dataset.json").is_file():
        return [path / "dataset.json"]
    found = [p for place in (path, path / "data") if place.is_dir() for p in sorted(place.iterdir())]
    files = [p for p in found if p.suffix in _SUFFIXES]
    # A clone of upstream's repository holds the unfiltered items as well.
    filtered = [p for p in files if p.name.startswith("filtered")]
    if not files:
        raise MissingDataError(
            f"{path} holds no data file", "files ending in " + ", ".join(_SUFFIXES), "check the option data"
        )
    return filtered or files


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a file's rows, numbered from 1."""
    if path.suffix == ".jsonl":
        yield from read_jsonl(path)
        return
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        try:
            rows: Any = parquet.read_table(path).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise FileFormatError(path, None, f"not a parquet file: {error}") from error
    else:
        rows = read_json(path)
    if not isinstance(rows, list):
        raise FileFormatError(path, None, f"a JSON {type(rows).__name__}", "a list of items")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise FileFormatError(path, number, f"item {number} is a {type(row).__name__}", "an object")
        yield number, row


def _prompts(reading: _Reading) -> Iterator[Prompt]:
    read: Callable[[_Reading, int, Mapping[str, Any]], Prompt | None]
    if reading.source.benchmark == "reward_bench_2":
        read = _version_2
    elif reading.subset is not None:
        read = _prior_set
    else:
        read = _version_1
    for number, row in _rows(reading.path):
        reader = _llmbar if read is _version_1 and {"output_1", "output_2"} <= set(row) else read
        prompt = reader(reading, number, row)
        if prompt is not None:
            yield prompt


def _version_1(reading: _Reading, number: int, row: Mapping[str, Any]) -> Prompt | None:
    subset = _text(reading, number, row, "subset", _FIELDS_V1)
    if subset not in _SUBSETS_V1:
        raise FileFormatError(
            reading.path, number, f"unknown subset {subset!r} in field 'subset'", "one of " + ", ".join(_SUBSETS_V1)
        )
    place = reading.place(subset)
    if reading.source.wanted and subset not in reading.source.wanted:
        return None
    answers = [_text(reading, number, row, name, _FIELDS_V1) for name in ("chosen", "rejected")]
    identifier = _field(reading, number, row, "id", _FIELDS_V1)
    # The six languages have the same problems in the same order.
    cluster = f"humaneval-{place}" if subset.startswith("hep-") else ""
    return _prompt(
        reading,
        number,
        f"{subset}/{identifier}",
        subset,
        _messages(reading, number, row, _FIELDS_V1),
        answers,
        1,
        cluster,
    )


def _prior_set(reading: _Reading, number: int, row: Mapping[str, Any]) -> Prompt | None:
    subset = reading.subset or ""
    if reading.source.wanted and subset not in reading.source.wanted:
        return None
    answers = [_text(reading, number, row, name, _FIELDS_PRIOR) for name in ("chosen", "rejected")]
    messages = _messages(reading, number, row, _FIELDS_PRIOR)
    return _prompt(reading, number, f"{subset}/{reading.place(subset)}", subset, messages, answers, 1)


def _version_2(reading: _Reading, number: int, row: Mapping[str, Any]) -> Prompt | None:
    named = _text(reading, number, row, "subset", _FIELDS_V2)
    subset = SUBSETS_V2.get(named) or (named if named in SUBSETS_V2.values() else None)
    if subset is None:
        raise FileFormatError(
            reading.path, number, f"unknown subset {named!r} in field 'subset'", "one of " + ", ".join(SUBSETS_V2)
        )
    if reading.source.wanted and subset not in reading.source.wanted:
        return None
    right = _texts(reading, number, row, "chosen")
    wrong = _texts(reading, number, row, "rejected")
    n_right = _field(reading, number, row, "num_correct", _FIELDS_V2)
    if n_right != len(right):
        raise FileFormatError(
            reading.path, number, f"num_correct is {n_right!r} and 'chosen' holds {len(right)}", "the same number"
        )
    identifier = str(_field(reading, number, row, "id", _FIELDS_V2))
    cluster = ""
    if subset == "ties":
        kind, _, pair = identifier.partition(":")
        if kind not in ("ref", "tied") or not pair:
            raise FileFormatError(
                reading.path, number, f"id {identifier!r} of a Ties item", "ref:NUMBER or tied:NUMBER"
            )
        cluster = f"ties/{pair}"
    messages = _messages(reading, number, row, _FIELDS_V2)
    return _prompt(reading, number, f"{subset}/{identifier}", subset, messages, [*right, *wrong], len(right), cluster)


def _llmbar(reading: _Reading, number: int, row: Mapping[str, Any]) -> Prompt:
    outputs = [_text(reading, number, row, name, _FIELDS_LLMBAR) for name in ("output_1", "output_2")]
    label = _field(reading, number, row, "label", _FIELDS_LLMBAR)
    if label not in (1, 2):
        raise FileFormatError(reading.path, number, f"label is {label!r}", "1 or 2, the better output")
    answers = outputs if label == 1 else outputs[::-1]
    messages = [Message("user", _text(reading, number, row, "input", _FIELDS_LLMBAR))]
    return _prompt(reading, number, f"{_LLMBAR}/{reading.place(_LLMBAR)}", _LLMBAR, messages, answers, 1)


def _prompt(
    reading: _Reading,
    number: int,
    key: str,
    subset: str,
    messages: Sequence[Message],
    answers: Sequence[str],
    n_right: int,
    cluster: str = "",
) -> Prompt:
    if not 0 < n_right < len(answers):
        raise FileFormatError(
            reading.path, number, f"{n_right} right of {len(answers)} answers", "right and wrong ones"
        )
    meta: dict[str, Any] = {"answers": list(answers), "n_right": n_right, "n_scored": len(answers)}
    if len(messages) > 1:
        meta["messages"] = [{"role": m.role, "content": m.content} for m in messages]
    return Prompt(
        benchmark=reading.source.benchmark,
        version=reading.version,
        key=reading.distinct(key),
        turns=tuple(m.content for m in messages if m.role == "user"),
        category=subset,
        cluster=cluster,
        meta=meta,
    )


def _messages(reading: _Reading, number: int, row: Mapping[str, Any], fields: str) -> list[Message]:
    """Read a conversation: a text is the user's; messages alternate, as upstream takes them."""
    value = _field(reading, number, row, "prompt", fields)
    if isinstance(value, str):
        return [Message("user", value)]
    good = isinstance(value, list) and value and all(isinstance(m, dict) and "content" in m for m in value)
    if not good or len(value) % 2 == 0:
        raise FileFormatError(
            reading.path,
            number,
            f"field 'prompt' is {json.dumps(value, default=str)[:60]}",
            "text, or messages that begin and end with the user's",
        )
    return [Message("assistant" if i % 2 else "user", str(m["content"])) for i, m in enumerate(value)]


def _field(reading: _Reading, number: int, row: Mapping[str, Any], name: str, fields: str) -> Any:
    if row.get(name) is None:
        found = ", ".join(list(row)[:10]) or "nothing"
        raise FileFormatError(reading.path, number, f"no field {name!r} (it has {found})", fields)
    return row[name]


def _text(reading: _Reading, number: int, row: Mapping[str, Any], name: str, fields: str) -> str:
    value = _field(reading, number, row, name, fields)
    if not isinstance(value, str):
        raise FileFormatError(reading.path, number, f"field {name!r} is a {type(value).__name__}", "text")
    return value


def _texts(reading: _Reading, number: int, row: Mapping[str, Any], name: str) -> list[str]:
    value = _field(reading, number, row, name, _FIELDS_V2)
    if isinstance(value, str) or not isinstance(value, Iterable) or not all(isinstance(v, str) for v in value):
        raise FileFormatError(reading.path, number, f"field {name!r} is not a list of texts", "a list of answers")
    return list(value)
