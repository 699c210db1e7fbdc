"""What the length-controlled win rate of AlpacaEval 2 is computed from, checked on the way in."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.alpaca_eval.logistic import Array
from harness.errors import FileFormatError, StatisticsError

_GAMED_NUMBERS = ("preference", "std_delta_len", "instruction_difficulty")
_GAMED_COLUMNS = ("index", *_GAMED_NUMBERS, "not_gamed_baseline")

GAMED_WEIGHT = 0.2 / 2
"""Weight of a gamed row: upstream's 0.2, shared among the two gamed models."""
N_FOLDS = 5
"""Folds of the cross-validation that chooses the penalty."""
_MIN_PROMPTS = 30
"""Fewer prompts are refused: three coefficients and a cross-validation cannot be estimated from a handful."""
_UPSTREAM_GRID = tuple(float(c) for c in np.logspace(-4, 4, 10))


@dataclass(frozen=True, slots=True)
class GamedBaseline:
    """Rows of the gamed models towards which the regression is regularised (``df_gamed.csv``).

    Parameters
    ----------
    preference : ndarray, shape (n_gamed,)
        Share of the gamed model, in [0, 1].
    std_delta_len : ndarray, shape (n_gamed,)
        Length difference (baseline minus gamed model), standardised already.
    instruction_difficulty : ndarray, shape (n_gamed,)
        Difficulty of the row's instruction.

    Raises
    ------
    StatisticsError
        Shapes differ, a value is not finite or a preference lies outside [0, 1].
    """

    preference: Array
    std_delta_len: Array
    instruction_difficulty: Array

    def __post_init__(self) -> None:
        _check_columns(self, ("preference", "std_delta_len", "instruction_difficulty"), "the gamed baseline", ())


@dataclass(frozen=True, slots=True)
class LengthControlData:
    """One model's verdicts against the baseline, a row a prompt.

    Parameters
    ----------
    preference : ndarray, shape (n,)
        Share of the model, in [0, 1]; upstream's preference minus one. NaN marks a prompt that was judged but not
        scored, and is refused unless the spec says ``unscored="predict"``.
    length_model, length_baseline : ndarray, shape (n,)
        Characters of the model's and of the baseline's response.
    difficulty : ndarray, shape (n,)
        Difficulty of each prompt's instruction. Looked up by the instruction it gives the corrected figure, by the
        row's position upstream's published one.

    Raises
    ------
    StatisticsError
        Shapes differ, a length or difficulty is missing or a preference lies outside [0, 1].
    """

    preference: Array
    length_model: Array
    length_baseline: Array
    difficulty: Array

    def __post_init__(self) -> None:
        names = ("preference", "length_model", "length_baseline", "difficulty")
        _check_columns(self, names, "the model's verdicts", ("preference",))

    @property
    def n(self) -> int:
        """Number of prompts."""
        return len(self.preference)

    @property
    def length_difference(self) -> Array:
        """Characters by which the baseline is longer, shape (n,)."""
        return self.length_baseline - self.length_model


@dataclass(frozen=True, slots=True)
class LengthControlSpec:
    """How the length-controlled win rate is computed; the defaults are AlpacaEval 2's.

    Parameters
    ----------
    C_grid : tuple of float
        Candidates for the inverse strength of the penalty, ascending.
    unscored : {"refuse", "predict"}, default "refuse"
        What to do with a NaN preference. Upstream leaves such rows out of the fit but counts their lengths and
        predicts for them ("predict").
    solver : {"minimum", "liblinear"}, default "minimum"
        "minimum" solves the regression; "liblinear" stops where upstream's solver stops, up to 0.012 points away on
        real models, which is what a published figure needs.
    """

    C_grid: tuple[float, ...] = _UPSTREAM_GRID
    unscored: Literal["refuse", "predict"] = "refuse"
    solver: Literal["minimum", "liblinear"] = "minimum"

    def __post_init__(self) -> None:
        grid = np.asarray(self.C_grid, dtype=float)
        if not grid.size or not (np.isfinite(grid) & (grid > 0)).all() or (np.diff(grid) <= 0).any():
            raise StatisticsError(f"C_grid is {self.C_grid}", "positive numbers in ascending order")
        for name, allowed in (("unscored", ("refuse", "predict")), ("solver", ("minimum", "liblinear"))):
            if getattr(self, name) not in allowed:
                raise StatisticsError(f"{name} is {getattr(self, name)!r}", " or ".join(map(repr, allowed)))


