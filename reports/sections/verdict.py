"""The verdict first: what may not be relied on, what a gate decided, what the figures say, and the figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.run.compare import ComparedMetric, Comparison
from reports.blocks import Block, Cell, Figure, Note, SampleFilter, Section, Statement, Table, Tone
from reports.charts import IntervalChart, Mark, RefLine
from reports.inputs import Inputs, RunInput
from reports.sections.common import figure_cell, headline, slug, unscored_cell, words_of

__all__ = ["gate_blocks", "verdict_section"]

_SIZES = ("length", "tokens")  # last words of metrics of which more is not better
_WHERE = re.compile(r" \([^()]*\)$")  # "NAME (DIRECTORY)" is how the gate names its sides
_TONES: dict[str, Tone] = {"pass": "pass", "fail": "fail", "undecided": "undecided", "invalid": "invalid"}


def verdict_section(
    inputs: Inputs,
    comparison: Comparison | str | None,
    decisions: Sequence[Mapping[str, Any]],
    loops: Sequence[Block] = (),
) -> Section | None:
    """Put the verdict together.

    Parameters
    ----------
    inputs : Inputs
        What was given.
    comparison : Comparison, str or None
        Of two runs; why there is none; or None where there are not two.
    decisions : sequence of mapping
        What gates decided, as `assay gate --json` prints it.
    loops : sequence of Block
        What loops of training came to.
    """
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


def gate_blocks(decision: Mapping[str, Any], known: Sequence[str] = (), name: str = "gate") -> list[Block]:
    """A gate's decision in words, its rules as a table, and their effects beside what was wanted.

    Parameters
    ----------
    decision : mapping
        As `assay gate --json` prints it.
    known : sequence of str
        Names of models whose samples are in the report.
    name : str
        What the figure is called; no two decisions of a report may share it.
    """
    verdict = str(decision["decision"])
    candidate, baseline = str(decision.get("candidate", "")), str(decision.get("baseline", ""))
    policy = str(decision.get("policy") or "")
    sides = [_WHERE.sub("", side) for side in (candidate, baseline)]
    head = f"Gate: {sides[0]} against {sides[1]}" if candidate and baseline else "Gate"
    head += f" under {policy}" if policy else ""
    notes = [*map(str, decision.get("problems", ())), *map(str, decision.get("notes", ()))]
    statement = Statement(_TONES.get(verdict, "info"), head, str(decision.get("message", "")), notes)
    rules = [dict(rule) for rule in decision.get("rules", ())]
    if not rules:
        return [statement]
    model = next((name for name in known if candidate.startswith(name)), "")
    blocks: list[Block] = [statement, _rules(rules, model, head)]
    figure = _effects(rules, name, model, head)
    return [*blocks, figure] if figure else blocks


def _rules(rules: Sequence[Mapping[str, Any]], model: str, head: str) -> Table:
    rows = []
    for rule in rules:
        samples = SampleFilter(model=model, benchmark=str(rule["benchmark"])) if model else None
        effect = rule.get("effect")
        low, high = rule.get("ci_low"), rule.get("ci_high")
        limits = "" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"
        p = rule.get("p_adjusted") if rule.get("p_adjusted") is not None else rule.get("p_value")
        unscored = Cell(str(rule.get("n_unscored", 0)), ", ".join(f"{k} {v}" for k, v in _counts(rule).items()))
        name = f"{rule['kind']} {rule['benchmark']} {rule['metric']}"
        rows.append(
            [
                Cell(name, f"any of: {rule['group']}" if rule.get("group") else ""),
                Cell(str(rule["decision"]), tone=str(rule["decision"])),
                Cell("-", tone="muted") if effect is None else Cell(f"{effect:+.2f}", limits, samples),
                Cell("-" if p is None else f"{p:.2g}"),
                Cell(str(rule.get("n", ""))),
                unscored,
                Cell(str(rule.get("reason", ""))),
            ]
        )
    columns = ["rule", "decision", "effect#", "p#", "prompts#", "not scored#", "why"]
    return Table(f"{head}: the rules", columns, rows, summary=True)


def _counts(rule: Mapping[str, Any]) -> dict[str, Any]:
    return dict(rule.get("unscored") or {})


def _effects(rules: Sequence[Mapping[str, Any]], name: str, model: str, head: str) -> Figure | None:
    """Effects and thresholds, in half-widths of the effect's interval: rules of all units share an axis."""
    marks = []
    for rule in rules:
        effect, low, high = rule.get("effect"), rule.get("ci_low"), rule.get("ci_high")
        if effect is None or low is None or high is None or high <= low:
            continue
        unit = (high - low) / 2.0
        samples = SampleFilter(model=model, benchmark=str(rule["benchmark"])) if model else None
        label = f"{rule['benchmark']} {rule['metric']}"
        note = str(rule["decision"])
        marks.append(Mark(label, effect / unit, low / unit, high / unit, "effect", note, samples))
        marks += [Mark(label, limit / unit, series="threshold") for limit in rule.get("thresholds") or ()]
    if not marks:
        return None
    chart = IntervalChart(
        f"{head}: effects", "in half-widths of the effect's interval", marks, [RefLine(0.0, "no effect")]
    )
    caption = (
        "Each rule's effect with its interval, and the threshold it was held against, both divided by half the width "
        "of the interval so that all rules stand on one axis."
    )
    return Figure(slug(name), caption, chart)


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
        if d is not None and limits is not None and limits[1] > limits[0] and m.metric.split("_")[-1] not in _SIZES:
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
