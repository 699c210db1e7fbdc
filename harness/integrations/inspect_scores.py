"""Scores of Inspect's samples as numbers, and those of a baseline: an Inspect log or an assay run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import MissingDataError, UsageError
from harness.run.compare import unit_values
from harness.run.stored_run import StoredRun

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

Values = dict[str, float]
"""One value per sample id."""


def number_of(scores: Mapping[str, Any], metric: str) -> float | None:
    """Return the value of a sample's score, in the score's own unit.

    Parameters
    ----------
    scores : mapping of str to inspect_ai.scorer.Score
        By the scorer's name.
    metric : str
        The name of a scorer, or ``SCORER/KEY`` for one whose value is a mapping.

    Returns
    -------
    float or None
        C, P, I and N are 1, 0.5, 0 and 0, as in Inspect's own accuracy; None for a score that is not there or is NaN.
    """
    from inspect_ai.scorer import value_to_float

    scorer, _, key = metric.partition("/")
    score = scores.get(metric) or scores.get(scorer)
    value = None if score is None else score.value
    if isinstance(value, Mapping):
        value = value.get(key)
    if value is None or isinstance(value, list | Mapping):
        return None
    number = value_to_float()(value)
    return number if math.isfinite(number) else None


def baseline_values(path: Path, benchmark: str, metrics: Mapping[str, str]) -> dict[str, Values]:
    """Read a baseline.

    Parameters
    ----------
    path : Path
        An Inspect log (.eval or .json) or the directory of a run.
    benchmark : str
        The benchmark, where the baseline is a run.
    metrics : mapping of str to str
        Inspect's name of each score, and the baseline's.

    Returns
    -------
    dict of str to dict of str to float
        By Inspect's name of the score, then by the sample's id (`Prompt.key` of a run); the mean over epochs.

    Raises
    ------
    MissingDataError
        There is neither a log nor a run, or the log holds no samples.
    UsageError
        The baseline does not hold a metric, or it is not a mean over prompts.
    """
    if path.is_dir():
        return {name: _of_run(StoredRun.open(path), benchmark, theirs) for name, theirs in metrics.items()}
    if not path.is_file():
        raise MissingDataError(f"no such baseline: {path}", "an Inspect log or a run directory", "check the path")
    log = _read_log(path)
    return {name: _of_log(log, path, theirs) for name, theirs in metrics.items()}


def _read_log(path: Path) -> EvalLog:
    from inspect_ai.log import read_eval_log

    try:
        log = read_eval_log(str(path))
    except Exception as error:  # whatever Inspect's readers raise at a damaged file
        raise MissingDataError(
            f"{path} cannot be read as an Inspect log ({' '.join(str(error).split())[:200]})",
            "a whole .eval or .json log",
        ) from error
    if log.status != "success" or not log.samples:
        raise MissingDataError(
            f"{path} has status {log.status!r} and {len(log.samples or [])} samples",
            "a finished log with samples",
            "finish the baseline, with log_samples on",
        )
    return log


def _of_log(log: EvalLog, path: Path, metric: str) -> Values:
    found: dict[str, list[float]] = {}
    names: set[str] = set()
    for sample in log.samples or []:
        names |= (sample.scores or {}).keys()
        value = number_of(sample.scores or {}, metric)
        if value is not None:
            found.setdefault(str(sample.id), []).append(value)
    if not found:
        raise _unknown(path, metric, names)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _of_run(run: StoredRun, benchmark: str, metric: str) -> Values:
    """The values of a run, in the unit of its scores (shares, not percent)."""
    items = run.benchmark(benchmark).items(metric, run.scores_of(benchmark)) if run.entry(benchmark) else None
    if items is None or not items.scores:
        names = (
            run.metrics(benchmark) if run.entry(benchmark) else [entry["name"] for entry in run.header["benchmarks"]]
        )
        raise _unknown(Path(run.path), f"{benchmark} {metric}", names)
    by_cluster = {prompt.cluster: prompt.key for prompt in run.prompts_of(benchmark).values()}
    scored = [score for score in items.scores if score.value is not None]
    values = unit_values(type(items)(scored, items.scale, items.bounds))
    return {by_cluster[cluster]: float(value) / items.scale for cluster, value in values.items()}


def _unknown(path: Path, metric: str, names: Iterable[str]) -> UsageError:
    there = ", ".join(sorted(names)[:12]) or "nothing"
    return UsageError(
        f"the baseline {path} has no values of {metric}", there, "name a metric of the baseline (`baseline_metrics`)"
    )
