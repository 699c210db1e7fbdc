"""Training: decisions of the loop, losses, and signs of reward hacking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.records import SummaryRow
from harness.store.align_directory import MEASURES, AlignState, AlignVariant
from harness.store.align_directory import Figure as Measure
from harness.store.jsonl import read_jsonl
from reports.blocks import Block, Cell, Figure, Note, Section, Statement, Table, Tone, limits
from reports.charts import Panels, RefLine, SampleFilter, Series, XYChart
from reports.inputs import AlignInput, RunInput
from reports.rewards import reward_blocks
from reports.sections import SectionEntry
from reports.sections.common import ends, headline, slug
from reports.sections.gate_blocks import gate_blocks

_CURVES = (
    ("loss", "Losses", "loss"),
    ("accuracy", "Accuracy on pairs", "share of pairs"),
    ("margin", "Margins of chosen over rejected", "margin"),
    ("grad_norm", "Gradient norms", "norm before clipping"),
    ("learning_rate", "Learning rates", "learning rate"),
)
_ALARM: dict[str, Tone] = {"alarm": "fail", "unclear": "undecided", "clear": "pass", "no_reward_gain": "info"}
_SHOWN = ("reward", "win_rate_vs_previous", "win_rate_vs_sft", "kl_per_response", "length_tokens", "length_limited")
_PANELS = (
    ("kl_per_response", "reward", "KL from SFT (nats)", "reward"),
    ("kl_per_response", "win_rate_vs_sft", "KL from SFT (nats)", "win rate over SFT (%)"),
    ("reward", "win_rate_vs_sft", "reward", "win rate over SFT (%)"),
    ("kl_per_response", "length_tokens", "KL from SFT (nats)", "tokens an answer"),
    ("length_tokens", "reward", "tokens an answer", "reward"),
)


def training_verdicts(align: AlignInput) -> list[Block]:
    """The loop's outcome, for the top of the report: problems, the choice, every gate's decision, the alarms."""
    blocks = _state(align)
    for variant in align.state.variants:
        blocks += _decided(variant, align)
    return [*blocks, Note(align.state.error_budget)] if align.state.error_budget else blocks


def _state(align: AlignInput) -> list[Block]:
    """Whether the loop is finished, its problems, and the variant it chose."""
    state = align.state
    blocks: list[Block] = []
    if not state.finished:
        done = ", ".join(v.name for v in state.variants) or "none"
        blocks.append(Statement("invalid", f"{state.name} is NOT FINISHED", f"Variants so far: {done}."))
    if state.problems or align.missing:
        blocks.append(Statement("invalid", f"Problems of {state.name}", items=[*state.problems, *align.missing]))
    if state.chosen is not None:
        accepted = any(v.name == state.chosen and v.accepted for v in state.variants)
        tone: Tone = "pass" if accepted else "info"
        blocks.append(Statement(tone, f"{state.name}: {state.chosen} is chosen", state.chosen_because))
    return blocks


def _decided(variant: AlignVariant, align: AlignInput) -> list[Block]:
    """What the gate decided on a variant, and whether its reward is being exploited."""
    blocks: list[Block] = []
    if variant.gate is not None:
        known = [run.name for run in align.runs.values()]
        blocks += gate_blocks(variant.gate, known, slug("gate", align.state.name, variant.name))
    if variant.hacking is not None:
        tone = _ALARM.get(str(variant.hacking.get("verdict")), "info")
        blocks.append(Statement(tone, f"Reward hacking, {variant.name}", str(variant.hacking.get("message", ""))))
    return blocks


def training_section(align: AlignInput, number: int = 1) -> Section:
    """Show an `align` directory.

    Parameters
    ----------
    align : AlignInput
        The directory.
    number : int
        1-based; names of the second and later are told apart by it.
    """
    suffix = "" if number == 1 else f"-{number}"
    variants = [v for v in align.state.variants if v.measures or v.run or v.samples]
    blocks: list[Block] = [variant_table(variants)]
    blocks += _losses(align, suffix)
    blocks += _iterations(align, suffix)
    blocks += _over_optimisation(variants, suffix)
    blocks += reward_blocks(align, suffix)
    blocks += [measure_table(variants), *chosen_table(align.state), _stages(align)]
    blocks = [block for block in blocks if not isinstance(block, Table) or block.rows]
    return Section(f"training{suffix}", f"Training: {align.state.name}", blocks)


def _measure_cell(figure: Measure | None) -> Cell:
    if figure is None:
        return Cell("", tone="muted")
    if figure.value is None:
        return Cell("-", figure.reason or "", tone="muted")
    return Cell(f"{figure.value:.3g}", limits(figure.ci_low, figure.ci_high, ".3g"))


def variant_table(variants: Sequence[AlignVariant]) -> Table:
    """The variants: whether the gate accepted each, and the measures that tell most."""
    shown = [name for name in _SHOWN if any(name in v.measures for v in variants)]
    rows = []
    for v in variants:
        said = {
            True: Cell("accepted", tone="pass"),
            False: Cell("rejected", tone="fail"),
            None: Cell("not asked", tone="muted"),
        }
        name = Cell(v.name, f"of {v.parent}" if v.parent else "")
        rows.append([name, said[v.accepted], *(_measure_cell(v.measures.get(m)) for m in shown), Cell(v.note)])
    columns = ["variant", "gate", *(f"{m.replace('_', ' ')}#" for m in shown), "note"]
    return Table("Variants, in the order they were made", columns, rows, summary=True)


def measure_table(variants: Sequence[AlignVariant]) -> Table:
    """Every measure of the variants."""
    names = [m for m in MEASURES if any(m in v.measures for v in variants)]
    rows = [[Cell(m, MEASURES[m]), *(_measure_cell(v.measures.get(m)) for v in variants)] for m in names]
    return Table("All measures", ["measure", *(f"{v.name}#" for v in variants)], rows, folded=True)


def chosen_table(state: AlignState) -> list[Block]:
    """The chosen variant's effect, raw and corrected for having chosen it; nothing where none was recorded."""
    found = state.chosen_effect
    if found is None:
        return []
    cells = [Cell(state.chosen or "", f"against {found.baseline}, by {found.metric}")]
    cells += [_measure_cell(found.raw), _measure_cell(found.corrected), Cell(str(found.n_candidates))]
    columns = ["chosen", "raw#", "corrected for the choice#", "candidates#", "how"]
    table = Table("Effect of the chosen variant", columns, [[*cells, Cell(found.method)]])
    return [table, Note(found.note)] if found.note else [table]


