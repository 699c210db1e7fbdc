"""Models side by side: the leaderboard with rank ranges and published rows, and small multiples by category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import AssayError
from harness.records import SummaryRow
from harness.run.comparability import differing_runs
from harness.run.compare import metric_unit_values
from harness.run.judged_by import JudgedBy
from reports.blocks import Block, Cell, Figure, Note, Section, Table, limits
from reports.charts import Chart, IntervalChart, Mark, Panels, SampleFilter, extent
from reports.inputs import Inputs, RunInput
from reports.leaderboard import (
    PUBLISHED_JUDGE,
    SCALES,
    Column,
    Leaderboard,
    LeaderboardRow,
    build_leaderboard,
    n_words,
    ordered,
    published_alpaca_eval,
    rank_words,
)
from reports.leaderboard import Cell as BoardCell
from reports.sections import SectionEntry
from reports.sections.common import category_row, figure_cell, mark_of, mean_metric, slug

_SERIES = ("runs", "published")
_PUBLISHED_BY = "gpt-4-1106-preview (weighted_alpaca_eval_gpt4_turbo)"
_NEAREST = 2
"""Published rows shown above and below each run."""
_MOST_CATEGORIES = 24
"""Panels of categories; beyond that a table says more than pictures."""


def leaderboard_section(inputs: Inputs) -> Section | None:
    """The leaderboard; None for a single run of a benchmark without published rows."""
    runs = inputs.runs
    if len(runs) < 2 and not _has_published(runs):
        return None
    blocks = [block for group in _by_benchmark(runs) for block in _board(group)]
    return Section("leaderboard", "Leaderboard", blocks)


def _has_published(runs: Sequence[RunInput]) -> bool:
    return any("alpaca_eval" in run.benchmarks for run in runs)


def _by_benchmark(runs: Sequence[RunInput]) -> list[list[RunInput]]:
    """Runs that share benchmarks stand in one table; runs of another benchmark in another."""
    groups: list[set[int]] = []
    for place, run in enumerate(runs):
        touching = [group for group in groups if any(set(runs[i].benchmarks) & set(run.benchmarks) for i in group)]
        groups = [group for group in groups if group not in touching] + [{place}.union(*touching)]
    return [[runs[place] for place in sorted(group)] for group in groups]


def _board(runs: Sequence[RunInput]) -> list[Block]:
    try:
        board = build_leaderboard([run.scores for run in runs], [run.judges for run in runs], metric_unit_values)
    except AssayError as error:
        return [Note("No leaderboard of " + ", ".join(r.name for r in runs) + f": {' '.join(str(error).split())}")]
    judges = _judges_of_alpaca_eval(runs)
    published = _published() if _has_published(runs) else []
    shown = _nearest(board, published) if all(judge.is_same(PUBLISHED_JUDGE) for judge in judges) else []
    merged = ordered([*board.rows, *shown], board.columns)
    board = replace(board, rows=merged, differing=differing_runs({run.name: run.stored for run in runs}))
    names = ", ".join(dict.fromkeys(c.benchmark for c in board.columns))
    blocks: list[Block] = [_table(f"Leaderboard: {names}", board, merged), *_notes(board, judges, shown, published)]
    figures = (_chart(board, column, merged) for column in board.columns)
    return [*blocks, *(figure for figure in figures if figure is not None)]


def _judges_of_alpaca_eval(runs: Sequence[RunInput]) -> list[JudgedBy]:
    return [run.judges["alpaca_eval"] for run in runs if "alpaca_eval" in run.judges]


def _notes(
    board: Leaderboard,
    judges: Sequence[JudgedBy],
    shown: Sequence[LeaderboardRow],
    published: Sequence[LeaderboardRow],
) -> list[Block]:
    """Which published rows are there, by whom they were judged, and whether the table has several scales."""
    notes: list[Block] = []
    if shown:
        notes.append(
            Note(
                f"{len(shown)} of {len(published)} published AlpacaEval 2 rows are shown: those next to the runs "
                f"above. They were judged by {_PUBLISHED_BY}, against gpt4_1106_preview."
            )
        )
    elif published and not all(judge.is_same(PUBLISHED_JUDGE) for judge in judges):
        ours = ", ".join(dict.fromkeys(judge.words for judge in judges))
        notes.append(
            Note(
                f"The {len(published)} published AlpacaEval 2 rows are not shown: they were judged by {_PUBLISHED_BY} "
                f"against gpt4_1106_preview, these runs by {ours}. A bridge between the judges (assay rebase) converts "
                "them: assay leaderboard --published --bridge."
            )
        )
    if board.n_scales > 1:
        notes.append(Note(f"{SCALES[0].upper()}{SCALES[1:]}; they are ranked apart."))
    notes += map(Note, board.differing)
    return notes


def _published() -> list[LeaderboardRow]:
    try:
        return published_alpaca_eval()
    except (AssayError, OSError):
        return []


def _value(row: LeaderboardRow, column: Column) -> float | None:
    return row.cells[column].row.value if column in row.cells else None


def _first(row: LeaderboardRow, columns: Sequence[Column]) -> float | None:
    return next((value for column in columns if (value := _value(row, column)) is not None), None)


def _nearest(board: Leaderboard, published: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """The published rows next to the runs, by the first column they share."""
    column = next((c for c in board.columns if any(c in row.cells for row in published)), None)
    if column is None:
        return []
    known = [(value, row) for row in published if (value := _value(row, column)) is not None]
    known.sort(key=lambda pair: -pair[0])
    chosen: set[int] = set()
    for own in (_value(row, column) for row in board.rows):
        if own is not None:
            place = sum(value > own for value, _ in known)
            chosen.update(range(max(place - _NEAREST, 0), min(place + _NEAREST, len(known))))
    return [known[i][1] for i in sorted(chosen)]


def _table(caption: str, board: Leaderboard, rows: Sequence[LeaderboardRow]) -> Table:
    columns = ["model"]
    for column in board.columns:
        columns += [f"{column.benchmark} {column.metric}#", "rank (marginal)#", "n#", "not scored#"]
        columns += ["simultaneous ranks#"]
        columns += ["judge"] if board.names_judges else []
    cells = []
    for row in rows:
        marks = "published" if row.published else "" if row.valid else "not valid: " + "; ".join(row.problems)
        tone = "muted" if row.published else "" if row.valid else "invalid"
        line = [Cell(row.model, marks, tone=tone)]
        for column in board.columns:
            line += _cells(row, column)
            line += [Cell(board.judge_words(row, column))] if board.names_judges else []
        cells.append(line)
    return Table(caption, columns, cells, summary=True)


def _cells(row: LeaderboardRow, column: Column) -> list[Cell]:
    found: BoardCell | None = row.cells.get(column)
    if found is None:
        return [Cell("")] * 5
    samples = None if row.published else SampleFilter(model=row.model, benchmark=column.benchmark)
    figure = figure_cell(found.row, samples)
    if found.row.value is not None and not figure.small and found.row.stderr is not None:
        figure = Cell(figure.text, f"SE {found.row.stderr:.2f}", samples)
    unscored = Cell("" if row.published else str(found.row.n_unscored))
    marginal, simultaneous = map(Cell, rank_words(found))
    n = n_words(found.row, row.counts.get(column.benchmark))
    return [figure, marginal, Cell(n), unscored, simultaneous]


def _chart(board: Leaderboard, column: Column, rows: Sequence[LeaderboardRow]) -> Figure | None:
    found = [(row, row.cells[column].row) for row in rows if _value(row, column) is not None]
    if len(found) < 2:
        return None
    both = len({row.published for row, _ in found}) > 1
    marks = [_board_mark(row, figure, both) for row, figure in found]
    chart = IntervalChart(f"{column.benchmark}: {column.metric}", column.metric, marks, order=_SERIES, by_label=True)
    ranges = (
        "The table has two ranges of ranks: the marginal one holds each model's rank by itself, the simultaneous ones "
        "together hold the ranks of all models."
    )
    caption = f"{column.title} with {board.level:.0%} intervals, best first. {ranges}"
    name = slug("leaderboard", column.benchmark, column.metric)
    return Figure(name, caption, chart, SampleFilter(benchmark=column.benchmark))


def _board_mark(row: LeaderboardRow, figure: SummaryRow, named: bool) -> Mark:
    """A row's figure with its interval: a run's own, or the normal one of a published standard error."""
    value = figure.value or 0.0
    if not row.published:
        samples = SampleFilter(model=row.model, benchmark=figure.benchmark)
        return Mark(row.model, value, figure.ci_low, figure.ci_high, _SERIES[0] if named else "", samples=samples)
    half = None if figure.stderr is None else 1.96 * figure.stderr
    low, high = (figure.ci_low, figure.ci_high) if half is None else (value - half, value + half)
    return Mark(row.model, value, low, high, _SERIES[1] if named else "")


def category_section(inputs: Inputs) -> Section | None:
    """Small multiples by benchmark and by category (the paper's Figure 9); None where there is nothing to split."""
    blocks: list[Block] = []
    panels = []
    for benchmark in inputs.benchmarks:
        runs = inputs.holding(benchmark)
        metric = next((m for run in runs if (m := mean_metric(run, benchmark))), None)
        if metric is None:
            continue
        marks = [
            mark_of(run.name, row, SampleFilter(run.name, benchmark))
            for run in runs
            if (row := run.row(benchmark, metric))
        ]
        panels += [IntervalChart(benchmark, metric, marks)] if marks else []
        blocks += _categories(runs, benchmark, metric)
    if len(panels) > 1 and len(inputs.runs) > 1:
        caption = "Each model on each benchmark, with 95 % intervals."
        blocks.insert(0, Figure("benchmarks", caption, Panels("Every benchmark", panels)))
    return Section("categories", "By category", blocks) if blocks else None


_ByCategory = dict[str, dict[str, SummaryRow | None]]  # by category, then by model


def _categories(runs: Sequence[RunInput], benchmark: str, metric: str) -> list[Block]:
    names = sorted({s.category for run in runs for s in run.scores.scores_of(benchmark) if s.category})
    rows = {name: {run.name: category_row(run, benchmark, metric, name) for run in runs} for name in names}
    marks = _category_marks(rows, benchmark)
    if len(names) < 2 or not marks:
        return []
    title = f"{benchmark} {metric} by category"
    columns = ["category", *(f"{run.name}#" for run in runs)]
    cells = [[Cell(n), *(_category_cell(row, m, benchmark, n) for m, row in own.items())] for n, own in rows.items()]
    pictured = len(names) <= _MOST_CATEGORIES
    table = Table(title, columns, cells, folded=pictured)
    return [_category_figure(marks, benchmark, title), table] if pictured else [table]


def _category_cell(row: SummaryRow | None, model: str, benchmark: str, name: str) -> Cell:
    if row is None or row.value is None:
        return Cell("-", (row.reason if row else "") or "", tone="muted")
    words = f"{limits(row.ci_low, row.ci_high)} n {row.n}".strip()
    return Cell(f"{row.value:.2f}", words, SampleFilter(model=model, benchmark=benchmark, category=name))


def _category_marks(rows: _ByCategory, benchmark: str) -> list[tuple[str, Mark]]:
    """Every figure with the name of its category."""
    return [
        (name, mark_of(model, row, SampleFilter(model, benchmark, name), note=f"n {row.n}"))
        for name, own in rows.items()
        for model, row in own.items()
        if row is not None and row.value is not None
    ]


def _category_figure(marks: Sequence[tuple[str, Mark]], benchmark: str, title: str) -> Figure:
    """A panel a category, all on one scale; a single model's categories stand in one chart."""
    caption = f"{title}, all on one scale, with 95 % intervals clustered by prompt."
    range_ = extent([v for _, mark in marks for v in (mark.value, mark.low, mark.high)])
    by_name: dict[str, list[Mark]] = {}
    for name, mark in marks:
        by_name.setdefault(name, []).append(mark)
    chart: Chart = Panels(title, [IntervalChart(name, "", own, x_range=range_) for name, own in by_name.items()])
    if len({mark.label for _, mark in marks}) == 1:
        chart = IntervalChart(title, "", [replace(mark, label=name) for name, mark in marks])
    return Figure(slug("categories", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


LEADERBOARD = SectionEntry(
    20, lambda context: [section] if (section := leaderboard_section(context.inputs)) is not None else []
)


CATEGORIES = SectionEntry(
    30, lambda context: [section] if (section := category_section(context.inputs)) is not None else []
)
