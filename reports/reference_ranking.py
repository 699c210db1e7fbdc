"""The runs' leaderboard against another ranking of the same models: a published one, or people's votes.

The figures are those of the Arena-Hard paper (arXiv:2406.11939, section 3); see `harness.stats.ranking`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.catalog import CATALOG
from harness.errors import FileFormatError, MissingDataError, StatisticsError
from harness.protocols import DataSource
from harness.records import SummaryRow
from harness.stats.estimate import Estimate
from harness.stats.ranking import agreement, kendall, pair_rank_brier, separability, spearman
from harness.store.jsonl import read_text
from reports.leaderboard import Column, Leaderboard
from reports.tables import Table

_LMARENA = "lmarena"
_LMARENA_FILE = "lmarena/leaderboard"
_MODEL_NAMES = ("model", "model_name", "name", "key")
_SCORE_NAMES = ("score", "rating", "arena_score", "elo", "elo_rating", "value")
_LOW_NAMES = ("ci_low", "rating_q025", "rating_lower", "lower")
_HIGH_NAMES = ("ci_high", "rating_q975", "rating_upper", "upper")


@dataclass(frozen=True)
class Reference:
    """A ranking of models.

    Parameters
    ----------
    name : str
        The file it was read from.
    scores : dict of str to float
        Model to score, higher is better.
    limits : dict of str to (float, float)
        Model to confidence limits, where the ranking gives them.
    """

    name: str
    scores: dict[str, float]
    limits: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class RankingFigure:
    """One figure of how well two rankings agree.

    Parameters
    ----------
    figure : str
        Its name.
    value : float or None
        None with a reason in `note`.
    n : int
        Models or pairs it rests on, as `of` says.
    of : {"models", "pairs"}
        What `n` counts.
    ci_low, ci_high : float or None
        Confidence limits over models; only correlations have them.
    note : str
        How it is defined, or why part of it is missing.
    """

    figure: str
    value: float | None
    n: int
    of: str
    ci_low: float | None = None
    ci_high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class AgainstColumn:
    """A column of the leaderboard against the reference.

    Parameters
    ----------
    benchmark, metric : str
        The column.
    models : list of str
        Models in both rankings.
    figures : list of RankingFigure
        The figures.
    """

    benchmark: str
    metric: str
    models: list[str]
    figures: list[RankingFigure]


@dataclass(frozen=True)
class AgainstBoard:
    """Every column of a leaderboard against a reference."""

    reference: str
    columns: list[AgainstColumn]
    not_in_reference: list[str]
    not_in_runs: int
    problems: list[str] = field(default_factory=list)
    level: float = 0.95

    def table(self) -> Table:
        """One row a figure."""
        header = ["figure", "column", "value", f"{self.level:.0%} interval", "n", "method"]
        rows = [
            [
                found.figure,
                f"{column.benchmark} {column.metric}",
                "-" if found.value is None else f"{found.value:.4g}",
                "" if found.ci_low is None or found.ci_high is None else f"{found.ci_low:.3f} to {found.ci_high:.3f}",
                f"{found.n} {found.of}",
                found.note,
            ]
            for column in self.columns
            for found in column.figures
        ]
        notes = [f"against {self.reference}; {self.not_in_runs} of its models are in none of the runs"]
        if self.not_in_reference:
            notes.append("not in it, and left out: " + ", ".join(self.not_in_reference))
        return Table(header, rows, notes + self.problems)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--format json``."""
        return asdict(self)


def read_reference(source: str, data: DataSource) -> Reference:
    """Read a ranking from a file, or LMArena's where the catalogue has it.

    Parameters
    ----------
    source : str
        ``lmarena``, or a file: CSV with columns model and score, JSON with a list of such records or an object of
        scores by model. Confidence limits are read from ci_low and ci_high (or rating_q025 and rating_q975).
    data : DataSource
        The upstream files.

    Returns
    -------
    Reference

    Raises
    ------
    MissingDataError
        There is no such file.
    FileFormatError
        A column is missing, a score is no number, a model is there twice.
    """
    if source == _LMARENA and not Path(source).exists():
        if _LMARENA_FILE not in CATALOG:
            raise MissingDataError(
                "LMArena's leaderboard is not among the upstream files (assay data list)",
                "--against FILE: CSV or JSON with model and score",
                "save its table from https://lmarena.ai/leaderboard with columns model, score, ci_low, ci_high",
            )
        return _reference(data.path(_LMARENA_FILE))
    return _reference(Path(source))


def _reference(path: Path) -> Reference:
    scores: dict[str, float] = {}
    limits: dict[str, tuple[float, float]] = {}
    for line, row in _records(path):
        model = str(_field(path, line, row, _MODEL_NAMES)).strip()
        if model in scores:
            raise FileFormatError(path, line, f"model {model!r} is there twice", "each model once")
        scores[model] = _number(path, line, _field(path, line, row, _SCORE_NAMES))
        low, high = (_field(path, line, row, names, required=False) for names in (_LOW_NAMES, _HIGH_NAMES))
        if low not in (None, "") and high not in (None, ""):
            limits[model] = (_number(path, line, low), _number(path, line, high))
            if limits[model][0] > limits[model][1]:
                raise FileFormatError(path, line, f"limits {low} to {high}", "the lower limit first")
    return Reference(path.name, scores, limits)


