"""`assay compare`: compare two runs metric by metric, paired by prompt."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.run.compare import ComparedMetric


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Compare two runs on the items scored in both: the difference A minus B of every shared metric, "
        "paired by prompt, with its interval, p-value (also Holm-adjusted over all metrics) and the number of prompts "
        "needed to detect it."
    )
    parser.epilog = "example:\n  assay compare runs/dpo-2 runs/dpo-1"
    parser.add_argument("first", type=Path, metavar="DIR_A", help="a run directory")
    parser.add_argument("second", type=Path, metavar="DIR_B", help="another run directory")
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (0.95)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_json, print_table
    from harness.run.compare import compare_runs

    data = data_store(arguments.data_dir)
    comparison = compare_runs(arguments.first, arguments.second, data, arguments.level)
    if arguments.json:
        print_json(comparison.as_json())
        return 0
    first, second = comparison.first, comparison.second
    title = f"A = {first.model} ({first.run}), B = {second.model} ({second.run})"
    warnings = [f"! {name} is NOT VALID: {p}" for name, run in (("A", first), ("B", second)) for p in run.problems]
    columns = ["benchmark", "metric", "A", "B", "A - B", f"{arguments.level:.0%} interval", "p", "p (Holm)"]
    columns += ["prompts", "detectable", "needed", "remark"]
    print_table(columns, [_cells(metric) for metric in comparison.metrics], title, "\n".join(warnings))
    return 0


def _cells(metric: ComparedMetric) -> list[str]:
    d = metric.difference
    if d is None:
        return [metric.benchmark, metric.metric, *("-",) * 9, metric.reason or ""]
    remark = d.note
    if metric.n_only_first or metric.n_only_second:
        remark = f"only A: {metric.n_only_first}, only B: {metric.n_only_second} {remark}".strip()
    interval = "-" if d.ci_low is None or d.ci_high is None else f"{d.ci_low:+.2f} to {d.ci_high:+.2f}"
    return [
        metric.benchmark,
        metric.metric,
        _number(metric.value_first, ".2f"),
        _number(metric.value_second, ".2f"),
        f"{d.value:+.2f}",
        interval,
        _number(metric.p_value, ".2g"),
        _number(metric.p_adjusted, ".2g"),
        str(d.n_clusters),
        _number(metric.minimum_detectable_effect, ".2f"),
        "-" if metric.n_needed is None else str(metric.n_needed),
        remark,
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
