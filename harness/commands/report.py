"""Write a report: one HTML file that needs no network.

It is on one run, two runs (their difference, first minus second), several runs (a leaderboard), a directory
of `assay align`, or a judge study.

For example:
  assay report runs/checkpoint --out report.html
  assay report runs/dpo-2 runs/dpo-1 --policy chat-progress --out diff.html
  assay report runs/* --out models.html --figures figures --summary summary.md
  assay report align/ --out training.html
  assay report study.json --out judge.html           # written by `assay calibrate --out study.json`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="DIR", help="runs, align directories, judge studies")
    add("--out", type=Path, required=True, metavar="FILE.html", help="the report")
    add("--title", default="", help="heading (default: the models' names)")
    add(
        "--policy",
        metavar="POLICY",
        help="compare the first run with the second under a gate policy (a file or a shipped policy)",
    )
    add(
        "--gate",
        action="append",
        type=Path,
        default=[],
        metavar="FILE.json",
        help="a decision printed by `assay gate --json`",
    )
    add("--figures", type=Path, metavar="DIR", help="also write every plot as PNG and SVG, with its data as CSV")
    add("--summary", type=Path, metavar="FILE.md", help="also write a summary in Markdown, for a pull request")
    add(
        "--max-samples",
        type=int,
        default=20_000,
        metavar="N",
        help="maximum number of samples in the page (20000; 0: none)",
    )
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import plain
    from harness.errors import UsageError
    from harness.progress import make_progress

    if arguments.max_samples < 0:
        raise UsageError(f"--max-samples is {arguments.max_samples}", "0 or more")
    if arguments.out.is_dir():
        raise UsageError(f"--out {arguments.out} is a directory", "a file, for example report.html")
    with make_progress() as progress:
        written = _make(arguments, progress)
    for path in written[:3]:
        sys.stderr.write(f"wrote {plain(str(path))}\n")
    if len(written) > 3:
        sys.stderr.write(f"and {len(written) - 3} more files in {plain(str(arguments.figures))}\n")
    return 0


def _make(arguments: argparse.Namespace, progress: Progress) -> list[Path]:
    """Read the inputs, build and write the report; return the files written."""
    from harness.commands.output import data_store
    from reports.build import build_report
    from reports.inputs import open_inputs
    from reports.markdown import to_markdown
    from reports.page import to_html
    from reports.samples import SampleLimits

    def opened() -> None:
        progress.start("reading", 1)
        progress.advance("reading")

    inputs = open_inputs(arguments.inputs, data_store(arguments.data_dir), opened)
    report = build_report(
        inputs,
        title=arguments.title,
        policy=_policy(arguments, len(inputs.runs)),
        decisions=[_decision(path) for path in arguments.gate],
        limits=SampleLimits(n_rows=arguments.max_samples),
    )
    written = [_write(arguments.out, to_html(report))]
    if arguments.summary is not None:
        written.append(_write(arguments.summary, to_markdown(report)))
    if arguments.figures is not None:
        progress.start("figures", len(report.figures))
        from reports.figure_files import write_figures

        written += write_figures(report, arguments.figures, lambda: progress.advance("figures"))
    return written


def _policy(arguments: argparse.Namespace, n_runs: int) -> Any:
    from harness.errors import UsageError
    from harness.gate.policy import find_policy

    if arguments.policy is None:
        return None
    if n_runs != 2:
        raise UsageError(
            f"--policy requires two runs, and {n_runs} were given", "the candidate's run, then the baseline's"
        )
    return find_policy(arguments.policy)


def _decision(path: Path) -> dict[str, Any]:
    from harness.errors import FileFormatError
    from harness.store.jsonl import read_json

    value = read_json(path)
    rules = value.get("rules") if isinstance(value, dict) and "decision" in value else None
    if not isinstance(rules, list) or not all(_is_rule(rule) for rule in rules):
        raise FileFormatError(path, None, "not a gate's decision", "the output of `assay gate --json`")
    return dict(value)


_NUMBERS = ("effect", "ci_low", "ci_high", "p_value")


def _is_rule(rule: Any) -> bool:
    named = isinstance(rule, dict) and {"kind", "benchmark", "metric", "decision"} <= set(rule)
    return named and all(isinstance(rule.get(name), int | float | None) for name in _NUMBERS)


def _write(path: Path, text: str) -> Path:
    from harness.errors import StoreError
    from harness.store.jsonl import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}", "a writable path") from error
    return path
