"""Models side by side: the leaderboard with rank ranges and published rows, and small multiples by category."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import AssayError
from harness.run.compare import metric_unit_values
from reports.blocks import Block, Cell, Figure, Note, SampleFilter, Section, Table
from reports.charts import IntervalChart, Mark, Panels
from reports.inputs import Inputs, RunInput
from reports.leaderboard import Cell as BoardCell
from reports.leaderboard import Column, Leaderboard, LeaderboardRow, build_leaderboard, published_alpaca_eval
from reports.sections import SectionEntry
from reports.sections.common import category_row, figure_cell, mean_metric, slug

__all__ = ["CATEGORIES", "LEADERBOARD", "category_section", "leaderboard_section"]

_NEAREST = 2
"""Published rows shown above and below each run."""
_MOST_CATEGORIES = 24
"""Panels of categories; beyond that a table says more than pictures."""


def leaderboard_section(inputs: Inputs) -> Section | None:
    """The leaderboard; None for a single run of a benchmark without published rows."""
    runs = inputs.runs
    wants_published = any("alpaca_eval" in run.benchmarks for run in runs)
    if not runs or (len(runs) == 1 and not wants_published):
        return None
    blocks: list[Block] = []
    for group in _by_benchmark(runs):
        blocks += _board(group, wants_published and any("alpaca_eval" in run.benchmarks for run in group))
    return Section("leaderboard", "Leaderboard", blocks)


def _by_benchmark(runs: Sequence[RunInput]) -> list[list[RunInput]]:
    """Runs that share benchmarks stand in one table; runs of another benchmark in another."""
    groups: list[tuple[set[str], list[RunInput]]] = []
    for run in runs:
        own = set(run.benchmarks)
        touching = [g for g in groups if g[0] & own]
        merged = (own.union(*(g[0] for g in touching)), [r for g in touching for r in g[1]] + [run])
        groups = [g for g in groups if g not in touching] + [merged]
    return [[run for run in runs if run in group] for _, group in groups]


def _board(runs: Sequence[RunInput], published: bool) -> list[Block]:
    judges = [run.judges for run in runs]
    rows = _published() if published else []
    try:
        board = build_leaderboard([run.scores for run in runs], judges, metric_unit_values)
    except AssayError as error:
        return [Note("No leaderboard of " + ", ".join(r.name for r in runs) + f": {' '.join(str(error).split())}")]
    shown = _nearest(board, rows)
    merged = sorted([*board.rows, *shown], key=lambda row: -(_first(row, board.columns) or float("-inf")))
    blocks: list[Block] = []
    names = ", ".join(dict.fromkeys(c.benchmark for c in board.columns))
    blocks.append(_table(f"Leaderboard: {names}", board, merged))
    if shown:
        blocks.append(
            Note(
                f"{len(shown)} of {len(rows)} published AlpacaEval 2 rows are shown: those next to the runs above. "
                "They were judged by gpt-4-1106-preview (weighted_alpaca_eval_gpt4_turbo); a run judged by another "
                "model cannot be ranked among them."
            )
        )
    for column in board.columns:
        figure = _chart(board, column, merged)
        if figure is not None:
            blocks.append(figure)
    return blocks


def _published() -> list[LeaderboardRow]:
    try:
        return published_alpaca_eval()
    except (AssayError, OSError):
        return []


def _first(row: LeaderboardRow, columns: Sequence[Column]) -> float | None:
    return next(
        (row.cells[c].row.value for c in columns if c in row.cells and row.cells[c].row.value is not None), None
    )


def _nearest(board: Leaderboard, published: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """The published rows next to the runs, by the first column they share."""
    columns = [c for c in board.columns if any(c in row.cells for row in published)]
    if not columns or not published:
        return []
    column = columns[0]
    known = [r for r in published if column in r.cells and r.cells[column].row.value is not None]
    known.sort(key=lambda r: -(r.cells[column].row.value or 0.0))
    chosen: set[int] = set()
    for row in board.rows:
        value = row.cells[column].row.value if column in row.cells else None
        if value is None:
            continue
        place = sum((r.cells[column].row.value or 0.0) > value for r in known)
        chosen.update(range(max(place - _NEAREST, 0), min(place + _NEAREST, len(known))))
    return [known[i] for i in sorted(chosen)]


def _table(caption: str, board: Leaderboard, rows: Sequence[LeaderboardRow]) -> Table:
    columns = ["model"]
    for column in board.columns:
        columns += [f"{column.benchmark} {column.metric}#", "rank (range)#", "n#", "not scored#"]
    cells = []
    for row in rows:
        marks = "published" if row.published else "" if row.valid else "not valid: " + "; ".join(row.problems)
        tone = "muted" if row.published else "" if row.valid else "invalid"
        line = [Cell(row.model, marks, tone=tone)]
        for column in board.columns:
            line += _cells(row, column)
        cells.append(line)
    return Table(caption, columns, cells, summary=True)


def _cells(row: LeaderboardRow, column: Column) -> list[Cell]:
    found: BoardCell | None = row.cells.get(column)
    if found is None:
        return [Cell(""), Cell(""), Cell(""), Cell("")]
    samples = None if row.published else SampleFilter(model=row.model, benchmark=column.benchmark)
    figure = figure_cell(found.row, samples)
    if found.row.value is not None and not figure.small and found.row.stderr is not None:
        figure = Cell(figure.text, f"SE {found.row.stderr:.2f}", samples)
    rank = found.rank
    ranked = Cell("") if rank is None else Cell(f"{rank.rank} ({rank.low}-{rank.high})")
    unscored = Cell("" if row.published else str(found.row.n_unscored))
    return [figure, ranked, Cell(str(found.row.n)), unscored]


def _chart(board: Leaderboard, column: Column, rows: Sequence[LeaderboardRow]) -> Figure | None:
    marks = []
    for row in rows:
        cell = row.cells.get(column)
        if cell is None or cell.row.value is None:
            continue
        samples = None if row.published else SampleFilter(model=row.model, benchmark=column.benchmark)
        low, high, series = cell.row.ci_low, cell.row.ci_high, "runs"
        if row.published:
            series = "published"
            if cell.row.stderr is not None:
                low, high = cell.row.value - 1.96 * cell.row.stderr, cell.row.value + 1.96 * cell.row.stderr
        marks.append(Mark(row.model, cell.row.value, low, high, series, samples=samples))
    if len(marks) < 2:
        return None
    own = {m.series for m in marks}
    marks = marks if len(own) > 1 else [Mark(m.label, m.value, m.low, m.high, "", m.note, m.samples) for m in marks]
    chart = IntervalChart(f"{column.benchmark}: {column.metric}", column.metric, marks, order=("runs", "published"))
    ranges = "The table has the range of ranks each takes when the prompts are drawn again."
    caption = f"{column.title} with {board.level:.0%} intervals, best first. {ranges}"
    return Figure(slug("leaderboard", column.benchmark, column.metric), caption, chart, _behind(column))


def _behind(column: Column) -> SampleFilter:
    return SampleFilter(benchmark=column.benchmark)


def category_section(inputs: Inputs) -> Section | None:
    """Small multiples by benchmark and by category (the paper's Figure 9); None where there is nothing to split."""
    blocks: list[Block] = []
    panels = []
    for benchmark in inputs.benchmarks:
        runs = inputs.holding(benchmark)
        metric = next((m for run in runs if (m := mean_metric(run, benchmark))), None)
        if metric is None:
            continue
        found = [(run, row) for run in runs if (row := run.row(benchmark, metric))]
        if len(inputs.runs) > 1 and found:
            marks = [_mark(run, row.value, row.ci_low, row.ci_high, benchmark) for run, row in found]
            panels.append(IntervalChart(benchmark, metric, marks))
        blocks += _categories(runs, benchmark, metric)
    if len(panels) > 1:
        chart = Panels("Every benchmark", panels)
        caption = "Each model on each benchmark, with 95 % intervals."
        blocks.insert(0, Figure("benchmarks", caption, chart))
    return Section("categories", "By category", blocks) if blocks else None


def _mark(run: RunInput, value: float | None, low: float | None, high: float | None, benchmark: str) -> Mark:
    samples = SampleFilter(model=run.name, benchmark=benchmark)
    return Mark(run.name, value or 0.0, low, high, samples=samples)


def _categories(runs: Sequence[RunInput], benchmark: str, metric: str) -> list[Block]:
    names = sorted({s.category for run in runs for s in run.scores_of(benchmark) if s.category})
    if len(names) < 2:
        return []
    table: list[list[Cell]] = []
    panels: list[IntervalChart] = []
    shown = []
    for run in runs:
        by_category = {n: [s for s in run.scores_of(benchmark) if s.category == n] for n in names}
        rows = {n: category_row(run, benchmark, metric, found) for n, found in by_category.items()}
        shown.append((run, rows))
    limits = [
        v for _, rows in shown for r in rows.values() if r for v in (r.value, r.ci_low, r.ci_high) if v is not None
    ]
    if not limits:
        return []
    span = min(limits), max(limits)
    room = (span[1] - span[0]) * 0.04 or 1.0
    for name in names:
        marks = []
        line = [Cell(name)]
        for run, rows in shown:
            row = rows[name]
            samples = SampleFilter(model=run.name, benchmark=benchmark, category=name)
            if row is None or row.value is None:
                line.append(Cell("-", (row.reason if row else "") or "", tone="muted"))
                continue
            limits_text = "" if row.ci_low is None or row.ci_high is None else f"{row.ci_low:.2f} to {row.ci_high:.2f}"
            line.append(Cell(f"{row.value:.2f}", f"{limits_text} n {row.n}".strip(), samples))
            marks.append(Mark(run.name, row.value, row.ci_low, row.ci_high, note=f"n {row.n}", samples=samples))
        table.append(line)
        if marks:
            panels.append(IntervalChart(name, "", marks, x_range=(span[0] - room, span[1] + room)))
    columns = ["category", *(f"{run.name}#" for run in runs)]
    caption = f"{benchmark} {metric} by category"
    blocks: list[Block] = [Table(caption, columns, table, folded=len(panels) <= _MOST_CATEGORIES)]
    if len(panels) <= _MOST_CATEGORIES:
        figure_caption = f"{caption}, all on one scale, with 95 % intervals clustered by prompt."
        blocks.insert(0, _category_figure(runs, benchmark, caption, figure_caption, panels))
    return blocks


def _category_figure(
    runs: Sequence[RunInput], benchmark: str, title: str, caption: str, panels: Sequence[IntervalChart]
) -> Figure:
    if len(runs) > 1:
        return Figure(slug("categories", benchmark), caption, Panels(title, panels), SampleFilter(benchmark=benchmark))
    marks = [Mark(p.title, m.value, m.low, m.high, "", m.note, m.samples) for p in panels for m in p.marks]
    chart = IntervalChart(title, "", marks)
    return Figure(slug("categories", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


LEADERBOARD = SectionEntry(
    20, lambda context: [section] if (section := leaderboard_section(context.inputs)) is not None else []
)


CATEGORIES = SectionEntry(
    30, lambda context: [section] if (section := category_section(context.inputs)) is not None else []
)
