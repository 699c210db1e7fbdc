"""Train a tiny Llama on documents about a made-up world, and align it.

SFT, a reward model, and iterations of DPO with a gate between them follow. A judge that knows the correct
answers measures each checkpoint. The output is a table of gold, reward, divergence and length, and the gate's
reasons.

For example:
  assay demo                                  # runs/demo-0, about three minutes of CPU
  assay demo --seed 1 --out runs/another
  assay demo --json > demo.json

The same command resumes an interrupted demo. It needs no network and no data.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help="output directory (runs/demo-SEED)")
    add("--seed", type=int, default=0, help="seed of the world, the data and the weights (0)")
    add(
        "--size",
        choices=("full", "tiny"),
        default="full",
        help="tiny runs every step in seconds, and the model learns nothing (full)",
    )
    add("--json", action="store_true", help="print everything as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from harness.commands.output import print_json
    from training.demo.run import run_demo

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    out = arguments.out or Path("runs") / f"demo-{arguments.seed}"
    # stdout is reserved for the result, and trainers print
    with contextlib.redirect_stdout(sys.stderr):
        outcome = run_demo(out, arguments.seed, arguments.size, say)
    if arguments.json:
        print_json(outcome.as_json())
    else:
        _print(outcome)
    return 0


def _print(outcome: Any) -> None:
    from harness.commands.output import plain, print_table
    from training.demo.table import COLUMNS

    rows = [
        [row.name, row.parent or "-", row.gate or "-", *(_short(row.figures[key]) for key in COLUMNS)]
        for row in outcome.rows
    ]
    title = "Figures, and half the width of their 95 % intervals (demo.json has the intervals)"
    print_table(["checkpoint", "from", "gate", *COLUMNS.values()], rows, title)
    accuracies = ", ".join(f"{name} {_cell(figure)}" for name, figure in outcome.reward_model.items())
    took, cpu = sum(outcome.seconds.values()), sum(outcome.cpu_seconds.values())
    lines = [
        *(f"not measured: {reason}" for reason in _missing(outcome)),
        "",
        "What happened",
        *outcome.story,
        "",
        f"reward model, accuracy on held-out pairs in %: {accuracies}",
        f"chosen: {outcome.chosen or 'none'} ({outcome.chosen_because})",
        f"gates: {outcome.error_budget}",
        f"this process took {took:.0f} s ({cpu:.0f} s of CPU) and {outcome.peak_memory_mb:,.0f} MB at most",
        f"report: {outcome.report}",
        f"run: {outcome.out}",
    ]
    sys.stdout.write("\n".join(plain(line) if line else "" for line in lines) + "\n")


def _missing(outcome: Any) -> list[str]:
    """The figures without a value, and why."""
    from training.demo.table import COLUMNS

    figures = [(row.name, title, row.figures[key]) for row in outcome.rows for key, title in COLUMNS.items()]
    return sorted({f"{title} of {name}: {figure.reason}" for name, title, figure in figures if figure.reason})


def _short(figure: Any) -> str:
    """A figure in a few characters, so that a row fits on a line."""
    if figure.value is None:
        return "-"
    if figure.ci_low is None or figure.ci_high is None or figure.ci_low == figure.ci_high:
        return f"{figure.value:.2f}"
    half = (figure.ci_high - figure.ci_low) / 2.0
    return f"{figure.value:.1f}±{half:.1f}" if abs(figure.value) >= 10.0 else f"{figure.value:.2f}±{half:.2f}"


def _cell(figure: Any) -> str:
    if figure.value is None:
        return "-"
    if figure.ci_low is None or figure.ci_high is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} ({figure.ci_low:.2f} to {figure.ci_high:.2f})"