def _stages(align: AlignInput) -> Table:
    rows = []
    for stage in align.state.stages:
        seconds = "" if stage.seconds is None else f"{stage.seconds:,.0f}"
        figures = ", ".join(f"{k} {_short(v)}" for k, v in stage.figures.items())
        rows.append([Cell(stage.name, stage.key), Cell(stage.status), Cell(seconds), Cell(figures)])
    return Table("Stages", ["stage", "status", "seconds#", "figures"], rows, folded=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _losses(align: AlignInput, suffix: str) -> list[Block]:
    """Curves of every stage that has a metrics.jsonl, training and held-out."""
    found = [(stage.name, lines) for stage in align.state.stages if (lines := _lines(align.path / stage.dir))]
    blocks: list[Block] = []
    for key, title, label in _CURVES:
        stages = [(name, _measured(lines, key)) for name, lines in found]
        panels = [XYChart(name, "step", label, series) for name, series in stages if series]
        if panels:
            caption = f"{title} of every training stage, against optimiser steps."
            blocks.append(Figure(f"training-{slug(key)}{suffix}", caption, Panels(title, panels)))
    return blocks


def _measured(lines: Sequence[dict[str, Any]], key: str) -> list[Series]:
    """A measure of one stage over its steps, in training and held out."""
    series = []
    for slot, (name, words) in enumerate(((key, "training"), (f"eval_{key}", "held out"))):
        points = [
            (line["step"], line[name]) for line in lines if _is_number(line.get(name)) and _is_number(line.get("step"))
        ]
        if points:
            x, y = ([float(value) for value in values] for values in zip(*points, strict=True))
            series.append(Series(words, x, y, kind="points" if len(points) == 1 else "line", slot=slot))
    return series


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    return [line for _, line in read_jsonl(path, allow_torn_tail=True)] if path.is_file() else []


def _iterations(align: AlignInput, suffix: str) -> list[Block]:
    """Benchmarks across the variants (the paper's Figure 8), and what academic suites lose."""
    chat: list[XYChart] = []
    academic: list[XYChart] = []
    for benchmark in dict.fromkeys(b for run in align.runs.values() for b in run.benchmarks):
        panel = _across(align, benchmark)
        if panel is not None:
            judged = any(kind.judged for run in align.runs.values() for kind in run.kinds(benchmark).values())
            (chat if judged else academic).append(panel)
    blocks: list[Block] = []
    if chat:
        caption = "Chat benchmarks across the variants, with 95 % intervals; the dashed line is where it began."
        blocks.append(Figure(f"iterations{suffix}", caption, Panels("Performance across iterations", chat)))
    if academic:
        caption = (
            "Suites the training does not aim at, across the variants, with 95 % intervals; below the dashed line is "
            "the alignment tax."
        )
        blocks.append(Figure(f"alignment-tax{suffix}", caption, Panels("Alignment tax", academic)))
    return blocks


def _across(align: AlignInput, benchmark: str) -> XYChart | None:
    """The headline of a benchmark, variant by variant; None where no run has it."""
    rows = _headlines([*align.runs.values()], benchmark)
    if not rows:
        return None
    x, y = [float(i) for i in rows], [row.value or 0.0 for row in rows.values()]
    names = [run.name for run in align.runs.values()]
    samples = [SampleFilter(model=names[i], benchmark=benchmark) for i in rows]
    series = [Series("", x, y, slot=0), Series("", x, y, *ends(rows.values()), "points", 0, samples)]
    ticks = [(float(i), name) for i, name in enumerate(align.runs)]
    began = [RefLine(y[0], "")] if len(y) > 1 else []
    return XYChart(benchmark, "", rows[int(x[0])].metric, series, ticks, lines=began)


def _headlines(runs: Sequence[RunInput], benchmark: str) -> dict[int, SummaryRow]:
    """The first run's headline of a benchmark, by the place of each run that has it."""
    heads = (headline(run, benchmark) for run in runs if benchmark in run.benchmarks)
    head = next((head for head in heads if head is not None), None)
    if head is None:
        return {}
    return {i: row for i, run in enumerate(runs) if (row := run.row(benchmark, head.metric)) is not None}


def _over_optimisation(variants: Sequence[AlignVariant], suffix: str) -> list[Block]:
    parents = {v.parent for v in variants if v.iteration > 0}
    loop = [v for v in variants if v.iteration > 0 or v.name in parents]  # the base model is far off and says nothing
    panels = [panel for measures in _PANELS if (panel := _against(loop, *measures)) is not None]
    if not panels:
        return []
    caption = (
        "Variants in the order they were made. Where the reward rises and the win rate does not, the policy has "
        "learned the reward's faults; KL and length show at what price."
    )
    return [Figure(f"over-optimisation{suffix}", caption, Panels("Over-optimisation", panels))]


def _against(loop: Sequence[AlignVariant], across: str, up: str, x_label: str, y_label: str) -> XYChart | None:
    """One measure of the variants against another, joined in their order; None where fewer than two have both."""
    found = {v.name: (x, y) for v in loop if (x := _known(v, across)) and (y := _known(v, up))}
    if len(found) < 2:
        return None
    xs, ys = ([measure.value or 0.0 for measure in measures] for measures in zip(*found.values(), strict=True))
    path = Series("", xs, ys, slot=6)
    marks = [Series(n, [x], [y], *ends([found[n][1]]), "points") for n, x, y in zip(found, xs, ys, strict=True)]
    lines = [RefLine(50.0, "")] if up.startswith("win_rate") else []
    return XYChart(f"{y_label} against {x_label}", x_label, y_label, [path, *marks], lines=lines)


def _known(variant: AlignVariant, name: str) -> Measure | None:
    found = variant.measures.get(name)
    return found if found is not None and found.value is not None and np.isfinite(found.value) else None


TRAINING = SectionEntry(
    10, lambda context: [training_section(align, n) for n, align in enumerate(context.inputs.aligns, 1)]
)
