"""Recompute every figure from stored answers and verdicts, without engine or judge.

For example:
  assay score runs/checkpoint --json
  assay score runs/checkpoint --variance              # shares of prompts, answers and judge
  assay score runs/checkpoint --include-judge-variance --repeats runs/checkpoint-judged-again
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.commands.run import add_output_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("out", type=Path, metavar="DIR", help="the run directory")
    add("--benchmark", metavar="B", help="score only this benchmark")
    add("--variance", action="store_true", help="shares of the variance by prompt, answer and judge")
    add(
        "--repeats",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="with --variance: runs of the same model, with other answers, or the same ones judged again",
    )
    add(
        "--include-judge-variance",
        action="store_true",
        help="intervals that also cover the shift of a judging session, from --repeats (implies --variance)",
    )
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_run, refuse
    from harness.run.score import rescore

    wanted = arguments.variance or arguments.include_judge_variance
    refuse((arguments.repeats and not wanted, "--repeats alone", "--repeats with --variance"))
    scores = rescore(arguments.out, data_store(arguments.data_dir), only=arguments.benchmark)
    if not wanted:
        return print_run(scores, as_json=arguments.json, strict=arguments.strict)
    from harness.run.judge_variance import judge_variance
    from harness.store.run_directory import RunDirectory
    from reports.sections.judge_variance_blocks import variance_blocks

    found = judge_variance(
        RunDirectory(arguments.out), [RunDirectory(d) for d in arguments.repeats], arguments.benchmark
    )
    blocks = variance_blocks(found, with_sessions=arguments.include_judge_variance)
    more = {"variance": [metric.as_json() for metric in found]}
    return print_run(scores, as_json=arguments.json, strict=arguments.strict, blocks=blocks, more=more)
