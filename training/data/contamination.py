"""Overlap of training prompts with benchmark prompts: measured, listed, and refused above a limit.

What counts as an overlap is what the gate counts (`harness.gate.contamination`): 13 words in a row in both, or a
shorter benchmark prompt whole; case, punctuation and spacing aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from harness.data.store import DataStore
from harness.errors import DataError, UsageError
from harness.gate.contamination import OverlapIndex
from harness.progress import NoProgress, Progress
from harness.spec import BenchmarkSpec
from training.data.records import Conversation, PreferencePair, PromptItem
from training.data.splitting import prompt_of

__all__ = ["Contamination", "Overlap", "benchmark_prompts", "measure_overlap", "refuse_overlap", "without_overlap"]

Record = TypeVar("Record", Conversation, PreferencePair, PromptItem)
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Overlap:
    """A training prompt that holds a benchmark prompt, or part of it.

    Parameters
    ----------
    key : str
        The training prompt's key.
    source : str
        The training source.
    text : str
        The user turn it was found in.
    benchmark, benchmark_key : str
        Whose prompt it is.
    words : str
        The first words both have in a row.
    n_items : int
        Training items with this prompt.
    """

    key: str
    source: str
    text: str
    benchmark: str
    benchmark_key: str
    words: str
    n_items: int


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was compared and what was found.

    Parameters
    ----------
    n_gram : int
        Words in a row that count.
    n_items, n_prompts : int
        Training items and distinct prompts looked at.
    n_benchmark_prompts : mapping of str to int
        Prompts of each benchmark looked for.
    overlaps : tuple of Overlap
        Every pair of a training prompt and a benchmark prompt.
    """

    n_gram: int
    n_items: int
    n_prompts: int
    n_benchmark_prompts: Mapping[str, int]
    overlaps: tuple[Overlap, ...]

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the training prompts that overlap."""
        return frozenset(overlap.key for overlap in self.overlaps)

    @property
    def share(self) -> float:
        """Share of the training prompts that overlap."""
        return len(self.keys) / self.n_prompts

    @property
    def n_found(self) -> dict[str, int]:
        """Prompts of each benchmark that were found in the training data."""
        found = {name: set[str]() for name in self.n_benchmark_prompts}
        for overlap in self.overlaps:
            found[overlap.benchmark].add(overlap.benchmark_key)
        return {name: len(keys) for name, keys in found.items()}

    def as_json(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {
            "n_gram": self.n_gram,
            "n_items": self.n_items,
            "n_prompts": self.n_prompts,
            "n_overlapping": len(self.keys),
            "share": self.share,
            "benchmarks": {
                name: {"n_prompts": count, "n_found": self.n_found[name]}
                for name, count in self.n_benchmark_prompts.items()
            },
            "overlaps": [asdict(overlap) for overlap in self.overlaps],
        }


def measure_overlap(
    items: Sequence[Conversation] | Sequence[PreferencePair] | Sequence[PromptItem],
    benchmarks: Mapping[str, Mapping[str, Sequence[str]] | Iterable[str]],
    n_gram: int = 13,
    progress: Progress | None = None,
) -> Contamination:
    """Look benchmark prompts up in training prompts; every user turn of an item is looked at.

    Parameters
    ----------
    items : sequence of one kind of record
        What is to be trained on.
    benchmarks : mapping
        Benchmark to its prompts: plain texts, or key to turns (:func:`benchmark_prompts`).
    n_gram : int
        Words in a row that are an overlap; a shorter benchmark prompt must be a whole user turn.
    progress : Progress, optional
        Told of each item.

    Raises
    ------
    DataError
        A side is empty.
    UsageError
        `n_gram` is below 1.
    """
    if not items:
        raise DataError("no training prompts to compare", "at least one")
    index = OverlapIndex(n_gram)
    sizes: dict[str, int] = {}
    for name, prompts in benchmarks.items():
        keyed = prompts if isinstance(prompts, Mapping) else {str(i): [text] for i, text in enumerate(prompts)}
        if not keyed:
            raise DataError(f"{name} has no prompts in words to compare with", "at least one")
        sizes[name] = len(keyed)
        for key, turns in keyed.items():
            for turn in turns:
                index.add(f"{name}\n{key}", turn)
    counts = Counter(_key(item) for item in items)
    overlaps: list[Overlap] = []
    seen: set[tuple[str, str]] = set()
    looked_up: dict[str, dict[str, str]] = {}
    bars = progress or NoProgress()
    bars.start("overlap", len(items))
    for item in items:
        bars.advance("overlap")
        key = _key(item)
        for text in _user_turns(item):
            if text not in looked_up:
                looked_up[text] = index.find(text)
            for name, words in looked_up[text].items():
                if (key, name) not in seen:
                    seen.add((key, name))
                    benchmark, _, place = name.partition("\n")
                    overlaps.append(Overlap(key, item.source, text, benchmark, place, words, counts[key]))
    return Contamination(n_gram, len(items), len(counts), sizes, tuple(overlaps))


def refuse_overlap(found: Contamination, limit: float = 0.0) -> None:
    """Refuse training data that holds more benchmark prompts than is allowed.

    Parameters
    ----------
    found : Contamination
        What :func:`measure_overlap` found.
    limit : float
        Share (0 to 1) of the training prompts that may overlap.

    Raises
    ------
    UsageError
        `limit` is out of range.
    DataError
        There are more: how many, of which benchmark, and the first five.
    """
    if not 0 <= limit <= 1:
        raise UsageError(f"an overlap limit of {limit:g}", "a share, 0 to 1")
    if found.share <= limit:
        return
    parts = ", ".join(f"{n} of {name}'s {found.n_benchmark_prompts[name]}" for name, n in found.n_found.items() if n)
    shown = [
        f"    {o.benchmark} {o.benchmark_key} in {o.source or 'the data'}: {' '.join(o.text.split())[:70]!r}"
        for o in found.overlaps[:SHOWN]
    ]
    if len(found.overlaps) > SHOWN:
        shown.append(f"    and {len(found.overlaps) - SHOWN} more")
    raise DataError(
        f"{len(found.keys)} of {found.n_prompts} training prompts ({100 * found.share:.2f} %) hold benchmark prompts: "
        f"{parts}\n" + "\n".join(shown),
        f"at most {100 * limit:g} %",
        "take them out (training.data.without_overlap, --remove-overlap), or raise the limit (--max-overlap) and "
        "report no figure of these benchmarks",
    )


def without_overlap(items: Iterable[Record], found: Contamination) -> tuple[list[Record], int]:
    """Take the overlapping prompts out; returns what is left and how many items went."""
    everything = list(items)
    left = [item for item in everything if _key(item) not in found.keys]
    return left, len(everything) - len(left)


def benchmark_prompts(names: Iterable[str | BenchmarkSpec], data: DataStore) -> dict[str, dict[str, list[str]]]:
    """Get the prompts of benchmarks: benchmark to key to turns; none where a benchmark asks nothing in words.

    Parameters
    ----------
    names : iterable of str or BenchmarkSpec
        Names as `assay run --benchmark` takes them, suites among them, or a spec's items with their options.
    data : DataStore
        Where their files are.

    Raises
    ------
    UnknownNameError
        There is no such benchmark.
    DataError
        An upstream file is missing or not what it should be.
    """
    from harness.run.plan import expand_suites, load_benchmark

    found: dict[str, dict[str, list[str]]] = {}
    for item in expand_suites(BenchmarkSpec(name=n) if isinstance(n, str) else n for n in names):
        name = item.name
        prompts, _ = load_benchmark(name, item.options).prompts(data)
        turns = {prompt.key: [turn for turn in prompt.turns if turn.strip()] for prompt in prompts}
        found[name] = {key: texts for key, texts in turns.items() if texts}
    return found


def _key(item: Conversation | PreferencePair | PromptItem) -> str:
    return item.prompt_key if isinstance(item, Conversation) else item.key


def _user_turns(item: Conversation | PreferencePair | PromptItem) -> list[str]:
    return [message.content for message in prompt_of(item) if message.role == "user"]