def _records(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """Records with their line, or their place in a JSON list."""
    text = read_text(path)
    if not text.lstrip().startswith(("[", "{")):
        reader = csv.DictReader(io.StringIO(text))
        return [(reader.line_num, row) for row in reader]
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileFormatError(path, error.lineno, f"not valid JSON ({error.msg})", "a list or an object") from error
    if isinstance(value, Mapping):
        value = [{"model": model, "score": score} for model, score in value.items()]
    for place, record in enumerate(value, 1):
        if not isinstance(record, Mapping):
            raise FileFormatError(path, place, f"{type(record).__name__} instead of a record", "model and score")
    return list(enumerate(value, 1))


def _field(path: Path, line: int, row: Mapping[str, Any], names: Sequence[str], *, required: bool = True) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    if required:
        there = ", ".join(map(str, row))
        raise FileFormatError(path, line, f"no field {names[0]!r} (fields: {there})", " or ".join(names))
    return None


def _number(path: Path, line: int, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise FileFormatError(path, line, f"{value!r:.80} is not a number", "finite numbers")
    return number


def against(board: Leaderboard, reference: Reference) -> AgainstBoard:
    """Compare every column of a leaderboard with a reference ranking of the same models.

    Raises
    ------
    StatisticsError
        Fewer than two models are in both.
    """
    ours = list(dict.fromkeys(row.model for row in board.rows))
    shared = [model for model in ours if model in reference.scores]
    if len(shared) < 2:
        raise StatisticsError(
            f"{len(shared)} of the {len(ours)} models of the runs are in {reference.name}",
            "at least two models with the same name in both",
            f"runs: {', '.join(ours[:5])}; {reference.name}: {', '.join(list(reference.scores)[:5])}",
        )
    columns = [_compare(board, column, reference) for column in board.columns]
    problems = [f"{row.model} is not valid: {problem}" for row in board.rows for problem in row.problems]
    missing = [model for model in ours if model not in reference.scores]
    return AgainstBoard(reference.name, columns, missing, len(reference.scores) - len(shared), problems, board.level)


def _compare(board: Leaderboard, column: Column, reference: Reference) -> AgainstColumn:
    rows: dict[str, SummaryRow] = {}
    for row in board.rows:
        cell = row.cells.get(column)
        # A run of our own comes before a published row of the same name.
        if cell is not None and cell.row.value is not None and row.model in reference.scores:
            rows[row.model] = cell.row if not row.published else rows.get(row.model, cell.row)
    compute = _figures(list(rows), list(rows.values()), reference, board.level)
    figures = [_attempt(name, figure, len(rows)) for name, figure in compute.items()]
    return AgainstColumn(column.benchmark, column.metric, list(rows), figures)


def _attempt(name: str, compute: Callable[[], RankingFigure], n_models: int) -> RankingFigure:
    """A figure, or why there is none."""
    try:
        return replace(compute(), figure=name)
    except StatisticsError as error:
        return RankingFigure(name, None, n_models, "models", note=error.found)


def _figures(
    models: list[str], rows: list[SummaryRow], reference: Reference, level: float
) -> dict[str, Callable[[], RankingFigure]]:
    """How to compute each figure of models that are in both rankings; limits are the score where there are none."""
    scores = np.array([row.value for row in rows], dtype=np.float64)
    truth = np.array([reference.scores[model] for model in models])
    pairs = [(row.value, row.value) if row.ci_low is None else (row.ci_low, row.ci_high) for row in rows]
    limits = np.array(pairs, dtype=np.float64)
    reference_limits = np.array([reference.limits.get(model, (reference.scores[model],) * 2) for model in models])
    pointwise = "" if reference.limits else " (no intervals in the reference: it separates all that differ)"

    def of_pairs(value: float, note: str) -> RankingFigure:
        return RankingFigure("", value, len(models) * (len(models) - 1) // 2, "pairs", note=note)

    def separated(own: NDArray[np.float64]) -> RankingFigure:
        return of_pairs(separability(own), "share of pairs whose intervals do not overlap")

    def reference_separated() -> RankingFigure:
        if not reference.limits:
            raise StatisticsError("the reference has no intervals")
        return separated(reference_limits)

    def agreed() -> RankingFigure:
        found = agreement(limits, reference_limits)
        note = "over the pairs the reference separates; a pair the runs do not separate counts one half"
        return RankingFigure("", found.score, found.n_reference_separated, "pairs", note=note + pointwise)

    def agreed_with_sign() -> RankingFigure:
        note = "over all pairs: 1 the same way, -1 opposite ways, 0 where one does not separate them"
        return of_pairs(agreement(limits, reference_limits).signed_score, note + pointwise)

    def brier() -> RankingFigure:
        without = [model for model, row in zip(models, rows, strict=True) if row.stderr is None]
        if without:
            raise StatisticsError(f"{len(without)} models have no standard error, for example {without[0]}")
        stderrs = np.array([row.stderr for row in rows], dtype=np.float64)
        return of_pairs(pair_rank_brier(scores, stderrs, truth), "0 is perfect, 0.25 a coin")

    return {
        "spearman": lambda: _correlation(spearman(scores, truth, level)),
        "kendall": lambda: _correlation(kendall(scores, truth, level)),
        "separability": lambda: separated(limits),
        "separability_of_reference": reference_separated,
        "agreement": agreed,
        "signed_agreement": agreed_with_sign,
        "pair_rank_brier": brier,
    }


def _correlation(found: Estimate) -> RankingFigure:
    note = found.note or found.method
    return RankingFigure("", found.value, found.n, "models", found.ci_low, found.ci_high, note)
