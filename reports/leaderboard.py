"""The leaderboard: one row per model, one column per metric, with intervals, ranks and rank ranges."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import AssayError, UnknownNameError, UsageError
from harness.packages import package_file
from harness.records import SummaryRow
from harness.run.judged_by import JudgedBy
from harness.run.prompt_count import PromptCount
from harness.run.score import RunScores
from harness.stats.ranking import RankRange, rank_ranges, simultaneous_ranks
from reports.tables import Table

_N_DRAWS = 2000
_PUBLISHED = (
    ("win_rate", "win_rate", "standard_error"),
    ("length_controlled_win_rate", "length_controlled_winrate", ""),
)
PUBLISHED_JUDGE = JudgedBy(
    "weighted_alpaca_eval_gpt4_turbo",
    also=frozenset({"gpt-4-1106-preview"}),
    against=frozenset({"gpt4_1106_preview"}),
)
"""AlpacaEval 2's annotator by the name its annotations have, the model it is, and the baseline."""
SCALES = "figures by different judges or against different baselines are on different scales"
_SCALES = (
    f"{SCALES}: rows of one judge and baseline stand together and are ranked among themselves; assay rebase makes a "
    "bridge between two judges, and --bridge FILE converts by it"
)
_RANKS = (
    "marginal ranks: the range one model takes when the prompts are drawn again, each model by itself; simultaneous "
    "ranks: all ranges together hold the true ranks of all models (step-down tests of every pair, Mogstad et al. 2024)"
)
_SEED = 20241115  # of the rank bootstrap; fixed, so that the same runs always rank the same

UnitValues = Callable[[RunScores, str, str], dict[str, float] | None]
"""Per-prompt values whose mean is a metric (`harness.run.compare.unit_values` of the benchmark's items)."""


Convert = Callable[[Sequence["LeaderboardRow"]], list["LeaderboardRow"]]
"""Converts rows to another judge's scale."""


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
    """A figure of a model.

    Parameters
    ----------
    row : SummaryRow
        The figure.
    rank : RankRange or None
        Its rank among the figures of the table that are on the same judge's scale, and its marginal range.
    converted_from : str
        The judge it was made with, if a bridge converted it to another's scale; "" if it was not converted.
    simultaneous : RankRange or None
        The same rank, and its range of the ranges that together hold the ranks of all figures.
    """

    row: SummaryRow
    rank: RankRange | None = None
    converted_from: str = ""
    simultaneous: RankRange | None = None


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
    judges : dict of str to JudgedBy
        By benchmark, the judge on whose scale its figures are.
    counts : dict of str to PromptCount
        How many prompts it has of the benchmarks of which it has only some.
    """

    model: str
    cells: dict[Column, Cell]
    valid: bool = True
    problems: list[str] = field(default_factory=list)
    published: bool = False
    judges: Mapping[str, JudgedBy] = field(default_factory=dict)
    counts: Mapping[str, PromptCount] = field(default_factory=dict)

    def judge(self, column: Column) -> JudgedBy | None:
        """Return the judge of a figure; None if it has none."""
        return self.judges.get(column.benchmark) if column in self.cells else None

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--format json``."""
        return {
            "model": self.model,
            "valid": self.valid,
            "problems": self.problems,
            "published": self.published,
            "judges": {benchmark: judge.name for benchmark, judge in self.judges.items()},
            "baselines": {benchmark: sorted(j.against) for benchmark, j in self.judges.items() if j.against},
            "prompts": {benchmark: count.as_json() for benchmark, count in self.counts.items()},
            "figures": [_cell_json(cell) for cell in self.cells.values()],
        }

    def is_on(self, scale: JudgedBy | None, column: Column) -> bool:
        """Whether the row has a figure on a judge's scale; None is the scale of figures without a judge."""
        judge = self.judge(column)
        if judge is None or scale is None:
            return column in self.cells and judge is scale
        return judge.is_same(scale)


