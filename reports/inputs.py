"""The inputs of a report: runs, `align` directories, judge studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import AssayError, FileFormatError, MissingDataError, UsageError
from harness.protocols import Benchmark, ControlledBenchmark, DataSource, ScoreKind, ScoreRole
from harness.records import Score, SummaryRow
from harness.run.compare import with_panels
from harness.run.judged_by import JudgedBy, judged_by
from harness.run.score import RunScores, stored_or_scored
from harness.run.stored_run import StoredRun
from harness.store.align_directory import AlignState, read_align
from harness.store.jsonl import read_json
from harness.store.run_directory import RunDirectory
from harness.text_safety import visible

STUDY = "judge_study"
_STUDY_VERSION = 1
_STUDY_PARTS = ("version", "human", "judges", "contest", "labels", "pairs", "texts")


@dataclass(frozen=True)
class RunInput:
    """A run and its figures.

    Parameters
    ----------
    stored : StoredRun
        Its directory, read lazily.
    scores : RunScores
        Its figures.
    name : str
        Its name in the report: the model's name, with the directory's if several runs share a model.
    """

    stored: StoredRun
    scores: RunScores
    name: str

    @cached_property
    def benchmarks(self) -> list[str]:
        """Benchmarks, in the order of its table."""
        return self.scores.benchmarks

    @cached_property
    def judges(self) -> dict[str, JudgedBy]:
        """The judge of each judged benchmark."""
        return judged_by(self.stored.directory)

    def benchmark(self, name: str) -> Benchmark | None:
        """The benchmark as the run asked for it; None where this installation does not know it."""
        if name not in self._loaded:
            try:
                self._loaded[name] = self.scores.benchmark(name)
            except AssayError:
                self._loaded[name] = None
        return self._loaded[name]

    @cached_property
    def _loaded(self) -> dict[str, Benchmark | None]:
        return {}

    def kinds(self, name: str) -> Mapping[str, ScoreKind]:
        """What the scores of a benchmark are, as it declares them."""
        benchmark = self.benchmark(name)
        return {} if benchmark is None else benchmark.score_kinds

    def controlled(self, name: str) -> Mapping[str, str]:
        """A benchmark's metrics with length or style held equal, each with the raw one it corrects."""
        benchmark = self.benchmark(name)
        return benchmark.controlled if isinstance(benchmark, ControlledBenchmark) else {}

    def scores_in_role(self, name: str, role: ScoreRole) -> list[Score]:
        """Scores of a benchmark that have a value and play a role ("rating", "preference", "length", ...)."""
        kinds = self.kinds(name)
        return [
            s
            for s in self.scores.scores_of(name)
            if s.value is not None and s.metric in kinds and kinds[s.metric].role == role
        ]

    def rows(self, benchmark: str) -> list[SummaryRow]:
        """Figures of a benchmark."""
        return [row for row in self.scores.rows if row.benchmark == benchmark]

    def row(self, benchmark: str, metric: str) -> SummaryRow | None:
        """One figure that has a value."""
        found = next((r for r in self.scores.rows if (r.benchmark, r.metric) == (benchmark, metric)), None)
        return found if found is not None and found.value is not None else None


@dataclass(frozen=True)
class Inputs:
    """All inputs of a report.

    Parameters
    ----------
    runs : list of RunInput
        Run directories.
    studies : list of dict
        Judge studies as JSON, each with the path it came from under "path".
    data : DataSource
        Upstream files that some figures need.
    aligns : list of AlignInput
        Directories of `assay align`; their runs are among `runs`.
    """

    runs: list[RunInput]
    studies: list[dict[str, Any]]
    data: DataSource
    aligns: list[AlignInput] = field(default_factory=list)

    @property
    def benchmarks(self) -> list[str]:
        """All benchmarks, in order."""
        return list(dict.fromkeys(b for run in self.runs for b in run.benchmarks))

    def holding(self, benchmark: str) -> list[RunInput]:
        """The runs that hold a benchmark."""
        return [run for run in self.runs if benchmark in run.benchmarks]


@dataclass(frozen=True)
class AlignInput:
    """A directory of `assay align`.

    Parameters
    ----------
    path : Path
        Where it is.
    state : AlignState
        Its state file.
    runs : dict of str to RunInput
        Evaluation runs by variant, in the order the variants were made.
    missing : list of str
        A message for each run it names that is missing.
    """

    path: Path
    state: AlignState
    runs: dict[str, RunInput]
    missing: list[str]


