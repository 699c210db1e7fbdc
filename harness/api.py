"""The Python interface: the commands as functions."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from harness.data.store import DataStore
from harness.run import compare as comparing
from harness.run import runner
from harness.run import score as scoring
from harness.settings import Settings
from harness.spec import RunSpec

__all__ = ["compare", "resume", "run", "score"]

AnyPath = str | PathLike[str]


def _data(data_dir: AnyPath | None) -> DataStore:
    return DataStore.of_settings(Settings.from_env(), None if data_dir is None else Path(data_dir))


def _options(out: AnyPath, data_dir: AnyPath | None, further: dict[str, Any]) -> runner.RunOptions:
    return runner.RunOptions(out=Path(out), data_dir=None if data_dir is None else Path(data_dir), **further)


def run(spec: RunSpec, out: AnyPath, *, data_dir: AnyPath | None = None, **options: Any) -> scoring.RunScores:
    """Generate, judge and score; an unfinished run of the same spec in `out` is resumed.

    Parameters
    ----------
    spec : RunSpec
        What to measure.
    out : path
        The run directory.
    data_dir : path, optional
        A mirror of the upstream files.
    **options
        Other fields of `harness.run.runner.RunOptions` (`use_cache`, `max_cost`, `progress`).

    Returns
    -------
    RunScores
        The figures.

    Raises
    ------
    AssayError
        The run stopped; everything obtained so far is in `out`.
    """
    return runner.run(spec, _options(out, data_dir, options))


def resume(out: AnyPath, *, data_dir: AnyPath | None = None, **options: Any) -> scoring.RunScores:
    """Resume a run; parameters, result and errors as in :func:`run`."""
    return runner.resume(_options(out, data_dir, options))


def score(run_directory: AnyPath, *, data_dir: AnyPath | None = None) -> scoring.RunScores:
    """Recompute every figure of a run from its stored answers and verdicts."""
    return scoring.rescore(Path(run_directory), _data(data_dir))


def compare(
    first: AnyPath, second: AnyPath, *, data_dir: AnyPath | None = None, level: float = 0.95
) -> comparing.Comparison:
    """Compare two runs prompt by prompt; differences are first minus second."""
    return comparing.compare_runs(Path(first), Path(second), _data(data_dir), level)
