"""Where the variance of a run's figures comes from: prompts, answers, judge, judging sessions."""

from __future__ import annotations

from collections.abc import Sequence

from harness.run.judge_variance import NO_SESSIONS, JudgeVariance, reason_of
from harness.stats.variance_components import Component
from reports.blocks import Block, Cell, Note, Table, limits

_INSIDE = (
    "Prompts are drawn together with their answers and verdicts, so the intervals above already cover the randomness "
    "of single verdicts. They do not cover what shifts all verdicts of a judging session."
)


def variance_blocks(found: Sequence[JudgeVariance], *, with_sessions: bool) -> list[Block]:
    """Shares of the variance of a verdict, and the intervals that also cover judging sessions.

    Parameters
    ----------
    found : sequence of JudgeVariance
        What was measured.
    with_sessions : bool
        Whether to show the intervals.
    """
    rows = [_row(metric, with_sessions) for metric in found]
    columns = ["metric", "prompts#", "answers#", "judge#", "verdicts#"]
    columns += ["value, sessions included#"] if with_sessions else []
    return [Table("Shares of the variance of a verdict", columns, rows), Note(_INSIDE)]


def _row(metric: JudgeVariance, with_sessions: bool) -> list[Cell]:
    name = Cell(f"{metric.benchmark} {metric.metric}")
    if metric.components is None:
        return [name, Cell("-", metric.reason or "", tone="muted"), *[Cell("")] * (4 if with_sessions else 3)]
    cells = [name, *map(_share, metric.components.components), Cell(str(metric.components.n_values))]
    return [*cells, _with_session(metric)] if with_sessions else cells


def _share(component: Component) -> Cell:
    share = component.share
    if share is None:
        return Cell("-", reason_of(component.name), tone="muted")
    return Cell(f"{share.value:.0%}", limits(share.ci_low, share.ci_high, ".0%"))


def _with_session(metric: JudgeVariance) -> Cell:
    found = metric.estimate
    if found is None:
        return Cell("-", NO_SESSIONS, tone="muted")
    return Cell(f"{found.value:.2f}", limits(found.ci_low, found.ci_high))