@dataclass(frozen=True)
class Leaderboard:
    """The table: rows on one judge's scale together, best first by its first column.

    Parameters
    ----------
    columns : list of Column
    rows : list of LeaderboardRow
    level : float
        Nominal coverage of the intervals.
    differing : sequence of str
        What else differs between the runs (`harness.run.comparability.differing_runs`).
    """

    columns: list[Column]
    rows: list[LeaderboardRow]
    level: float = 0.95
    differing: Sequence[str] = ()

    def table(self) -> Table:
        """Six columns a metric: value, interval, rank with its range, n, what was not scored, the simultaneous range.

        The judge has a seventh column in a table with published rows, converted ones, or several judges.
        """
        parts = ["interval", "rank", "n", "not scored", "simultaneous ranks", "judge"][: 6 if self.names_judges else 5]
        shown = [f"{self.level:.0%} interval", "rank (marginal)", *parts[2:]]
        names, header = ["model"], ["model"]
        for title in (column.title for column in self.columns):
            names += [title, *(f"{title} {part}" for part in parts)]
            header += [title, *shown]
        rows = [self._cells(row) for row in self.rows]
        return Table(header, rows, self._notes(), names, [column.title for column in self.columns])

    def _notes(self) -> list[str]:
        problems = [f"{row.model} is not valid: {problem}" for row in self.rows for problem in row.problems]
        ranked = any(cell.rank is not None for row in self.rows for cell in row.cells.values())
        return [*problems, *self.differing, *[_SCALES] * (self.n_scales > 1), *[_RANKS] * ranked]

    def _cells(self, row: LeaderboardRow) -> list[str]:
        marks = "" if row.valid else " [not valid]"
        cells = [row.model + marks + (" (published)" if row.published else "")]
        for column in self.columns:
            cells += _figure(row.cells.get(column), row.counts.get(column.benchmark))
            cells += [self.judge_words(row, column)] if self.names_judges else []
        return cells

    @property
    def names_judges(self) -> bool:
        """Whether readers must be told the judges."""
        is_old = any(cell.converted_from for row in self.rows for cell in row.cells.values())
        return is_old or any(row.published for row in self.rows) or self.n_scales > 1

    @property
    def n_scales(self) -> int:
        """The most judges on whose scales the figures of one column are."""
        return max((len(_distinct(column, self.rows)) for column in self.columns), default=0)

    def judge_words(self, row: LeaderboardRow, column: Column) -> str:
        """Say on which judge's scale a figure is, and with which it was made if that is another."""
        judge = row.judge(column)
        if judge is None:
            return ""
        same = [other for other in _distinct(column, self.rows) if other.name == judge.name]
        name = judge.name if all(map(judge.is_same_judge, same)) else f"{judge.name} [{min(judge.ids, default='')[:8]}]"
        name = name if all(map(judge.has_same_baseline, same)) else f"{name} against {', '.join(sorted(judge.against))}"
        made = row.cells[column].converted_from
        return f"{name}, converted from {made}" if made else name

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--format json``."""
        return {
            "level": self.level,
            "columns": [{"benchmark": c.benchmark, "metric": c.metric} for c in self.columns],
            "differences": list(self.differing),
            "rows": [row.as_json() for row in self.rows],
        }


def _cell_json(cell: Cell) -> dict[str, Any]:
    marginal, simultaneous = cell.rank, cell.simultaneous
    return {
        **cell.row.model_dump(mode="json"),
        "rank": marginal.rank if marginal else None,
        "rank_low": marginal.low if marginal else None,
        "rank_high": marginal.high if marginal else None,
        "rank_low_simultaneous": simultaneous.low if simultaneous else None,
        "rank_high_simultaneous": simultaneous.high if simultaneous else None,
        "converted_from": cell.converted_from or None,
    }


def build_leaderboard(
    runs: Sequence[RunScores],
    judges: Sequence[Mapping[str, JudgedBy]],
    unit_values: UnitValues,
    metrics: Sequence[str] | None = None,
    published: Sequence[LeaderboardRow] = (),
    convert: Convert | None = None,
) -> Leaderboard:
    """Put runs side by side.

    Parameters
    ----------
    runs : sequence of RunScores
        Their figures.
    judges : sequence of mapping
        For each run, the judge of each benchmark.
    unit_values : callable
        Per-prompt values behind a metric, None where it is no mean; rank ranges rest on them.
    metrics : sequence of str, optional
        Columns as "benchmark:metric"; the headlines the runs have where not given.
    published : sequence of LeaderboardRow
        Rows of a published table.
    convert : callable, optional
        Converts figures to another judge's scale (`reports.bridged.with_bridge`).

    Returns
    -------
    Leaderboard
        Figures by different judges stand apart and are ranked apart.

    Raises
    ------
    UsageError
        Two runs have one name.
    UnknownNameError
        No run has a metric asked for.
    """
    _refuse_namesakes(runs)
    columns = _columns(runs, metrics)
    rows = [_row_of(run, own, columns) for run, own in zip(runs, judges, strict=True)]
    rows += [replace(r, cells={c: cell for c, cell in r.cells.items() if c in columns}) for r in published]
    if convert is not None:
        rows = convert(rows)
    for column in columns:
        values = [unit_values(run, column.benchmark, column.metric) for run in runs]
        for place, (marginal, simultaneous) in _ranks(column, rows, values).items():
            cell = replace(rows[place].cells[column], rank=marginal, simultaneous=simultaneous)
            rows[place] = replace(rows[place], cells={**rows[place].cells, column: cell})
    return Leaderboard(columns, ordered(rows, columns))


def _row_of(run: RunScores, judges: Mapping[str, JudgedBy], columns: Sequence[Column]) -> LeaderboardRow:
    found = {column: _find(run, column) for column in columns}
    cells = {column: Cell(row) for column, row in found.items() if row is not None}
    return LeaderboardRow(run.model, cells, run.valid, run.problems, judges=judges, counts=run.counts)


def _distinct(column: Column, rows: Sequence[LeaderboardRow]) -> list[JudgedBy]:
    """The judges of a column's figures."""
    found: list[JudgedBy] = []
    for row in rows:
        judge = row.judge(column)
        if judge is not None and not any(judge.is_same(other) for other in found):
            found.append(judge)
    return found


