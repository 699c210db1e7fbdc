"""RewardBench's items from upstream's files, or from files of the same schema.

Version 1   allenai/reward-bench, split "filtered": prompt, chosen, rejected, subset, id
Prior sets  allenai/preference-test-sets, one file a set: prompt (a list of messages), chosen, rejected
Version 2   allenai/reward-bench-2: id, prompt, chosen (list), rejected (list), num_correct, subset
LLMBar      princeton-nlp/LLMBar, Natural: input, output_1, output_2, label; the subset `llmbar-natural` of version 1

An item is a prompt with its answers in `meta`, the right ones first: ``answers``, ``n_right``, and ``messages`` if the
conversation has earlier turns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reward_bench.sections import SECTIONS_V1
from harness.data.file_rows import Row, each_row
from harness.errors import DataError, MissingDataError
from harness.hashing import file_sha256
from harness.messages import Message
from harness.protocols import DataSource
from harness.records import Prompt

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
    """Where items come from, and the benchmark they belong to.

    Parameters
    ----------
    benchmark, version : str
        Of the prompts.
    files : mapping of str to str or None
        Catalogue name to the subset of its rows; None if each row names its subset.
    wanted : tuple of str
        Subsets to read; empty for all.
    own : Path or None
        The user's file or directory instead of the catalogue's files.
    """

    benchmark: str
    version: str
    files: Mapping[str, str | None]
    wanted: tuple[str, ...] = ()
    own: Path | None = None


@dataclass
class _Reading:
    """State of reading one file."""

    source: Source
    path: Path
    version: str
    subset: str | None
    per_subset: dict[str, int] = field(default_factory=dict)
    per_key: dict[str, int] = field(default_factory=dict)

    def wants(self, subset: str) -> bool:
        """Whether items of a subset are read."""
        return not self.source.wanted or subset in self.source.wanted

    def distinct(self, key: str) -> str:
        """Number repeated names, which a user's file may have."""
        self.per_key[key] = self.per_key.get(key, 0) + 1
        return key if self.per_key[key] == 1 else f"{key}#{self.per_key[key]}"

    def place(self, subset: str) -> int:
        """Return a row's position in its subset, from 0."""
        self.per_subset[subset] = self.per_subset.get(subset, -1) + 1
        return self.per_subset[subset]


def read_items(source: Source, data: DataSource) -> list[Prompt]:
    """Read a benchmark's items in the files' order.

    Parameters
    ----------
    source : Source
        The items to read.
    data : DataSource
        Upstream's files.

    Returns
    -------
    list of Prompt

    Raises
    ------
    MissingDataError
        A file is missing.
    FileFormatError
        A row lacks a field, or a field is invalid.
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
        An item lacks a field, or a field is invalid.
    """
    reading = _Reading(Source("reward_bench", "1", {}), path, "1", None)
    return [_llmbar(reading, row) for row in each_row(path)]


def conversation(prompt: Prompt) -> tuple[Message, ...]:
    """Return an item's conversation up to the answers that are judged."""
    earlier = prompt.meta.get("messages")
    if earlier is not None:
        return tuple(Message(m["role"], m["content"]) for m in earlier)
    return (Message("user", prompt.turns[0]),)


def answers_of(prompt: Prompt) -> tuple[str, ...]:
    """Return an item's answers, the right ones first; empty if they are unknown (imports)."""
    return tuple(prompt.meta.get("answers", ()))


def _readings(source: Source, data: DataSource) -> Iterator[_Reading]:
    if source.own is not None:
        for path in _own_files(source.own):
            # The file's hash in the version keeps runs on the user's items apart from runs on upstream's.
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
    files = [file for file in (*sorted(path.iterdir()), *sorted(path.glob("data/*"))) if file.suffix in _SUFFIXES]
    if not files:
        raise MissingDataError(
            f"{path} holds no data file", "files ending in " + ", ".join(_SUFFIXES), "check the option data"
        )
    # A clone of upstream's repository holds the unfiltered items as well.
    return [file for file in files if file.name.startswith("filtered")] or files


def _prompts(reading: _Reading) -> Iterator[Prompt]:
    """Turn a file's rows into prompts, except those of subsets that are not wanted."""
    for row in each_row(reading.path):
        if reading.source.benchmark == "reward_bench_2":
            prompt = _version_2(reading, row)
        elif reading.subset is not None:
            prompt = _prior_set(reading, row, reading.subset)
        elif {"output_1", "output_2"} <= set(row.values):
            prompt = _llmbar(reading, row)
        else:
            prompt = _version_1(reading, row)
        if prompt is not None:
            yield prompt


