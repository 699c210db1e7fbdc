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
from typing import Any

from harness.commands.run import add_spec_options, spec_from

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
    if arguments.json:
        print_json(found.as_json() | {"judge_retirement": retiring})
        return 0
    rows = [[b.benchmark, *(f"{getattr(b, field):,}" for field in _COLUMNS)] for b in found.benchmarks]
    left_out = [
        f"{name}: {part.n_prompts} prompts of {part.part} left out: {part.reason}"
        for name, planned in plan.benchmarks.items()
        for part in planned.left_out
    ]
    notes = [*left_out, _money(found), *([retiring] if retiring else [])]
    print_table(["benchmark", *_COLUMNS.values()], rows, note="\n".join(notes))
    return 0


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
