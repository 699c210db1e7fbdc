"""Overlap of training prompts with benchmark prompts: measured, listed, and refused above a limit.

The gate's rule decides (`harness.gate.contamination`): a prompt overlaps where both have 13 consecutive words in
common, or where it contains a whole shorter benchmark prompt. Case, punctuation and spacing are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from harness.data.store import DataStore
from harness.errors import DataError, UsageError
from harness.gate.contamination import OverlapIndex
from harness.progress import NoProgress, Progress
from harness.spec import BenchmarkSpec
from training.data.records import Record

RecordType = TypeVar("RecordType", bound=Record)
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Overlap:
    """A training prompt that contains a benchmark prompt or part of one.

    Parameters
    ----------
    key : str
        The training prompt's key.
    source : str
        The training source.
    text : str
        The user turn with the overlap.
    benchmark, benchmark_key : str
        The benchmark prompt.
    words : str
        The first consecutive words in common.
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
    """The result of comparing training data with benchmarks.

    Parameters
    ----------
    n_gram : int
        Consecutive words that count as overlap.
    n_items, n_prompts : int
        Training items and distinct prompts compared.
    n_benchmark_prompts : mapping of str to int
        Number of prompts of each benchmark.
    overlaps : tuple of Overlap
        One for each pair of a training prompt and a benchmark prompt that overlap.
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
    items: Sequence[Record],
    benchmarks: Mapping[str, Mapping[str, Sequence[str]] | Iterable[str]],
    n_gram: int = 13,
    progress: Progress | None = None,
) -> Contamination:
    """Search training prompts, in all their user turns, for benchmark prompts.

    Parameters
    ----------
    items : sequence of one kind of record
        The training data.
    benchmarks : mapping
        Benchmark to its prompts: plain texts, or key to turns (:func:`benchmark_prompts`).
    n_gram : int
        Consecutive words that count as overlap; a shorter benchmark prompt must be a whole user turn.
    progress : Progress, optional
        Advanced by each item.

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
    sizes = {name: _index_benchmark(index, name, prompts) for name, prompts in benchmarks.items()}
    counts = Counter(item.prompt_key for item in items)
    overlaps: dict[tuple[str, str], Overlap] = {}
    find = cache(index.find)
    bars = progress or NoProgress()
    bars.start("overlap", len(items))
    for item in items:
        bars.advance("overlap")
        key = item.prompt_key
        for text in (message.content for message in item.prompt if message.role == "user"):
            for name, words in find(text).items():
                benchmark, _, place = name.partition("\n")
                found = Overlap(key, item.source, text, benchmark, place, words, counts[key])
                overlaps.setdefault((key, name), found)
    return Contamination(n_gram, len(items), len(counts), sizes, tuple(overlaps.values()))


def _index_benchmark(index: OverlapIndex, name: str, prompts: Mapping[str, Sequence[str]] | Iterable[str]) -> int:
    """Add a benchmark's prompts to the index; returns how many there are."""
    keyed = prompts if isinstance(prompts, Mapping) else {str(i): [text] for i, text in enumerate(prompts)}
    if not keyed:
        raise DataError(f"{name} has no prompts in words to compare with", "at least one")
    for key, turns in keyed.items():
        for turn in turns:
            index.add(f"{name}\n{key}", turn)
    return len(keyed)


def refuse_overlap(found: Contamination, limit: float = 0.0) -> None:
    """Refuse training data that contains more benchmark prompts than allowed.

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
        More do; the message counts them by benchmark and shows the first five.
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
        f"{len(found.keys)} of {found.n_prompts} training prompts ({100 * found.share:.2f} %) contain benchmark "
        f"prompts: {parts}\n" + "\n".join(shown),
        f"at most {100 * limit:g} %",
        "remove them (training.data.without_overlap, --remove-overlap), or raise the limit (--max-overlap) and report "
        "no figures of these benchmarks",
    )


def without_overlap(items: Iterable[RecordType], found: Contamination) -> tuple[list[RecordType], int]:
    """Remove the overlapping prompts; returns the items left and how many were removed."""
    everything = list(items)
    left = [item for item in everything if item.prompt_key not in found.keys]
    return left, len(everything) - len(left)


def benchmark_prompts(names: Iterable[str | BenchmarkSpec], data: DataStore) -> dict[str, dict[str, list[str]]]:
    """Get the prompts of benchmarks: benchmark to key to turns, empty for a benchmark without texts.

    Parameters
    ----------
    names : iterable of str or BenchmarkSpec
        Names as `assay run --benchmark` takes them, suites among them, files of prompts as `--prompts` takes them, or a
        spec's items with their options.
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
    for item in expand_suites(_named(n) if isinstance(n, str) else n for n in names):
        name = item.name
        prompts, _ = load_benchmark(name, item.options).prompts(data)
        turns = {prompt.key: [turn for turn in prompt.turns if turn.strip()] for prompt in prompts}
        found[name] = {key: texts for key, texts in turns.items() if texts}
    return found


def _named(name: str) -> BenchmarkSpec:
    """Return the benchmark of a name or of a file of prompts."""
    return BenchmarkSpec.model_validate({"prompts": name} if Path(name).is_file() else {"name": name})
