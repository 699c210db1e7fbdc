"""`assay estimate`: estimate calls, tokens and cost before a run."""

from __future__ import annotations

import argparse
from typing import Any

from harness.commands.run import add_spec_options, spec_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Estimate the calls, tokens and cost of a run: typical (answers as long as the baseline's, replies "
        "of typical length) and at most (every answer and reply at its limit). No model is called."
    )
    parser.epilog = (
        "examples:\n  assay estimate SPEC.yaml\n"
        "  assay estimate --model M --benchmark mt_bench,alpaca_eval --judge openai:gpt-4-1106-preview"
    )
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

    spec = spec_from(arguments)
    data = data_store(arguments.data_dir)
    plan = make_plan(spec, data)
    judge = load_judge(JudgeContext(spec.judge, data)) if spec.judge else None
    found = estimate_run(plan, judge, arguments.answer_tokens)
    if arguments.json:
        print_json(found.as_json())
        return 0
    columns = [
        "benchmark",
        "prompts",
        "answers",
        "answer tokens",
        "scored texts",
        "judge calls",
        "canaries",
        "judge prompt tokens",
        "reply tokens",
    ]
    columns += ["at most: prompt tokens", "reply tokens"]
    rows = [
        [
            b.benchmark,
            f"{b.n_prompts}",
            f"{b.n_answers}",
            f"{b.answer_tokens:,}",
            f"{b.n_scored:,}",
            f"{b.n_calls:,}",
            f"{b.n_canary_calls:,}",
            f"{b.prompt_tokens:,}",
            f"{b.completion_tokens:,}",
            f"{b.most_prompt_tokens:,}",
            f"{b.most_completion_tokens:,}",
        ]
        for b in found.benchmarks
    ]
    left_out = [
        f"{name}: {part.n_prompts} prompts of {part.part} left out: {part.reason}"
        for name, planned in plan.benchmarks.items()
        for part in planned.left_out
    ]
    print_table(columns, rows, note="\n".join([*left_out, _money(found)]))
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