def ordered(rows: Sequence[LeaderboardRow], columns: Sequence[Column]) -> list[LeaderboardRow]:
    """Rows on one judge's scale together, by the first column they have; published rows' scale first."""
    scales = {c: sorted(_distinct(c, rows), key=lambda s: not _is_published(s, c, rows)) for c in columns}

    def key(row: LeaderboardRow) -> tuple[int, float, str]:
        column = next((c for c in columns if row.judge(c) is not None), None)
        judge = None if column is None else row.judge(column)
        scale = 0
        if column is not None and judge is not None:
            scale = next(place for place, other in enumerate(scales[column]) if judge.is_same(other))
        return (scale, *_order(row, columns))

    return sorted(rows, key=key)


def _is_published(scale: JudgedBy, column: Column, rows: Sequence[LeaderboardRow]) -> bool:
    return any(row.published and row.is_on(scale, column) for row in rows)


def n_words(row: SummaryRow, count: PromptCount | None) -> str:
    """Return the number of observations; of a run of only some prompts, which share they are."""
    if count is None:
        return str(row.n)
    return count.words if row.n == count.n else f"{row.n}, {count.words}"


def _figure(cell: Cell | None, count: PromptCount | None) -> tuple[str, str, str, str, str, str]:
    """Value, interval, rank with its marginal range, n, number not scored, simultaneous range."""
    if cell is None:
        return "", "", "", "", "", ""
    row = cell.row
    unscored = str(row.n_unscored or 0)
    if row.value is None:
        return "-", row.reason or "", "", n_words(row, count), unscored, ""
    unscored = "" if row.method == "published" else unscored
    marginal, simultaneous = rank_words(cell)
    return f"{row.value:.2f}", _interval(row), marginal, n_words(row, count), unscored, simultaneous