def open_inputs(paths: Sequence[Path], data: DataSource, opened: Callable[[], None] = lambda: None) -> Inputs:
    """Open the inputs.

    Parameters
    ----------
    paths : sequence of Path
        Run directories, `align` directories, judge studies (JSON).
    data : DataSource
        Upstream files that some figures need.
    opened : callable
        Called after each run.

    Returns
    -------
    Inputs
        The runs of an `align` directory are among the runs, named after their variants.

    Raises
    ------
    UsageError
        A path is given twice.
    MissingDataError
        Nothing is at a path, or nothing that a report can read.
    FileFormatError
        A file is not a judge study, or align.json is damaged.
    """
    _refuse_repeated(paths)
    runs: list[tuple[Path, str]] = []
    found: list[tuple[Path, AlignState, dict[str, Path], list[str]]] = []
    studies: list[dict[str, Any]] = []
    for path in paths:
        if path.is_file():
            studies.append(_study(path))
        elif (path / "run.json").is_file():
            runs.append((path, ""))
        elif (path / "align.json").is_file():
            state = read_align(path)
            found.append((path, state, *_variant_runs(path, state)))
        else:
            raise _nothing_at(path)
    for path, _, there, _ in found:
        before = f"{path.name} " if len(found) > 1 else ""
        runs += [(run, before + variant) for variant, run in there.items()]
    by_path = dict(zip((path for path, _ in runs), _opened(runs, data, opened), strict=True))
    aligns = [
        AlignInput(path, state, {name: by_path[run] for name, run in there.items()}, missing)
        for path, state, there, missing in found
    ]
    return Inputs(list(by_path.values()), studies, data, aligns)


def _refuse_repeated(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"{path} is given twice", "each run once", "leave one out")
        seen.add(path.resolve())


def _variant_runs(path: Path, state: AlignState) -> tuple[dict[str, Path], list[str]]:
    there: dict[str, Path] = {}
    missing = []
    for variant in state.variants:
        if variant.run is None:
            continue
        if (path / variant.run / "run.json").is_file():
            there[variant.name] = path / variant.run
        else:
            missing.append(f"the evaluation run of {variant.name} is not at {variant.run}")
    return there, missing


def _opened(given: Sequence[tuple[Path, str]], data: DataSource, opened: Callable[[], None]) -> list[RunInput]:
    """Open runs; a given name replaces the model's."""
    found = []
    for path, _ in given:
        found.append(stored_or_scored(RunDirectory(path), data))
        opened()
    models = [name or scores.model for (_, name), scores in zip(given, found, strict=True)]
    names = [
        _name(model if models.count(model) == 1 else f"{model} ({path.name})")
        for (path, _), model in zip(given, models, strict=True)
    ]
    named = [replace(scores, model=name) for scores, name in zip(found, names, strict=True)]
    panels = with_panels(named) if len(set(names)) == len(names) else named
    return [
        RunInput(StoredRun.open(path), scores, name)
        for (path, _), scores, name in zip(given, panels, names, strict=True)
    ]


def _name(name: str) -> str:
    return " ".join(visible(name).split()) or "(no name)"


def _study(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != STUDY:
        raise FileFormatError(
            path, None, "not a judge study", "JSON that `assay calibrate --out` wrote", "give run directories otherwise"
        )
    missing = [name for name in _STUDY_PARTS if name not in value]
    if missing or value["version"] != _STUDY_VERSION:
        found = f"no {', '.join(missing)}" if missing else f"a study of version {value['version']}"
        allowed = f"a study of version {_STUDY_VERSION}"
        raise FileFormatError(path, None, found, allowed, "make it again with `assay calibrate --out`")
    return {**value, "path": str(path)}


def _nothing_at(path: Path) -> Exception:
    if not path.exists():
        return MissingDataError(f"{path} does not exist", remedy="give a directory that `assay run` or `import` made")
    inside = sorted(p.parent.name for p in path.glob("*/run.json"))
    if inside:
        listed = ", ".join(inside[:4]) + (" ..." if len(inside) > 4 else "")
        return UsageError(f"{path} holds runs ({listed}) and is none", "run directories", f"give {path}/*")
    return MissingDataError(
        f"{path} holds no run (no run.json)",
        "a run directory, a directory of `assay align`, or a judge study",
        "give what `assay run`, `assay import`, `assay align` or `assay calibrate --out` made",
    )
