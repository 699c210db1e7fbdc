"""A gate's decision as blocks: in words, its rules as a table, their effects as a chart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from reports.blocks import Block, Cell, Figure, Statement, Table, Tone, limits
from reports.charts import IntervalChart, Mark, RefLine, SampleFilter
from reports.sections.common import optional, slug

_WHERE = re.compile(r" \([^()]*\)$")  # "NAME (DIRECTORY)" is how the gate names its sides
_TONES: dict[str, Tone] = {"pass": "pass", "fail": "fail", "undecided": "undecided", "invalid": "invalid"}


def gate_blocks(decision: Mapping[str, Any], known: Sequence[str] = (), name: str = "gate") -> list[Block]:
    """A gate's decision in words, its rules as a table, and their effects beside the thresholds.

    Parameters
    ----------
    decision : mapping
        As `assay gate --json` prints it.
    known : sequence of str
        Names of models whose samples are in the report.
    name : str
        Name of the figure; it must be unique in the report.
    """
    verdict = str(decision["decision"])
    candidate, baseline = str(decision.get("candidate", "")), str(decision.get("baseline", ""))
    policy = str(decision.get("policy") or "")
    sides = [_WHERE.sub("", side) for side in (candidate, baseline)]
    head = f"Gate: {sides[0]} against {sides[1]}" if candidate and baseline else "Gate"
    head += f" under {policy}" if policy else ""
    notes = [str(note) for part in ("problems", "notes") for note in decision.get(part, ())]
    notes += [f"left out (optional, not in the runs): {name}" for name in decision.get("left_out", ())]
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
        reasons = ", ".join(f"{reason} {n}" for reason, n in (rule.get("unscored") or {}).items())
        name = f"{rule['kind']} {rule['benchmark']} {rule['metric']}"
        rows.append(
            [
                Cell(name, f"any of: {rule['group']}" if rule.get("group") else ""),
                Cell(str(rule["decision"]), tone=str(rule["decision"])),
                _effect(rule, samples),
                _p_value(rule.get("p_adjusted"), rule.get("p_value")),
                Cell(_n_prompts(rule)),
                Cell(str(rule.get("n_unscored", 0)), reasons),
                Cell(str(rule.get("reason", ""))),
                *(optional(rule.get(side), ".2f") for side in ("candidate", "baseline")),
                optional(rule.get("n_needed"), ",d"),
            ]
        )
    columns = ["rule", "decision", "effect#", "p#", "prompts#", "not scored#", "why"]
    columns += ["candidate#", "baseline#", "further prompts#"]
    return Table(f"{head}: the rules", columns, rows, summary=True)


def _p_value(adjusted: float | None, raw: float | None) -> Cell:
    if adjusted is None or adjusted == raw:
        return optional(raw, ".2g")
    return Cell(f"{adjusted:.2g}", "" if raw is None else f"{raw:.2g} unadjusted")


def _n_prompts(rule: Mapping[str, Any]) -> str:
    used = (rule.get("sequential") or {}).get("n_used")
    return str(rule.get("n", "")) if used is None else f"{used} of {rule.get('n')}"


def _effect(rule: Mapping[str, Any], samples: SampleFilter | None) -> Cell:
    effect, low, high = rule.get("effect"), rule.get("ci_low"), rule.get("ci_high")
    if effect is None:
        return Cell("-", tone="muted")
    return Cell(f"{effect:+.2f}", limits(low, high, "+.2f"), samples)


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
        "of the interval so that all rules share an axis."
    )
    return Figure(slug(name), caption, chart)
