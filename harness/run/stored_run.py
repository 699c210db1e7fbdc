"""A stored run, read lazily."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import FileFormatError, MissingDataError
from harness.protocols import Benchmark
from harness.records import Prompt, Response, Score
from harness.run.judged_by import judge_ids
from harness.run.plan import load_benchmark
from harness.run.score import cheap_judge_scores
from harness.store.jsonl import read_json
from harness.store.run_directory import RunDirectory


@dataclass(frozen=True)
class StoredRun:
    """A finished run, read lazily.

    Parameters
    ----------
    directory : RunDirectory
        The run directory.
    """

    directory: RunDirectory

    @classmethod
    def open(cls, path: Path) -> StoredRun:
        """Open a run.

        Raises
        ------
        MissingDataError
            The directory holds no run.
        """
        run = cls(RunDirectory(path))
        _ = run.header
        return run

    @cached_property
    def header(self) -> dict[str, Any]:
        """Content of run.json."""
        return self.directory.header()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Content of summary.json.

        Raises
        ------
        MissingDataError
            The run was never scored.
        """
        path = self.directory.path / "summary.json"
        if not path.is_file():
            raise MissingDataError(f"{path} is missing", remedy=f"run `assay score {self.directory.path}` first")
        found = read_json(path)
        if not isinstance(found, dict) or "rows" not in found:
            raise FileFormatError(path, None, "no rows", "a summary as assay writes it", "score the run again")
        return found

    @cached_property
    def scores(self) -> list[Score]:
        """Content of scores.jsonl."""
        return self.directory.scores()

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """All prompts by id."""
        return self.directory.prompts()

    @cached_property
    def responses(self) -> list[Response]:
        """The latest answers of both roles."""
        return list(self.directory.responses().values())

    @cached_property
    def judges(self) -> dict[str, set[str]]:
        """Judge ids by benchmark."""
        return judge_ids(self.directory)

    def baselines(self, benchmark: str) -> set[str]:
        """Return the models whose answers a benchmark's were compared with; empty if there are none."""
        named = (self.entry(benchmark) or {}).get("baselines", ())
        return {*named, *(response.model for response in self.answers(benchmark, "baseline").values())}

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.header["model"]["name"])

    @property
    def path(self) -> str:
        """The directory, for messages."""
        return str(self.directory.path)

    @property
    def stopped_seed(self) -> int | None:
        """Seed of the prompt order if the run stopped early; None otherwise."""
        found = self.header.get("early_stop")
        return None if found is None else int(found["seed"])

    def entry(self, benchmark: str) -> dict[str, Any] | None:
        """Return the header's entry of a benchmark; None if the run does not hold it."""
        for entry in self.header.get("benchmarks", ()):
            if benchmark in (entry["name"], entry.get("asked_as")):
                return dict(entry)
        return None

    def benchmark(self, name: str) -> Benchmark:
        """Return the benchmark, with the options of the run."""
        entry = self.entry(name) or {}
        return load_benchmark(entry.get("asked_as") or entry.get("name") or name, entry.get("options"))

    def metrics(self, benchmark: str) -> list[str]:
        """Return the metrics the run reports for a benchmark."""
        return [row["metric"] for row in self.summary["rows"] if row["benchmark"] == benchmark]

    def scores_of(self, benchmark: str) -> list[Score]:
        """Return the scores of a benchmark."""
        return [s for s in self.scores if s.benchmark == benchmark]

    @property
    def has_two_judges(self) -> bool:
        """Whether a strong judge gave the verdicts on some prompts, and a cheap one on all."""
        return str((self.header.get("judge") or {}).get("model", "")).startswith("two:")

    def cheap_scores(self, benchmark: str) -> list[Score]:
        """Return a benchmark's scores by the cheap judge of two."""
        return cheap_judge_scores(self.directory, benchmark)

    def prompts_of(self, benchmark: str) -> dict[str, Prompt]:
        """Return the prompts of a benchmark by id."""
        return {key: p for key, p in self.prompts.items() if p.benchmark == benchmark}

    def answers(self, benchmark: str, role: str) -> dict[str, Response]:
        """Return the first answers of a role by prompt id."""
        found: dict[str, Response] = {}
        for r in self.responses:
            if r.benchmark == benchmark and r.role == role and r.sample == 0:
                found.setdefault(r.prompt_id, r)
        return found