def _version_1(reading: _Reading, row: Row) -> Prompt | None:
    subset = row.get("subset", str, _FIELDS_V1)
    if subset not in _SUBSETS_V1:
        raise row.error(f"unknown subset {subset!r} in field 'subset'", "one of " + ", ".join(_SUBSETS_V1))
    place = reading.place(subset)
    if not reading.wants(subset):
        return None
    answers = [row.get(name, str, _FIELDS_V1) for name in ("chosen", "rejected")]
    identifier = row.identifier("id")
    # The six languages have the same problems in the same order.
    cluster = f"humaneval-{place}" if subset.startswith("hep-") else ""
    return _prompt(reading, row, f"{subset}/{identifier}", subset, _messages(row, _FIELDS_V1), answers, 1, cluster)


def _prior_set(reading: _Reading, row: Row, subset: str) -> Prompt | None:
    if not reading.wants(subset):
        return None
    answers = [row.get(name, str, _FIELDS_PRIOR) for name in ("chosen", "rejected")]
    messages = _messages(row, _FIELDS_PRIOR)
    return _prompt(reading, row, f"{subset}/{reading.place(subset)}", subset, messages, answers, 1)


def _version_2(reading: _Reading, row: Row) -> Prompt | None:
    named = row.get("subset", str, _FIELDS_V2)
    subset = SUBSETS_V2.get(named, named)
    if subset not in SUBSETS_V2.values():
        raise row.error(f"unknown subset {named!r} in field 'subset'", "one of " + ", ".join(SUBSETS_V2))
    if not reading.wants(subset):
        return None
    right, wrong = _texts(row, "chosen"), _texts(row, "rejected")
    n_right = row.get("num_correct", int, _FIELDS_V2)
    if n_right != len(right):
        raise row.error(f"num_correct is {n_right!r} and 'chosen' holds {len(right)}", "the same number")
    identifier = row.identifier("id")
    cluster = ""
    if subset == "ties":
        kind, _, pair = identifier.partition(":")
        if kind not in ("ref", "tied") or not pair:
            raise row.error(f"id {identifier!r} of a Ties item", "ref:NUMBER or tied:NUMBER")
        cluster = f"ties/{pair}"
    messages = _messages(row, _FIELDS_V2)
    return _prompt(reading, row, f"{subset}/{identifier}", subset, messages, [*right, *wrong], len(right), cluster)


def _llmbar(reading: _Reading, row: Row) -> Prompt:
    outputs = [row.get(name, str, _FIELDS_LLMBAR) for name in ("output_1", "output_2")]
    label = row.get("label", int, _FIELDS_LLMBAR)
    if label not in (1, 2):
        raise row.error(f"label is {label!r}", "1 or 2, the better output")
    answers = outputs if label == 1 else outputs[::-1]
    messages = [Message("user", row.get("input", str, _FIELDS_LLMBAR))]
    return _prompt(reading, row, f"{_LLMBAR}/{reading.place(_LLMBAR)}", _LLMBAR, messages, answers, 1)


def _prompt(
    reading: _Reading,
    row: Row,
    key: str,
    subset: str,
    messages: Sequence[Message],
    answers: Sequence[str],
    n_right: int,
    cluster: str = "",
) -> Prompt:
    if not 0 < n_right < len(answers):
        raise row.error(f"{n_right} right of {len(answers)} answers", "right and wrong ones")
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


def _messages(row: Row, fields: str) -> list[Message]:
    """Read a conversation: a text is the user's; messages alternate, as upstream takes them."""
    value = row.get("prompt", (str, list), fields)
    if isinstance(value, str):
        return [Message("user", value)]
    good = value and all(isinstance(m, dict) and "content" in m for m in value)
    if not good or len(value) % 2 == 0:
        shown = json.dumps(value, default=str)[:60]
        raise row.error(f"field 'prompt' is {shown}", "text, or messages that begin and end with the user's")
    return [Message("assistant" if i % 2 else "user", str(m["content"])) for i, m in enumerate(value)]


def _texts(row: Row, name: str) -> list[str]:
    value: list[str] = row.get(name, list, "a list of answers")
    if not all(isinstance(text, str) for text in value):
        raise row.error(f"field {name!r} is not a list of texts", "a list of answers")
    return value
