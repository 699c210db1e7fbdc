"""Estimate the calls, tokens and cost of a run; no model is called.

Typical: answers as long as the baseline's, replies of typical length. At most: every answer and reply at its
limit.

For example:
  assay estimate SPEC.yaml
  assay estimate --model M --benchmark mt_bench,alpaca_eval --judge openai:gpt-6-luna
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.commands.run import add_spec_options, spec_from
from harness.errors import UsageError

_COLUMNS = {
    "n_prompts": "prompts",
    "n_answers": "answers",
    "answer_tokens": "answer tokens",
    "n_scored": "scored texts",
    "n_calls": "judge calls",
    "n_canary_calls": "canaries",
    "prompt_tokens": "judge prompt tokens",
    "completion_tokens": "reply tokens",
    "most_prompt_tokens": "at most: prompt tokens",
    "most_completion_tokens": "reply tokens",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_spec_options(parser)
    parser.add_argument(
        "--answer-tokens", type=int, default=400, metavar="N", help="typical answer length without a baseline (400)"
    )
    parser.add_argument(
        "--pilot",
        type=Path,
        metavar="RUN",
        help="a run judged by two judges: print what share of the strong one's verdicts an interval takes",
    )
    parser.add_argument(
        "--half-width", type=float, metavar="W", help="wanted half width of the interval, in the metric's unit"
    )
    parser.add_argument("--json", action="store_true", help="print the estimate as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_json, print_table
    from harness.protocols import JudgeContext
    from harness.run.estimate import estimate_run
    from harness.run.plan import load_judge, make_plan
    from harness.run.retiring_judge import retirement_notice

    spec = spec_from(arguments)
    data = data_store(arguments.data_dir)
    plan = make_plan(spec, data)
    judge = load_judge(JudgeContext(spec.judge, data)) if spec.judge else None
    found = estimate_run(plan, judge, arguments.answer_tokens)
    retiring = retirement_notice(judge.describe(), datetime.now(UTC).date()) if judge else None
    shares = _shares(arguments.pilot, arguments.half_width)
    if arguments.json:
        print_json(found.as_json() | {"judge_retirement": retiring} | ({"strong_judge": shares} if shares else {}))
        return 0
    rows = [[b.benchmark, *(f"{getattr(b, field):,}" for field in _COLUMNS)] for b in found.benchmarks]
    left_out = [
        f"{name}: {part.n_prompts} prompts of {part.part} left out: {part.reason}"
        for name, planned in plan.benchmarks.items()
        for part in planned.left_out
    ]
    notes = [*left_out, _money(found), *([retiring] if retiring else [])]
    print_table(["benchmark", *_COLUMNS.values()], rows, note="\n".join(notes))
    _print_shares(shares)
    return 0


def _print_shares(shares: list[dict[str, Any]]) -> None:
    from harness.commands.output import print_table

    columns = ["benchmark", "metric", "correlation", "half width", "alone", "with the cheap judge", "share"]
    if shares:
        print_table(columns, [_share_cells(row) for row in shares], title="Verdicts of the strong judge")


def _shares(pilot: Path | None, half_width: float | None) -> list[dict[str, Any]]:
    """Return how many of the strong judge's verdicts an interval takes, by metric of a pilot run.

    Raises
    ------
    UsageError
        Only one of the two is given.
    """
    if pilot is None and half_width is None:
        return []
    if pilot is None or half_width is None:
        raise UsageError("--pilot and --half-width belong together", "both, or neither")
    from harness.run.score import two_judge_figures
    from harness.stats.prediction_powered import labels_needed
    from harness.store.run_directory import RunDirectory

    rows = []
    for (benchmark, metric), found in two_judge_figures(RunDirectory(pilot)).items():
        needed = labels_needed(found, half_width)
        n_all = found.n_labelled + found.n_unlabelled
        rows.append(
            {
                "benchmark": benchmark,
                "metric": metric,
                "correlation": found.explained**0.5,
                "half_width": half_width,
                "strong_alone": needed.labels_only,
                "with_cheap": needed.with_judge,
                "share": None if needed.with_judge is None else needed.with_judge / n_all,
                "reason": needed.reason,
            }
        )
    return rows


def _share_cells(row: dict[str, Any]) -> list[str]:
    known = row["share"] is not None
    return [
        row["benchmark"],
        row["metric"],
        f"{row['correlation']:.2f}",
        f"{row['half_width']:g}",
        f"{row['strong_alone']:,}",
        f"{row['with_cheap']:,}" if known else "-",
        f"{row['share']:.0%}" if known else row["reason"],
    ]


def _money(found: Any) -> str:
    if found.judge is None:
        return "no judge is needed"
    if found.price is None:
        return f"the price of {found.judge} is unknown: give --judge-price IN,OUT per million tokens"
    price = found.price
    as_of = f", list price of {price.as_of}" if price.as_of else ""
    return (
        f"judging with {found.judge} costs about {found.cost:.2f} {price.currency}, at most {found.most_cost:.2f} "
        f"({price.input_per_million:g} and {price.output_per_million:g} per million tokens{as_of})"
    )