def refuse_unusable(data: LengthControlData, spec: LengthControlSpec) -> None:
    """Raise where these verdicts allow no length-controlled win rate.

    Parameters
    ----------
    data : LengthControlData
        One model's verdicts.
    spec : LengthControlSpec
        What is asked of them.

    Raises
    ------
    StatisticsError
        Too few prompts, a verdict missing that the spec does not allow to be missing, or all verdicts equal.
    """
    missing = np.isnan(data.preference)
    n_scored = data.n - int(missing.sum())
    if missing.any() and spec.unscored == "refuse":
        raise StatisticsError(
            f"{int(missing.sum())} of {data.n} verdicts are missing",
            "a verdict on every row",
            "leave those rows out and count them as not scored",
        )
    if n_scored < _MIN_PROMPTS:
        raise StatisticsError(
            f"{n_scored} scored prompts",
            f"at least {_MIN_PROMPTS} for a length-controlled win rate",
            "judge more prompts, or report the plain win rate",
        )
    scored = data.preference[~missing]
    if np.ptp(scored) == 0.0:
        raise StatisticsError(
            f"every verdict is {scored[0]:g}, so nothing can be learned of length",
            "verdicts that differ",
            "report the plain win rate (the baseline against itself is 50 by construction)",
        )


def read_gamed(path: Path) -> tuple[GamedBaseline, Array]:
    """Read upstream's ``df_gamed.csv``.

    Parameters
    ----------
    path : Path
        The file; columns index, preference, std_delta_len, instruction_difficulty, not_gamed_baseline (any others
        are ignored).

    Returns
    -------
    gamed : GamedBaseline
        The rows with a preference, in the file's order.
    difficulty : ndarray, shape (n_instructions,)
        Difficulty of each instruction, ordered by its index.

    Raises
    ------
    FileFormatError
        A column is missing, a value is not a number, a row is not of a gamed model, an index is missing or has two
        difficulties.
    """
    rows = _read_rows(path)
    difficulty = _difficulty_by_index(path, rows)
    kept = []
    for line, row in rows:
        if row["not_gamed_baseline"].strip().lower() not in ("false", "0", "0.0"):
            found = f"not_gamed_baseline is {row['not_gamed_baseline']!r}"
            raise FileFormatError(path, line, found, "False: this file holds gamed models only")
        if row["preference"].strip():
            kept.append([_number(path, line, row, name) for name in _GAMED_NUMBERS])
    if not kept:
        raise FileFormatError(path, None, "no row has a preference", "two gamed models' preferences")
    return GamedBaseline(*np.array(kept).T), difficulty


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line numbers."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or [])
        missing = [name for name in _GAMED_COLUMNS if name not in header]
        if missing:
            raise FileFormatError(path, 1, f"columns {header} lack {missing}", f"columns {list(_GAMED_COLUMNS)}")
        rows = [(reader.line_num, row) for row in reader]
    for line, row in rows:
        if any(row[name] is None for name in _GAMED_COLUMNS):
            raise FileFormatError(path, line, "too few columns", f"{len(header)} columns")
    if not rows:
        raise FileFormatError(path, None, "no rows", "one row for each instruction")
    return rows


def _difficulty_by_index(path: Path, rows: list[tuple[int, dict[str, str]]]) -> Array:
    by_index: dict[int, float] = {}
    for line, row in rows:
        index = _number(path, line, row, "index")
        value = _number(path, line, row, "instruction_difficulty")
        if by_index.setdefault(int(index), value) != value:
            found = f"instruction {int(index)} has difficulty {value} here and {by_index[int(index)]} above"
            raise FileFormatError(path, line, found, "one difficulty an instruction")
    if sorted(by_index) != list(range(len(by_index))):
        raise FileFormatError(path, None, "the index has gaps", f"0 to {len(by_index) - 1}, each present")
    return np.array([by_index[index] for index in range(len(by_index))])


def _number(path: Path, line: int, row: dict[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError as error:
        raise FileFormatError(path, line, f"{name} is {row[name]!r}", "a number") from error
    if not np.isfinite(value):
        raise FileFormatError(path, line, f"{name} is {row[name]!r}", "a finite number")
    return value


def _check_columns(container: object, names: tuple[str, ...], what: str, may_be_nan: tuple[str, ...]) -> None:
    """Equal shapes, finite values, preferences in [0, 1]; columns become float arrays."""
    columns = {}
    for name in names:
        try:
            columns[name] = np.asarray(getattr(container, name), dtype=float)
        except (TypeError, ValueError) as error:
            raise StatisticsError(f"{name} of {what} are not all numbers ({error})", "numbers") from error
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or len(shapes[names[0]]) != 1:
        raise StatisticsError(f"columns of {what} have shapes {shapes}", "one value a row in each")
    for name, column in columns.items():
        bad = np.isinf(column) if name in may_be_nan else ~np.isfinite(column)
        if bad.any():
            raise StatisticsError(
                f"{name} of {what} is missing on {int(bad.sum())} of {len(column)} rows (first: row {bad.argmax()})",
                "a finite number on every row",
                "leave the row out and count it as not scored",
            )
        object.__setattr__(container, name, column)
    preference = columns["preference"]
    outside = (preference < 0) | (preference > 1)
    if outside.any():
        raise StatisticsError(
            f"{int(outside.sum())} preferences of {what} lie outside [0, 1], for example {preference[outside][0]}",
            "the share of the model, between 0 and 1",
            "subtract 1 from upstream's scale of 1 to 2; a 0 there is a draw, 0.5 here",
        )
