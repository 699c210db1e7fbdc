"""Old figures of a leaderboard on the new judge's scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import UsageError
from harness.records import SummaryRow
from harness.run.bridge_file import BridgeFile
from reports.leaderboard import Cell, Column, LeaderboardRow


def with_bridge(rows: Sequence[LeaderboardRow], file: BridgeFile) -> list[LeaderboardRow]:
    """Convert the figures of the bridge's old judge; others stay.

    Parameters
    ----------
    rows : sequence of LeaderboardRow
        Rows with the judges of their figures.
    file : BridgeFile
        The bridge.

    Returns
    -------
    list of LeaderboardRow
        A converted figure names the judge it was made with; one that no bridge converts has a reason.

    Raises
    ------
    UsageError
        No figure was made by the bridge's old judge, or the bridge does not hold.
    """
    used = {(b, judge.name) for row in rows for b, judge in row.judges.items()}
    if not any(judge.is_same(file.old_judge(b)) for row in rows for b, judge in row.judges.items()):
        listed = "; ".join(f"{b} by {name}" for b, name in sorted(used)) or "no judged figure"
        raise UsageError(
            f"the bridge is from {file.old.name} to {file.new.name}, and the table holds {listed}",
            f"a table with figures by {file.old.name}",
            "give the bridge between the judges of these runs, or none",
        )
    return [_converted(row, file) for row in rows]


def _converted(row: LeaderboardRow, file: BridgeFile) -> LeaderboardRow:
    old = {b for b, judge in row.judges.items() if judge.is_same(file.old_judge(b))}
    cells = {c: _cell(c, cell, row, file) if c.benchmark in old else cell for c, cell in row.cells.items()}
    new = {b: replace(file.new_judge(b), against=row.judges[b].against) for b in old}
    return replace(row, cells=cells, judges={**row.judges, **new})


def _cell(column: Column, cell: Cell, row: LeaderboardRow, file: BridgeFile) -> Cell:
    figure = cell.row
    benchmark = row.judges[column.benchmark]
    if figure.value is None:
        return replace(cell, converted_from=benchmark.name)
    bridge = file.fitted.get((column.benchmark, column.metric))
    if bridge is None:
        reason = f"by {benchmark.name}; the bridge to {file.new.name} has no {column.title}"
        without = SummaryRow(benchmark=column.benchmark, metric=column.metric, reason=reason, n=figure.n)
        return Cell(without, converted_from=benchmark.name)
    if not bridge.holds:
        raise UsageError(
            f"the bridge of {column.title} from {file.old.name} to {file.new.name} does not hold: "
            + "; ".join(bridge.problems),
            "a bridge that holds",
            "print the table without it: judges are ranked apart; or judge the old answers with the new judge",
        )
    new = bridge.convert(figure.value, figure.stderr)
    converted = SummaryRow(
        benchmark=column.benchmark,
        metric=column.metric,
        value=new.value,
        stderr=new.stderr,
        ci_low=new.ci_low,
        ci_high=new.ci_high,
        level=new.level,
        method=f"{new.method}, from {figure.value:.2f} by {benchmark.name}" + (f" ({new.note})" if new.note else ""),
        n=figure.n,
        n_clusters=figure.n_clusters,
    )
    return Cell(converted, converted_from=benchmark.name)
