"""`assay demo`: the whole of it on a model made on the spot."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]

_EPILOG = """\
examples:
  assay demo                                  # runs/demo-0, about three minutes of CPU
  assay demo --seed 1 --out runs/another
  assay demo --json > demo.json

Killed? The same command goes on. Needs no network and no data.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "demo",
        help="the whole of it on a small model made on the spot",
        description="A tiny Llama learns a made-up world from documents, then SFT, a reward model, and iterations of "
        "DPO with a gate between them, each checkpoint measured by a judge that knows the right answers. Ends with a "
        "table of gold, reward, divergence and length, and with the gate's reasons.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (runs/demo-SEED)")
    parser.add_argument("--seed", type=int, default=0, help="of the world, the data and the weights (0)")
    parser.add_argument(
        "--size",
        choices=("full", "tiny"),
        default="full",
        help="tiny goes through every step in seconds and learns nothing (full)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from harness.commands.output import print_json
    from training.demo.run import run_demo

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    out = arguments.out or Path("runs") / f"demo-{arguments.seed}"
    # trainers print; stdout is for what was asked for
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
    missing = {
        f"{title} of {row.name}: {row.figures[key].reason}"
        for row in outcome.rows
        for key, title in COLUMNS.items()
        if row.figures[key].reason
    }
    lines = [f"not measured: {reason}" for reason in sorted(missing)]
    accuracies = ", ".join(f"{name} {_cell(figure)}" for name, figure in outcome.reward_model.items())
    lines += ["", "What happened", *outcome.story, "", f"reward model, accuracy on held-out pairs in %: {accuracies}"]
    lines += [f"chosen: {outcome.chosen or 'none'} ({outcome.chosen_because})", f"gates: {outcome.error_budget}"]
    took = sum(outcome.seconds.values())
    cpu = sum(outcome.cpu_seconds.values())
    lines.append(f"this process took {took:.0f} s ({cpu:.0f} s of CPU) and {outcome.peak_memory_mb:,.0f} MB at most")
    lines += [f"report: {outcome.report}", f"run: {outcome.out}"]
    sys.stdout.write("\n".join(plain(line) if line else "" for line in lines) + "\n")


def _short(figure: Any) -> str:
    """A figure that leaves room for the others on a line of a hundred characters."""
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
