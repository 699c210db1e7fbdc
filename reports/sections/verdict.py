"""The verdict: warnings, gate decisions, comparisons and all figures."""

from __future__ import annotations

from collections.abc import Sequence

from harness.run.compare import ComparedMetric, Comparison
from harness.run.score import RunScores
from reports.blocks import Block, Cell, Figure, Note, Section, Statement, Table, Tone, limits
from reports.charts import IntervalChart, Mark, RefLine, SampleFilter
from reports.inputs import RunInput
from reports.sections import ReportContext, SectionEntry
from reports.sections.common import averages_quality, figure_cell, headline, optional, unscored_cell, words_of
from reports.sections.gate_blocks import gate_blocks
from reports.sections.training import training_verdicts

_MOST_FAILURES = 6
_ERROR_LENGTH = 300


def verdict_section(context: ReportContext) -> Section | None:
    """Build the section."""
    runs, decisions = context.inputs.runs, context.decisions
    loops = [block for align in context.inputs.aligns for block in training_verdicts(align)]
    if not runs and not decisions and not loops:
        return None
    blocks: list[Block] = [*_warnings(runs), *loops]
    for number, decision in enumerate(decisions, 1):
        blocks += gate_blocks(decision, [run.name for run in runs], f"gate-{number}")
    blocks.sort(key=lambda block: not isinstance(block, Statement))  # what was decided, then with which figures
    blocks += _comparison(context)
    if len(runs) == 1 and not decisions and not loops:
        blocks.append(_single(runs[0]))
    failed = [block for run in runs for block in failure_blocks(run.scores, run.name)]
    return Section("verdict", "Verdict", [*blocks, *_tables(runs), *failed])


def _tables(runs: Sequence[RunInput]) -> list[Table]:
    """The runs, their figures and their remarks."""
    tables = [_validity(runs)] if len(runs) > 1 else []
    tables += [figure_table(run.scores, run.name, folded=len(runs) > 2) for run in runs]
    remarks = [[Cell(f"{run.name}: {remark}")] for run in runs for remark in run.scores.remarks]
    return [*tables, Table("Remarks", ["remark"], remarks, folded=len(remarks) > 6)] if remarks else tables


def _warnings(runs: Sequence[RunInput]) -> list[Statement]:
    """Runs that are not complete, then runs that are not valid."""
    found = []
    for run in runs:
        if not run.stored.directory.complete:
            done = _progress(run)
            found.append(
                Statement(
                    "invalid",
                    f"{run.name} is NOT COMPLETE",
                    f"{done}; the figures below are of these alone and cannot be compared with others. "
                    f"assay resume {run.scores.run} completes it.",
                )
            )
    for run in runs:
        problems = [p for p in run.scores.problems if p != "the run is not complete"]
        if problems:
            found.append(Statement("invalid", f"{run.name} is NOT VALID", items=problems))
    return found


def _progress(run: RunInput) -> str:
    planned = run.stored.header.get("benchmarks", ())
    n_prompts = len(run.stored.prompts) or sum(int(entry.get("n_prompts") or 0) for entry in planned)
    n_answers = sum(r.role == "candidate" and r.ok for r in run.stored.responses)
    n_verdicts = sum(1 for _ in run.stored.directory.slim_judgments())
    return f"{n_answers} of {n_prompts} prompts answered, {n_verdicts} verdicts stored"


def _comparison(context: ReportContext) -> list[Block]:
    """The comparison of two runs in words, as a table and as a chart, or why there is none."""
    comparison = context.comparison
    if not isinstance(comparison, Comparison):
        return [Note(f"The two runs cannot be compared: {comparison}")] if comparison else []
    first, second = context.inputs.runs
    title = f"{first.name} minus {second.name}"
    table = difference_table(comparison, first.name, second.name)
    blocks = [_compared(comparison, first, title), *said_blocks(comparison), table]
    return [*blocks, *_differences(comparison, first, title)]


def said_blocks(comparison: Comparison) -> list[Block]:
    """What differs between the runs apart from the models, and which prompts they hold."""
    said = comparison.said
    return [Statement("info", "What the comparison rests on", items=said)] if said else []


def difference_table(comparison: Comparison, first: str, second: str) -> Table:
    """The paired differences of two runs, which are called by the given names."""
    columns = ["metric", "A#", "B#", "A - B#", "p#", "p (Holm)#", "prompts#", "needed#", "detectable#", "remark"]
    rows = [_difference_row(m, first) for m in comparison.metrics]
    level = next((m.difference.level for m in comparison.metrics if m.difference is not None), 0.95)
    caption = f"Paired differences: A is {first}, B is {second} ({level:.0%} intervals)"
    return Table(caption, columns, rows, summary=True)


def _compared(comparison: Comparison, first: RunInput, title: str) -> Statement:
    found = [m for m in comparison.metrics if m.difference is not None]
    if not found:
        return Statement("info", title, "No metric could be compared.")
    n_better = sum(m.p_adjusted is not None and m.p_adjusted < 0.05 for m in found)
    heads = [m for m in found if _is_headline(m, first)] or found[:1]
    text = f"{n_better} of {len(found)} metrics differ at 5 % after Holm's correction."
    return Statement("info", title, text, [_in_words(m) for m in heads])