def rank_words(cell: Cell) -> tuple[str, str]:
    """Return a figure's rank with its marginal range, and its simultaneous range; "" if it has none."""
    marginal = "" if cell.rank is None else f"{cell.rank.rank} ({cell.rank.low}-{cell.rank.high})"
    return marginal, "" if cell.simultaneous is None else f"{cell.simultaneous.low}-{cell.simultaneous.high}"


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


@dataclass(frozen=True)
class _Drawn:
    """Figures to rank: the places of their rows, their values, and draws of shape (draws, figures).

    `n_clusters` is the least number of prompts behind one of them.
    """

    places: list[int]
    values: list[float]
    draws: NDArray[np.float64]
    n_clusters: int

    def ranks(self) -> dict[int, tuple[RankRange, RankRange]]:
        """Marginal and simultaneous ranks by place; none for a single figure."""
        if len(self.places) < 2:
            return {}
        simultaneous = simultaneous_ranks(np.array(self.values), self.draws, self.n_clusters)
        return dict(zip(self.places, zip(rank_ranges(self.draws), simultaneous, strict=True), strict=True))


def _ranks(
    column: Column, rows: Sequence[LeaderboardRow], values: Sequence[dict[str, float] | None]
) -> dict[int, tuple[RankRange, RankRange]]:
    """Rank the figures on one judge's scale, by their place among the rows.

    Those of runs are drawn on resamples of the prompts the runs share, converted ones from their intervals. `values`
    are the per-prompt values of the runs, which are the first rows.
    """
    ranks: dict[int, tuple[RankRange, RankRange]] = {}
    for scale in (*_distinct(column, rows), None):
        own = [i for i, row in enumerate(rows) if row.is_on(scale, column)]
        converted = [i for i in own if rows[i].cells[column].converted_from]
        drawn = _converted_draws(column, rows, converted)
        measured = _run_draws(_measured(values, [i for i in own if i not in converted]))
        ranks |= (drawn if measured is None else _joined(measured, drawn)).ranks()
    return ranks


def _measured(values: Sequence[dict[str, float] | None], places: Sequence[int]) -> dict[int, dict[str, float]]:
    return {i: found for i in places if i < len(values) and (found := values[i])}


def _joined(first: _Drawn, second: _Drawn) -> _Drawn:
    return _Drawn(
        [*first.places, *second.places],
        [*first.values, *second.values],
        np.hstack([first.draws, second.draws]),
        min(first.n_clusters, second.n_clusters),
    )


def _converted_draws(column: Column, rows: Sequence[LeaderboardRow], converted: Sequence[int]) -> _Drawn:
    """Draws of the converted figures that have a standard error."""
    figures = {i: rows[i].cells[column].row for i in converted}
    known = {i: (f.value, f.stderr) for i, f in figures.items() if f.value is not None and f.stderr is not None}
    draws = [np.random.default_rng([_SEED, i]).normal(*both, _N_DRAWS) for i, both in known.items()]
    n_clusters = max(2, min((figures[i].n_clusters for i in known), default=_N_DRAWS))
    return _Drawn(
        list(known), [value for value, _ in known.values()], np.array(draws).reshape(-1, _N_DRAWS).T, n_clusters
    )


def _run_draws(values: Mapping[int, dict[str, float]]) -> _Drawn | None:
    """Means of runs on resamples of the prompts they share; None if they share fewer than two."""
    shared = sorted(set.intersection(*map(set, values.values()))) if values else []
    if len(shared) < 2:
        return None
    table = np.array([[own[cluster] for cluster in shared] for own in values.values()])
    return _Drawn(list(values), table.mean(axis=1).tolist(), _draws(table), len(shared))


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
        judges = {"alpaca_eval": PUBLISHED_JUDGE}
        rows.append(LeaderboardRow(model=entry[""], cells=cells, published=True, judges=judges))
    return rows
