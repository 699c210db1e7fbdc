"""How many of a benchmark's prompts a run holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.protocols import Benchmark, CountedBenchmark

_WHICH = {"random": "drawn at random by category", "first": "the first ones"}


@dataclass(frozen=True, slots=True)
class PromptCount:
    """A number of prompts.

    Parameters
    ----------
    n, n_all : int
        How many the run has of how many of the benchmark.
    which : str
        Which they are, in words.
    """

    n: int
    n_all: int
    which: str = ""

    @property
    def is_part(self) -> bool:
        """Whether the run has only some."""
        return self.n < self.n_all

    @property
    def words(self) -> str:
        """The number in words ("40 of 805 prompts")."""
        return f"{self.n} of {self.n_all} prompts"

    def as_json(self) -> dict[str, Any]:
        """Return the fields for ``--json``."""
        return asdict(self)


def prompt_count(header: Mapping[str, Any], entry: Mapping[str, Any], benchmark: Benchmark) -> PromptCount:
    """Return how many prompts a run has of a benchmark.

    Parameters
    ----------
    header, entry : mapping
        Content of run.json, and its entry of the benchmark.
    benchmark : Benchmark
        It says how many prompts there are where the files of an import do not.
    """
    n, n_all = int(entry.get("n_prompts") or 0), int(entry.get("n_all_prompts") or 0)
    if header.get("kind") != "import":
        return PromptCount(n, n_all, _WHICH.get(entry.get("chosen", ""), "--limit"))
    figures = (int(figure["n"]) for figure in header.get("figures", ()) if figure["benchmark"] == entry["name"])
    n = n or max(figures, default=0)
    known = benchmark.n_all_prompts if n and isinstance(benchmark, CountedBenchmark) else n
    return PromptCount(n, max(n_all, known), "those in the files")