def _differences(comparison: Comparison, first: RunInput, title: str) -> list[Block]:
    """All differences on one axis, in half-widths of their intervals."""
    marks = []
    for m in comparison.metrics:
        d = m.difference
        if d is None or d.ci_low is None or d.ci_high is None or d.ci_high <= d.ci_low or _is_size(first, m):
            continue
        unit = (d.ci_high - d.ci_low) / 2.0
        scaled = d.value / unit, d.ci_low / unit, d.ci_high / unit
        marks.append(Mark(f"{m.benchmark} {m.metric}", *scaled, samples=SampleFilter(benchmark=m.benchmark)))
    if not marks:
        return []
    label = "difference in half-widths of its interval"
    chart = IntervalChart(title, label, marks, [RefLine(0.0, "no difference")])
    caption = (
        f"Right of the dashed line {first.name} is better. Differences are divided by half the width of their "
        "intervals so that all metrics share an axis; the table above has them in their own units."
    )
    return [Figure("differences", caption, chart, SampleFilter(disagreement="runs"))]


def _is_size(run: RunInput, metric: ComparedMetric) -> bool:
    """Whether a metric is a mean of lengths or other measurements, of which more is not better."""
    benchmark = run.benchmark(metric.benchmark)
    items = benchmark.items(metric.metric, run.scores.scores_of(metric.benchmark)) if benchmark is not None else None
    return items is not None and not averages_quality(run, metric.benchmark, metric.metric)


def _is_headline(metric: ComparedMetric, run: RunInput) -> bool:
    row = headline(run, metric.benchmark)
    return row is not None and row.metric == metric.metric


def _in_words(metric: ComparedMetric) -> str:
    d = metric.difference
    if d is None:
        return f"{metric.benchmark} {metric.metric}: {metric.reason}"
    interval = limits(d.ci_low, d.ci_high, "+.2f")
    interval = f" ({d.level:.0%} interval {interval})" if interval else ""
    p = "" if metric.p_adjusted is None else f", p {metric.p_adjusted:.2g} after Holm"
    return f"{metric.benchmark} {metric.metric}: {d.value:+.2f}{interval} over {d.n_clusters} prompts{p}"


def _difference_row(metric: ComparedMetric, first: str) -> list[Cell]:
    name = Cell(metric.metric, metric.benchmark)
    d = metric.difference
    if d is None:
        return [name, *(Cell("-", tone="muted") for _ in range(8)), Cell(metric.reason or "")]
    remark = d.note
    if metric.n_only_first or metric.n_only_second:
        remark = f"only A {metric.n_only_first}, only B {metric.n_only_second}. {remark}".strip()
    samples = SampleFilter(model=first, benchmark=metric.benchmark)
    return [
        name,
        optional(metric.value_first, ".2f"),
        optional(metric.value_second, ".2f"),
        Cell(f"{d.value:+.2f}", limits(d.ci_low, d.ci_high, "+.2f"), samples),
        optional(metric.p_value, ".2g"),
        optional(metric.p_adjusted, ".2g"),
        Cell(str(d.n_clusters)),
        optional(metric.n_needed, ",d"),
        optional(metric.minimum_detectable_effect, ".2f"),
        Cell(remark),
    ]


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
            Cell("yes") if run.stored.directory.complete else Cell("no", tone="invalid"),
            Cell(words, "; ".join(run.scores.problems), tone=tone),
            Cell(", ".join(run.benchmarks)),
            Cell(f"{len(run.stored.prompts):,}"),
            Cell(f"{n_unscored:,}"),
        ]
        rows.append(cells)
    columns = ["run", "complete", "valid", "benchmarks", "prompts#", "not scored#"]
    return Table("The runs", columns, rows, summary=True)


def run_blocks(scores: RunScores) -> list[Block]:
    """Whether a run is valid, its problems and remarks, and its figures."""
    head = f"{scores.model} ({scores.run}): {'valid' if scores.valid else 'NOT VALID'}"
    tone: Tone = "info" if scores.valid else "invalid"
    items = [*(f"! {problem}" for problem in scores.problems), *scores.remarks]
    found: list[Block] = [Statement(tone, head, items=items), figure_table(scores, scores.model)]
    return [*found, *failure_blocks(scores, scores.model)]


def failure_blocks(scores: RunScores, name: str) -> list[Block]:
    """The kinds of errors of a run, which is called by the given name: how many, the first message, what to do."""
    shown = scores.failures[:_MOST_FAILURES]
    if not shown:
        return []
    items = [f"{f['benchmark']}: {f['n']} {f['reason']}{_quoted(f['error'])}. To do: {f['remedy']}" for f in shown]
    if len(scores.failures) > len(shown):
        items.append(f"and {len(scores.failures) - len(shown)} more kinds, in summary.json")
    n_items = sum(f["n"] for f in scores.failures)
    return [Statement("info", f"{name}: {n_items} items not scored", "the first error of each kind", items)]


def _quoted(error: str) -> str:
    return f", the first: {error[:_ERROR_LENGTH]}{'...' if len(error) > _ERROR_LENGTH else ''}" if error else ""


def figure_table(scores: RunScores, name: str, *, folded: bool = False) -> Table:
    """All figures of a run, which is called by the given name."""
    rows = []
    for row in scores.rows:
        samples = SampleFilter(model=name, benchmark=row.benchmark)
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
    level = next((row.level for row in scores.rows), 0.95)
    caption = f"Figures of {name} ({level:.0%} intervals)"
    return Table(caption, columns, rows, folded=folded, summary=not folded)


VERDICT = SectionEntry(0, lambda context: [section] if (section := verdict_section(context)) is not None else [])
