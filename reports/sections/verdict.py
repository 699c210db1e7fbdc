"""The verdict first: what may not be relied on, what a gate decided, what the figures say, and the figures."""

from __future__ import annotations

from collections.abc import Sequence

from harness.run.compare import ComparedMetric, Comparison
from reports.blocks import Block, Cell, Figure, Note, SampleFilter, Section, Statement, Table
from reports.charts import IntervalChart, Mark, RefLine
from reports.inputs import RunInput
from reports.sections import ReportContext, SectionEntry
from reports.sections.common import averages_quality, figure_cell, headline, unscored_cell, words_of
from reports.sections.gate_blocks import gate_blocks
from reports.sections.training import training_verdicts

__all__ = ["VERDICT", "verdict_section"]


def verdict_section(context: ReportContext) -> Section | None:
    """Put the verdict together."""
    inputs, comparison, decisions = context.inputs, context.comparison, context.decisions
    loops = [block for align in inputs.aligns for block in training_verdicts(align)]
    if not inputs.runs and not decisions and not loops:
        return None
    blocks: list[Block] = [*_warnings(inputs.runs), *loops]
    for number, decision in enumerate(decisions, 1):
        blocks += gate_blocks(decision, [run.name for run in inputs.runs], f"gate-{number}")
    blocks.sort(key=lambda block: not isinstance(block, Statement))  # what was decided, then with which figures
    if isinstance(comparison, Comparison):
        blocks += _compared(comparison, inputs.runs)
    elif comparison:
        blocks.append(Note(f"The two runs cannot be compared: {comparison}"))
    if not decisions and not loops and len(inputs.runs) == 1:
        blocks.append(_single(inputs.runs[0]))
    remarks = [f"{run.name}: {remark}" for run in inputs.runs for remark in run.scores.remarks]
    if len(inputs.runs) > 1:
        blocks.append(_validity(inputs.runs))
    blocks += [_figures(run, folded=len(inputs.runs) > 2) for run in inputs.runs]
    if remarks:
        rows = [[Cell(remark)] for remark in remarks]
        blocks.append(Table("Remarks", ["remark"], rows, folded=len(remarks) > 6))
    return Section("verdict", "Verdict", blocks)


def _warnings(runs: Sequence[RunInput]) -> list[Statement]:
    """Runs that are not complete, then runs that are not valid."""
    found = []
    for run in runs:
        if not run.complete:
            done = _progress(run)
            found.append(
                Statement(
                    "invalid",
                    f"{run.name} is NOT COMPLETE",
                    f"{done}; the figures below are of what there is, and may be compared with nothing. "
                    f"assay resume {run.scores.run} goes on with it.",
                )
            )
    for run in runs:
        problems = [p for p in run.scores.problems if p != "the run is not complete"]
        if problems:
            found.append(Statement("invalid", f"{run.name} is NOT VALID", items=problems))
    return found


def _progress(run: RunInput) -> str:
    n_prompts = len(run.stored.prompts) or sum(int(b.get("n_prompts") or 0) for b in run.header.get("benchmarks", ()))
    n_answers = sum(r.role == "candidate" and r.ok for r in run.stored.responses)
    n_verdicts = sum(1 for _ in run.stored.directory.slim_judgments())
    return f"{n_answers} of {n_prompts} prompts answered, {n_verdicts} verdicts stored"


def _compared(comparison: Comparison, runs: Sequence[RunInput]) -> list[Block]:
    first, second = runs
    found = [m for m in comparison.metrics if m.difference is not None]
    better = [m for m in found if m.p_adjusted is not None and m.p_adjusted < 0.05]
    heads = [m for m in found if _is_headline(m, first)] or found[:1]
    sentences = [_in_words(m) for m in heads]
    text = (
        f"{len(better)} of {len(found)} metrics differ at 5 % after Holm's correction."
        if found
        else "No metric could be compared."
    )
    blocks: list[Block] = [Statement("info", f"{first.name} minus {second.name}", text, sentences)]
    rows = [_difference_row(m, first) for m in comparison.metrics]
    columns = ["metric", "A#", "B#", "A - B#", "p#", "p (Holm)#", "prompts#", "needed#", "remark"]
    caption = f"Paired differences: A is {first.name}, B is {second.name}"
    blocks.append(Table(caption, columns, rows, summary=True))
    marks = []
    for m in found:
        d = m.difference
        limits = None if d is None or d.ci_low is None or d.ci_high is None else (d.ci_low, d.ci_high)
        if d is not None and limits is not None and limits[1] > limits[0] and not _is_size(first, m):
            samples = SampleFilter(benchmark=m.benchmark)
            unit = (limits[1] - limits[0]) / 2.0
            scaled = d.value / unit, limits[0] / unit, limits[1] / unit
            marks.append(Mark(f"{m.benchmark} {m.metric}", *scaled, samples=samples))
    if marks:
        zero = [RefLine(0.0, "no difference")]
        label = "difference in half-widths of its interval"
        chart = IntervalChart(f"{first.name} minus {second.name}", label, marks, zero)
        caption = (
            f"Right of the dashed line {first.name} is better. Differences are divided by half the width of their "
            "intervals so that all metrics share an axis; the table above has them in their own units."
        )
        blocks.append(Figure("differences", caption, chart, SampleFilter(disagreement="runs")))
    return blocks


