"""The leaderboard: one row per model, one column per metric, with intervals, ranks and rank ranges."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import AssayError, UnknownNameError, UsageError
from harness.packages import package_file
from harness.records import SummaryRow
from harness.run.score import RunScores
from harness.stats.ranking import RankRange, rank_ranges
from reports.tables import Table

_N_DRAWS = 2000
_PUBLISHED = (
    ("win_rate", "win_rate", "standard_error"),
    ("length_controlled_win_rate", "length_controlled_winrate", ""),
)
_SEED = 20241115  # of the rank bootstrap; fixed, so that the same runs always rank the same

UnitValues = Callable[[RunScores, str, str], dict[str, float] | None]
"""Per-prompt values whose mean is a metric (`harness.run.compare.unit_values` of the benchmark's items)."""


@dataclass(frozen=True)
class Column:
    """A metric of a benchmark."""

    benchmark: str
    metric: str

    @property
    def title(self) -> str:
        """The header of the column."""
        return f"{self.benchmark} {self.metric}"


@dataclass(frozen=True)
class Cell:
    """A figure of a model: the summary row, and the rank among the models of the table."""

    row: SummaryRow
    rank: RankRange | None = None


@dataclass(frozen=True)
class LeaderboardRow:
    """A model.

    Parameters
    ----------
    model : str
        Its name.
    cells : dict of Column to Cell
        Its figures.
    valid : bool
        Whether its run may be compared.
    problems : list of str
        The reasons, if it may not.
    published : bool
        Whether it comes from a published table.
    """

    model: str
    cells: dict[Column, Cell]
    valid: bool = True
    problems: list[str] = field(default_factory=list)
    published: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """The table, best first by its first column."""

    columns: list[Column]
    rows: list[LeaderboardRow]
    level: float = 0.95

    def table(self) -> Table:
        """Five columns a metric: value, interval, rank with its range, n, what was not scored."""
        names, header, rows = ["model"], ["model"], []
        for column in self.columns:
            names += [column.title, *(f"{column.title} {part}" for part in ("interval", "rank", "n", "not scored"))]
            header += [column.title, f"{self.level:.0%} interval", "rank (range)", "n", "not scored"]
        for entry in self.rows:
            marks = "" if entry.valid else " [not valid]"
            marks += " (published)" if entry.published else ""
            rows.append([entry.model + marks])
            for column in self.columns:
                rows[-1] += _figure(entry.cells.get(column))
        notes = [f"{row.model} is not valid: {problem}" for row in self.rows for problem in row.problems]
        return Table(header, rows, notes, names, [column.title for column in self.columns])

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--format json``."""
        return {
            "level": self.level,
            "columns": [{"benchmark": c.benchmark, "metric": c.metric} for c in self.columns],
            "rows": [
                {
                    "model": row.model,
                    "valid": row.valid,
                    "problems": row.problems,
                    "published": row.published,
                    "figures": [
                        {
                            **cell.row.model_dump(mode="json"),
                            "rank": cell.rank.rank if cell.rank else None,
                            "rank_low": cell.rank.low if cell.rank else None,
                            "rank_high": cell.rank.high if cell.rank else None,
                        }
                        for cell in row.cells.values()
                    ],
                }
                for row in self.rows
            ],
        }


def build_leaderboard(
    runs: Sequence[RunScores],
    judges: Sequence[dict[str, set[str]]],
    unit_values: UnitValues,
    metrics: Sequence[str] | None = None,
    published: Sequence[LeaderboardRow] = (),
) -> Leaderboard:
    """Put runs side by side.

    Parameters
    ----------
    runs : sequence of RunScores
        Their figures.
    judges : sequence of dict
        For each run, the judges (model, template, parser) of each benchmark.
    unit_values : callable
        Per-prompt values behind a metric, None where it is no mean; rank ranges rest on them.
    metrics : sequence of str, optional
        Columns as "benchmark:metric"; the headlines the runs have where not given.
    published : sequence of LeaderboardRow
        Rows of a published table.

    Returns
    -------
    Leaderboard

    Raises
    ------
    UsageError
        Two runs have one name, or a column would mix judges.
    UnknownNameError
        No run has a metric asked for.
    """
    _refuse_namesakes(runs)
    columns = _columns(runs, metrics)
    for name in dict.fromkeys(column.benchmark for column in columns):
        refuse_mixed_judges(name, {run.model: own[name] for run, own in zip(runs, judges, strict=True) if name in own})
    ranks = {column: _ranks(column, runs, unit_values) for column in columns}
    rows = [
        LeaderboardRow(
            model=run.model,
            cells={
                column: Cell(found, ranks[column].get(run.model))
                for column in columns
                if (found := _find(run, column)) is not None
            },
            valid=run.valid,
            problems=run.problems,
        )
        for run in runs
    ]
    return Leaderboard(columns, sorted([*rows, *published], key=lambda row: _order(row, columns)))


def _figure(cell: Cell | None) -> tuple[str, str, str, str, str]:
    """Value, interval, rank with range, n, number not scored."""
    if cell is None:
        return "", "", "", "", ""
    row = cell.row
    unscored = str(row.n_unscored or 0)
    if row.value is None:
        return "-", row.reason or "", "", str(row.n), unscored
    rank = "" if cell.rank is None else f"{cell.rank.rank} ({cell.rank.low}-{cell.rank.high})"
    return f"{row.value:.2f}", _interval(row), rank, str(row.n), "" if row.method == "published" else unscored


def _interval(row: SummaryRow) -> str:
    if row.ci_low is not None and row.ci_high is not None:
        return f"{row.ci_low:.1f} to {row.ci_high:.1f}"
    return "" if row.stderr is None else f"SE {row.stderr:.2f}"


def _order(row: LeaderboardRow, columns: Sequence[Column]) -> tuple[float, str]:
    values = [row.cells[c].row.value for c in columns if c in row.cells]
    first = next((v for v in values if v is not None), None)
    return (-first if first is not None else float("inf"), row.model)


def _refuse_namesakes(runs: Sequence[RunScores]) -> None:
    seen: dict[str, str] = {}
    for run in runs:
        if run.model in seen:
            raise UsageError(
                f"two runs of a model named {run.model!r}: {seen[run.model]} and {run.run}",
                "one row a model",
                "give one of them, or run with --model-name",
            )
        seen[run.model] = run.run


def _columns(runs: Sequence[RunScores], metrics: Sequence[str] | None) -> list[Column]:
    there = list(dict.fromkeys(Column(row.benchmark, row.metric) for run in runs for row in run.rows))
    if metrics is None:
        return _headlines(runs) or there[:1]
    by_name = {f"{c.benchmark}:{c.metric}": c for c in there}
    for name in metrics:
        if name not in by_name:
            raise UnknownNameError("metric of these runs", name, by_name)
    return [by_name[name] for name in metrics]


def _headlines(runs: Sequence[RunScores]) -> list[Column]:
    """The headlines of every benchmark that any run has a value of; its first figure where it names none."""
    measured: dict[str, dict[Column, None]] = {}
    for run in runs:
        for row in run.rows:
            if row.value is not None:
                measured.setdefault(row.benchmark, {})[Column(row.benchmark, row.metric)] = None
    holders = {name: run for run in runs for name in run.benchmarks}
    columns: list[Column] = []
    for name, own in measured.items():
        named = [Column(name, metric) for metric in _headlines_of(holders[name], name)]
        columns += [column for column in named if column in own] or list(own)[:1]
    return columns


def _headlines_of(run: RunScores, name: str) -> tuple[str, ...]:
    try:
        return run.benchmark(name).headlines
    except AssayError:  # this installation does not know the benchmark
        return ()


def refuse_mixed_judges(benchmark: str, judges: Mapping[str, Collection[str]]) -> None:
    """Raise if runs of a benchmark were judged by different judges.

    Parameters
    ----------
    benchmark : str
        Its name.
    judges : mapping of str to collection of str
        Name of each run or model to its judges (model, template, parser).

    Raises
    ------
    UsageError
        They are not all the same.
    """
    if len({frozenset(ids) for ids in judges.values()}) > 1:
        groups = "; ".join(f"{name}: {', '.join(sorted(ids)) or 'none'}" for name, ids in judges.items())
        raise UsageError(
            f"{benchmark} was judged by different judges, templates or parsers ({groups})",
            "one judge for all rows of a table",
            "judge the runs alike, or print one table for each judge",
        )


def _find(run: RunScores, column: Column) -> SummaryRow | None:
    return next((r for r in run.rows if (r.benchmark, r.metric) == (column.benchmark, column.metric)), None)


def _ranks(column: Column, runs: Sequence[RunScores], unit_values: UnitValues) -> dict[str, RankRange]:
    """Rank the runs that have per-prompt values, on resamples of the prompts they share."""
    found = {run.model: unit_values(run, column.benchmark, column.metric) for run in runs}
    values = {model: v for model, v in found.items() if v}
    if len(values) < 2:
        return {}
    shared = sorted(set.intersection(*(set(v) for v in values.values())))
    if len(shared) < 2:
        return {}
    table = np.array([[v[cluster] for cluster in shared] for v in values.values()])
    return dict(zip(values, rank_ranges(_draws(table)), strict=True))


def _draws(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the models over resampled prompts, shape (draws, models)."""
    rng = np.random.default_rng(_SEED)
    n = table.shape[1]
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=_N_DRAWS)
    return np.asarray(counts @ table.T / n, dtype=np.float64)


def published_alpaca_eval() -> list[LeaderboardRow]:
    """Read AlpacaEval 2's published rows out of the installed alpaca-eval package.

    The published standard error of the raw win rate is the usual one; that of the length-controlled win rate is the
    spread of fitted preferences and too small, so it is not shown.
    """
    path = package_file(
        "alpaca_eval", "leaderboards", "data_AlpacaEval_2", "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
    )
    text = path.read_text(encoding="utf-8")
    rows = []
    for entry in csv.DictReader(text.splitlines()):
        n = int(float(entry["n_total"]))
        cells = {}
        for metric, value, stderr in _PUBLISHED:
            if entry.get(value):
                figure = SummaryRow(
                    benchmark="alpaca_eval",
                    metric=metric,
                    value=float(entry[value]),
                    stderr=float(entry[stderr]) if stderr else None,
                    method="published",
                    n=n,
                    n_clusters=n,
                )
                cells[Column("alpaca_eval", metric)] = Cell(figure)
        rows.append(LeaderboardRow(model=entry[""], cells=cells, published=True))
    return rows