def _is_size(run: RunInput, metric: ComparedMetric) -> bool:
    """Whether a metric is a mean of lengths or other measurements, of which more is not better."""
    benchmark = run.benchmark(metric.benchmark)
    items = benchmark.items(metric.metric, run.scores_of(metric.benchmark)) if benchmark is not None else None
    return items is not None and not averages_quality(run, metric.benchmark, metric.metric)


def _is_headline(metric: ComparedMetric, run: RunInput) -> bool:
    row = headline(run, metric.benchmark)
    return row is not None and row.metric == metric.metric


def _in_words(metric: ComparedMetric) -> str:
    d = metric.difference
    if d is None:
        return f"{metric.benchmark} {metric.metric}: {metric.reason}"
    limits = (
        ""
        if d.ci_low is None or d.ci_high is None
        else f" ({d.level:.0%} interval {d.ci_low:+.2f} to {d.ci_high:+.2f})"
    )
    p = "" if metric.p_adjusted is None else f", p {metric.p_adjusted:.2g} after Holm"
    return f"{metric.benchmark} {metric.metric}: {d.value:+.2f}{limits} over {d.n_clusters} prompts{p}"


def _difference_row(metric: ComparedMetric, first: RunInput) -> list[Cell]:
    name = Cell(metric.metric, metric.benchmark)
    d = metric.difference
    if d is None:
        return [name, *(Cell("-", tone="muted") for _ in range(7)), Cell(metric.reason or "")]
    limits = "" if d.ci_low is None or d.ci_high is None else f"{d.ci_low:+.2f} to {d.ci_high:+.2f}"
    remark = d.note
    if metric.n_only_first or metric.n_only_second:
        remark = f"only A {metric.n_only_first}, only B {metric.n_only_second}. {remark}".strip()
    return [
        name,
        Cell(_number(metric.value_first, ".2f")),
        Cell(_number(metric.value_second, ".2f")),
        Cell(f"{d.value:+.2f}", limits, SampleFilter(model=first.name, benchmark=metric.benchmark)),
        Cell(_number(metric.p_value, ".2g")),
        Cell(_number(metric.p_adjusted, ".2g")),
        Cell(str(d.n_clusters)),
        Cell("-" if metric.n_needed is None else f"{metric.n_needed:,}"),
        Cell(remark),
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _single(run: RunInput) -> Statement:
    items = []
    for benchmark in run.benchmarks:
        row = headline(run, benchmark)
        if row is None:
            reason = next((r.reason for r in run.rows(benchmark)), None)
            items.append(f"{benchmark}: no figure{f', {reason}' if reason else ''}")
            continue
        scored = f"{row.n} observations on {row.n_clusters} prompts"
        unscored = f"{row.n_unscored} not scored" if row.n_unscored else "none left unscored"
        items.append(f"{words_of(row)}: {scored}, {unscored}")
    valid = "valid" if run.scores.valid else "NOT VALID"
    return Statement("info" if run.scores.valid else "invalid", f"{run.name}: {valid}", items=items)


def _validity(runs: Sequence[RunInput]) -> Table:
    rows = []
    for run in runs:
        tone = "" if run.scores.valid else "invalid"
        words = "valid" if run.scores.valid else "not valid"
        n_unscored = sum(s.value is None for s in run.scores.scores)
        cells = [
            Cell(run.name),
            Cell("yes" if run.complete else "no", tone="" if run.complete else "invalid"),
            Cell(words, "; ".join(run.scores.problems), tone=tone),
            Cell(", ".join(run.benchmarks)),
            Cell(f"{len(run.stored.prompts):,}"),
            Cell(f"{n_unscored:,}"),
        ]
        rows.append(cells)
    columns = ["run", "complete", "valid", "benchmarks", "prompts#", "not scored#"]
    return Table("The runs", columns, rows, summary=True)


def _figures(run: RunInput, folded: bool) -> Table:
    rows = []
    for row in run.scores.rows:
        samples = SampleFilter(model=run.name, benchmark=row.benchmark)
        stderr = "-" if row.stderr is None else f"{row.stderr:.2f}"
        rows.append(
            [
                Cell(row.metric, row.benchmark),
                figure_cell(row, samples),
                Cell(stderr),
                Cell(str(row.n)),
                Cell(str(row.n_clusters)),
                unscored_cell(row),
                Cell(row.method, tone="muted"),
            ]
        )
    columns = ["figure", "value, interval#", "SE#", "n#", "prompts#", "not scored#", "method"]
    level = next((row.level for row in run.scores.rows), 0.95)
    caption = f"Figures of {run.name} ({level:.0%} intervals)"
    return Table(caption, columns, rows, folded=folded, summary=not folded)


VERDICT = SectionEntry(0, lambda context: [section] if (section := verdict_section(context)) is not None else [])
